//! Recordings: what came off the ring, in order, and what the agent knew beside it.
//!
//! ```text
//! file   = magic[8] format:u8 records:u8 order:u8 zero:u8 frame*
//! frame  = length:u32 crc:u32 kind:u8 payload[length]
//! ```
//!
//! Integers of the frames are little-endian; the CRC-32 covers kind and payload. The
//! first frame is the header, the last one the end. Kernel records are kept as they
//! were, in the byte order of their machine (`order`, 1 for little-endian) and in the
//! layout of their version (`records`). A process's description follows its record,
//! and a new clock offset comes before the records that it holds for. The kernel's
//! counters are the last record, so that a replay ends with the same summary.
//!
//! A recording holds the captured heads whole, cookies and credentials included: the
//! file is made readable for its owner only.

mod reader;
mod writer;

pub use reader::{Frame, Recording};
pub use writer::Recorder;

use crate::model::clock::Offset;
use crate::model::ids::Seed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

const MAGIC: [u8; 8] = *b"\x89RMR\r\n\x1a\n";
/// Version of the file format.
const FORMAT: u8 = 1;
const BYTE_ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };
/// Length of a frame's prefix.
const PREFIX: usize = 9;
/// Longest payload, bytes; far above any record or description.
const MAX_PAYLOAD: usize = 1 << 20;

/// Kinds of frames.
mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const RECORD: u8 = 2;
    pub(super) const PROCESS: u8 = 3;
    pub(super) const CLOCK: u8 = 4;
    pub(super) const END: u8 = 5;
}

/// What holds for a whole recording.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Version of the agent that made it.
    pub agent: String,
    /// Key of the span and trace ids.
    pub seed: Seed,
    /// Clock offset at the start.
    pub clock: Offset,
    /// Resource attributes of the host.
    #[serde(default)]
    pub host: BTreeMap<String, String>,
}

/// A recording that could not be written, or read on.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it. Part of the message, so no source of its own.
    pub kind: ErrorKind,
}

/// What is wrong with a recording. Offsets are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// It cannot be opened or read.
    #[error("cannot read the recording: {0}")]
    Read(std::io::Error),
    /// It cannot be created or written.
    #[error("cannot write the recording: {0}")]
    Write(std::io::Error),
    /// It does not begin as recordings do.
    #[error("not a recording made by `remora trace -w`")]
    NotARecording,
    /// It was made by a version of Remora with another format.
    #[error("made by another version of remora (file format {format}, records {records}); this one reads format {FORMAT}, records {version}: replay it with the version that made it", version = remora_common::record::VERSION)]
    Version {
        /// Version of the file format.
        format: u8,
        /// Version of the records.
        records: u8,
    },
    /// It was made on a machine with the other byte order.
    #[error("made on a machine of the other byte order; replay it on such a machine")]
    ByteOrder,
    /// It ends in the middle.
    #[error(
        "cut off at byte {offset}: what came before was replayed, what came after is not in the file"
    )]
    Truncated {
        /// Where the incomplete frame begins.
        offset: u64,
    },
    /// Its bytes were changed.
    #[error("corrupt at byte {offset} ({what}): what came before was replayed")]
    Corrupt {
        /// Where the defective frame begins.
        offset: u64,
        /// What gives it away.
        what: &'static str,
    },
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&[kind]);
    crc.update(payload);
    crc.sum()
}

#[cfg(test)]
mod tests;
