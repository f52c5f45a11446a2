//! What processes have mapped, as far as profiles need it; part of recordings.

use std::ops::Range;

use crate::model::exchange::ProcessInfo;

/// A binary, as far as a profile shows it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct BinaryInfo {
    /// Path as the process sees it, or a name in brackets.
    pub path: String,
    /// GNU build id; empty if there is none.
    pub build_id: String,
    /// Its code.
    pub code: Vec<CodeRange>,
}

/// A segment with code of a binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct CodeRange {
    /// First address, in the binary's own terms.
    pub address: u64,
    /// Place in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// What is in a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Content {
    /// A binary, by number.
    Binary(u32),
    /// Code made at run time.
    Jit,
    /// A file that could not be read.
    Unknown,
}

/// An executable mapping.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Mapped {
    /// Addresses in the process.
    pub range: Range<u64>,
    /// Address in the binary's own terms of the first one.
    pub address: u64,
    /// What is there.
    pub content: Content,
}

/// A process and what it has mapped.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Mappings {
    /// Who it is.
    pub info: ProcessInfo,
    /// When it started, ns since boot.
    pub started_ns: u64,
    /// In order, without overlaps.
    pub mapped: Vec<Mapped>,
}
