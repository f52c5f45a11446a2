//! What can be wrong with BTF, or be missing from it.

/// Why a member has no offset.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BtfError {
    /// The bytes end before the header or a section does.
    #[error("BTF is truncated: {what} needs {need} bytes, there are {have}")]
    Truncated {
        /// Header or section.
        what: &'static str,
        /// Bytes it would take.
        need: u64,
        /// Bytes there are.
        have: u64,
    },
    /// The first two bytes are not BTF's.
    #[error("not BTF: it begins with {0:#06x} instead of 0xeb9f")]
    BadMagic(u16),
    /// BTF of a machine with the other byte order.
    #[error("BTF of a big-endian machine")]
    BigEndian,
    /// A version this walker does not know.
    #[error("BTF version {0} is not known, only 1 is")]
    Version(u8),
    /// A type of a kind that is neither known nor described by a layout section.
    #[error("BTF type {id} is of the unknown kind {kind}")]
    UnknownKind {
        /// Type id.
        id: u32,
        /// Kind bits.
        kind: u8,
    },
    /// No structure or union of this name.
    #[error("this kernel has no struct {0}")]
    NoStruct(String),
    /// The structure has no such member.
    #[error("this kernel's struct {structure} has no member {member}")]
    NoMember {
        /// Structure asked for.
        structure: String,
        /// Path asked for.
        member: String,
    },
    /// The member is some bits of a byte.
    #[error("this kernel's {structure}.{member} is a bitfield")]
    Bitfield {
        /// Structure asked for.
        structure: String,
        /// Path asked for.
        member: String,
    },
    /// Types refer to each other without end, or more was looked at than any kernel has.
    #[error("BTF is malformed: types nest without end")]
    Endless,
}
