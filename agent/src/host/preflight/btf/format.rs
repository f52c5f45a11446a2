//! The bytes of BTF: Documentation/bpf/btf.rst of the kernel, including the wider `vlen`
//! and the layout section that newer encoders add.

use super::BtfError;

/// `BTF_MAGIC`.
pub(super) const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`.
pub(super) const TYPE_LEN: usize = 12;
/// Bytes of `struct btf_member`.
pub(super) const MEMBER_LEN: usize = 12;
/// Length of `struct btf_header` before the layout section was added.
pub(super) const HEADER_LEN: usize = 24;

/// Values of the kind bits of `btf_type.info`.
pub(super) mod kind {
    pub(in super::super) const INT: u8 = 1;
    pub(in super::super) const PTR: u8 = 2;
    pub(in super::super) const ARRAY: u8 = 3;
    pub(in super::super) const STRUCT: u8 = 4;
    pub(in super::super) const UNION: u8 = 5;
    pub(in super::super) const ENUM: u8 = 6;
    pub(in super::super) const FWD: u8 = 7;
    pub(in super::super) const TYPEDEF: u8 = 8;
    pub(in super::super) const VOLATILE: u8 = 9;
    pub(in super::super) const CONST: u8 = 10;
    pub(in super::super) const RESTRICT: u8 = 11;
    pub(in super::super) const FUNC: u8 = 12;
    pub(in super::super) const FUNC_PROTO: u8 = 13;
    pub(in super::super) const VAR: u8 = 14;
    pub(in super::super) const DATASEC: u8 = 15;
    pub(in super::super) const FLOAT: u8 = 16;
    pub(in super::super) const DECL_TAG: u8 = 17;
    pub(in super::super) const TYPE_TAG: u8 = 18;
    pub(in super::super) const ENUM64: u8 = 19;
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    pub(super) kind: u8,
    pub(super) kind_flag: bool,
    pub(super) vlen: u32,
    /// `btf_type.size` or `btf_type.type`.
    pub(super) size_or_type: u32,
    /// What follows, to the end of the section.
    pub(super) rest: &'a [u8],
}

impl<'a> Type<'a> {
    pub(super) fn at(types: &'a [u8], at: usize) -> Option<Self> {
        let raw = types.get(at..)?;
        let info = read_u32(raw, 4)?;
        Some(Self {
            kind: (info >> 24 & 0x7f) as u8,
            kind_flag: info >> 31 == 1,
            vlen: info & 0x00ff_ffff,
            size_or_type: read_u32(raw, 8)?,
            rest: raw.get(TYPE_LEN..)?,
        })
    }

    pub(super) fn is_composite(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }
}

/// Bytes after `struct btf_type`, fixed and per element. The file's own layout
/// section speaks for kinds that are newer than this table.
pub(super) fn shape(kind: u8, layout: &[u8]) -> Option<(u8, u8)> {
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => (4, 0),
        kind::ARRAY => (12, 0),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => (0, 12),
        kind::ENUM | kind::FUNC_PROTO => (0, 8),
        // `vlen` of a function is its linkage.
        kind::PTR
        | kind::FWD
        | kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::FLOAT
        | kind::TYPE_TAG => (0, 0),
        _ => {
            let entry = layout.get(usize::from(kind) * 4..)?.get(..2)?;
            (*entry.first()?, *entry.get(1)?)
        }
    })
}

pub(super) fn section<'a>(
    body: &'a [u8],
    what: &'static str,
    offset: u32,
    len: u32,
) -> Result<&'a [u8], BtfError> {
    body.get(offset as usize..)
        .and_then(|tail| tail.get(..len as usize))
        .ok_or(BtfError::Truncated {
            what,
            need: u64::from(offset) + u64::from(len),
            have: body.len() as u64,
        })
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*raw))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*raw))
}
