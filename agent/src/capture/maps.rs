//! Access to the maps of the object by name.

use aya::Ebpf;
use aya::maps::Map;

use super::CaptureError;

pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or_else(|| CaptureError::Object {
        what: format!("map `{name}` is missing"),
    })
}
