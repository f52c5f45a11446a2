//! Access to the maps of the object by name.

use std::collections::HashSet;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapError};
use remora_common::record::CONN_STATE_BYTES;

use super::CaptureError;

pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> CaptureError {
    CaptureError::Object {
        what: format!("map `{name}` is missing"),
    }
}

/// Identities of the connections in `CONNS`.
pub(super) fn followed(ebpf: &Ebpf) -> Result<HashSet<u64>, CaptureError> {
    const NAME: &str = "CONNS";
    let map = ebpf.map(NAME).ok_or_else(|| missing(NAME))?;
    let map: HashMap<_, u64, [u8; CONN_STATE_BYTES]> =
        HashMap::try_from(map).map_err(CaptureError::from_map)?;
    let mut ids = HashSet::new();
    for entry in map.iter() {
        match entry {
            Ok((_, state)) => {
                ids.extend(state.first_chunk().copied().map(u64::from_ne_bytes));
            }
            // It was there when it was looked for.
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(CaptureError::from_map(error)),
        }
    }
    Ok(ids)
}
