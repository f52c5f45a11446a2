//! Reading an older profile, to compare with: folded stacks, JSON lines or pprof.

use super::By;
use super::collapse::Collapsed;
use super::pprof::proto;
use crate::profile::model::Kind;
use flate2::read::GzDecoder;
use prost::Message as _;
use rustc_hash::FxHashMap;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read, unpacked, bytes.
const MAX_BYTES: u64 = 256 << 20;
/// Deepest stack that is read.
const MAX_DEPTH: usize = 4096;

/// Why a file cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is too large.
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// It is none of the formats.
    #[error("it is no profile in the folded, json or pprof format ({0})")]
    Format(String),
    /// There are no samples in it.
    #[error("it has no samples")]
    Empty,
}

/// Reads a file that was written with the same `by`.
///
/// # Errors
/// What is wrong with it.
pub fn file(path: &Path, by: Option<By>) -> Result<Collapsed, Error> {
    let mut bytes = Vec::new();
    bounded(File::open(path)?, &mut bytes)?;
    parse(&bytes, by)
}

/// Reads the bytes of a file.
///
/// # Errors
/// What is wrong with them.
pub fn parse(bytes: &[u8], by: Option<By>) -> Result<Collapsed, Error> {
    let stacks = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        bounded(GzDecoder::new(bytes), &mut plain)?;
        pprof(&plain)?
    } else {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::Format("it is neither text nor gzip".to_owned()))?;
        if text.starts_with('{') {
            json(text)?
        } else {
            folded(text, by)?
        }
    };
    if stacks.total() == 0 {
        return Err(Error::Empty);
    }
    Ok(stacks)
}

fn bounded(from: impl Read, into: &mut Vec<u8>) -> Result<(), Error> {
    from.take(MAX_BYTES + 1).read_to_end(into)?;
    if into.len() as u64 > MAX_BYTES {
        return Err(Error::TooLarge);
    }
    Ok(())
}

fn folded(text: &str, by: Option<By>) -> Result<Collapsed, Error> {
    let mut all = Collapsed::default();
    // The process, and what the stacks are grouped by.
    let roots = 1 + usize::from(by.is_some());
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = || Error::Format(format!("line {number} is not 'frame;frame COUNT'"));
        let (stack, count) = line.rsplit_once(' ').ok_or_else(wrong)?;
        let count = count.parse().map_err(|_| wrong())?;
        let mut ids = Vec::new();
        for (depth, frame) in stack.split(';').take(MAX_DEPTH).enumerate() {
            let (name, kind) = match frame {
                frame if frame.ends_with("_[k]") => (&frame[..frame.len() - 4], Some(Kind::Kernel)),
                frame if frame.ends_with("_[j]") => (&frame[..frame.len() - 4], Some(Kind::Jit)),
                frame if depth < roots || frame.starts_with("[stack cut: ") => (frame, None),
                frame => (frame, Some(Kind::Native)),
            };
            ids.push(all.name(name, kind));
        }
        all.add(&ids, count);
    }
    Ok(all)
}

#[derive(Deserialize)]
struct JsonLine {
    kind: String,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    cut: Option<String>,
    #[serde(default)]
    samples: u64,
    #[serde(default)]
    comm: String,
    #[serde(default)]
    frames: Vec<JsonFrame>,
}

#[derive(Deserialize)]
struct JsonFrame {
    function: String,
    kind: String,
}

fn json(text: &str) -> Result<Collapsed, Error> {
    let mut all = Collapsed::default();
    let mut by_thread = false;
    for (number, line) in (1..).zip(text.lines()) {
        let read: JsonLine = serde_json::from_str(line)
            .map_err(|error| Error::Format(format!("line {number}: {error}")))?;
        if read.kind == "profile" {
            by_thread = read.by.as_deref() == Some(By::Thread.name());
        }
        if read.kind != "profile_stack" {
            continue;
        }
        let mut ids = roots(&read, by_thread)
            .iter()
            .map(|root| all.name(root, None))
            .collect::<Vec<_>>();
        for frame in read.frames.iter().take(MAX_DEPTH) {
            let kind = kind(&frame.kind);
            ids.push(all.name(&frame.function, Some(kind)));
        }
        all.add(&ids, read.samples);
    }
    Ok(all)
}

/// The roots that [`super::frames::roots`] gave the stack.
fn roots(line: &JsonLine, by_thread: bool) -> Vec<String> {
    let comm = line.comm.clone();
    let mut roots = match &line.group {
        None => vec![comm],
        Some(group) if by_thread => {
            let thread = group.strip_prefix(&comm).unwrap_or(group);
            vec![comm, thread.trim_start().to_owned()]
        }
        Some(group) => vec![group.clone(), comm],
    };
    roots.extend(line.cut.as_ref().map(|cut| format!("[stack cut: {cut}]")));
    roots
}

fn kind(name: &str) -> Kind {
    [Kind::Kernel, Kind::Jit, Kind::Interpreted, Kind::Unknown]
        .into_iter()
        .find(|kind| kind.name() == name)
        .unwrap_or(Kind::Native)
}

fn pprof(bytes: &[u8]) -> Result<Collapsed, Error> {
    let profile =
        proto::Profile::decode(bytes).map_err(|error| Error::Format(error.to_string()))?;
    let text = |index: i64| -> &str {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        profile.string_table.get(index).map_or("", String::as_str)
    };
    let functions: FxHashMap<u64, &str> = profile
        .function
        .iter()
        .map(|function| (function.id, text(function.name)))
        .collect();
    let locations: FxHashMap<u64, &proto::Location> = profile
        .location
        .iter()
        .map(|location| (location.id, location))
        .collect();
    // The column that counts samples; files of others may have it elsewhere, or not.
    let column = profile
        .sample_type
        .iter()
        .position(|kind| text(kind.unit) == "count")
        .unwrap_or(0);
    let mut all = Collapsed::default();
    for sample in &profile.sample {
        let mut ids = Vec::new();
        for id in sample.location_id.iter().rev().take(MAX_DEPTH) {
            let Some(location) = locations.get(id) else {
                return Err(Error::Format(format!("there is no location {id}")));
            };
            // What has no address is what Remora puts at the root.
            let root = location.address == 0 && location.mapping_id == 0;
            for line in location.line.iter().rev() {
                let name = functions.get(&line.function_id).copied().unwrap_or("");
                ids.push(all.name(name, (!root).then_some(Kind::Native)));
            }
        }
        let count = sample.value.get(column).copied().unwrap_or(0);
        all.add(&ids, u64::try_from(count).unwrap_or(0));
    }
    Ok(all)
}
