//! Member offsets from BTF, the kernel's description of its own structures.
//!
//! The bytes come from a file and are treated as hostile: every read is checked,
//! every walk is bounded, nothing panics. One pass over the type section notes
//! where each type starts and which structures have a name; everything else is read
//! in place when it is asked for.
//!
//! Format: Documentation/bpf/btf.rst of the kernel, including the wider `vlen` and
//! the layout section that newer encoders add.

use std::num::NonZeroU32;

use remora_common::offsets::Offsets;

/// Where a running kernel shows its BTF.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Bytes of `struct btf_type`.
const TYPE_LEN: usize = 12;
/// Bytes of `struct btf_member`.
const MEMBER_LEN: usize = 12;
/// Length of `struct btf_header` before the layout section was added.
const HEADER_LEN: usize = 24;
/// Typedefs and qualifiers that are followed, and anonymous structures that are
/// entered, before the type is called malformed. Kernels stay below 10.
const MAX_DEPTH: u32 = 32;
/// Members looked at in one lookup. `task_struct` has some 250.
const MAX_STEPS: u32 = 1 << 17;

/// Values of the kind bits of `btf_type.info`.
mod kind {
    pub(super) const INT: u8 = 1;
    pub(super) const PTR: u8 = 2;
    pub(super) const ARRAY: u8 = 3;
    pub(super) const STRUCT: u8 = 4;
    pub(super) const UNION: u8 = 5;
    pub(super) const ENUM: u8 = 6;
    pub(super) const FWD: u8 = 7;
    pub(super) const TYPEDEF: u8 = 8;
    pub(super) const VOLATILE: u8 = 9;
    pub(super) const CONST: u8 = 10;
    pub(super) const RESTRICT: u8 = 11;
    pub(super) const FUNC: u8 = 12;
    pub(super) const FUNC_PROTO: u8 = 13;
    pub(super) const VAR: u8 = 14;
    pub(super) const DATASEC: u8 = 15;
    pub(super) const FLOAT: u8 = 16;
    pub(super) const DECL_TAG: u8 = 17;
    pub(super) const TYPE_TAG: u8 = 18;
    pub(super) const ENUM64: u8 = 19;
}

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

/// Where a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Bytes from the start of the structure. For a bitfield, of the byte that holds
    /// its first bit.
    pub byte_offset: u32,
    /// Size in bytes; `None` if the type has none (a function, a forward declaration).
    pub size: Option<u32>,
    /// Set if the member does not fill whole bytes.
    pub bitfield: Option<Bitfield>,
}

/// Position of a bitfield in the byte at its offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bitfield {
    /// First bit, from the byte's least significant.
    pub first_bit: u8,
    /// Width in bits.
    pub bits: u8,
}

/// A member of [`Offsets::MEMBERS`] that this kernel lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missing {
    /// Structure.
    pub structure: &'static str,
    /// Path within it.
    pub member: &'static str,
    /// Reason.
    pub reason: BtfError,
}

/// An index over BTF bytes.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where type `id` starts in `types`, at `id - 1`: id 0 is `void`.
    starts: Vec<u32>,
    /// Ids of the structures and unions that have a name and members, in order.
    named: Vec<NamedStruct>,
}

#[derive(Clone, Copy, Debug)]
struct NamedStruct {
    name: u32,
    id: u32,
}

/// The fixed part of a type.
#[derive(Clone, Copy)]
struct Type<'a> {
    kind: u8,
    kind_flag: bool,
    vlen: u32,
    /// `btf_type.size` or `btf_type.type`.
    size_or_type: u32,
    /// What follows, to the end of the section.
    rest: &'a [u8],
}

/// What the search for one name in one structure found.
struct Found {
    type_id: u32,
    bits: u64,
    /// Width from the member's own encoding.
    width: Option<NonZeroU32>,
}

// === impl Btf ===

impl<'a> Btf<'a> {
    /// Indexes `bytes`.
    ///
    /// # Errors
    /// If the bytes are no BTF, are cut short, or hold a kind of type whose length
    /// cannot be known.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        let short = |need: usize| BtfError::Truncated {
            what: "the header",
            need: need as u64,
            have: bytes.len() as u64,
        };
        let magic = read_u16(bytes, 0).ok_or_else(|| short(HEADER_LEN))?;
        if magic == MAGIC.swap_bytes() {
            return Err(BtfError::BigEndian);
        }
        if magic != MAGIC {
            return Err(BtfError::BadMagic(magic));
        }
        let header = |at| read_u32(bytes, at).ok_or_else(|| short(HEADER_LEN));
        let version = *bytes.get(2).ok_or_else(|| short(HEADER_LEN))?;
        if version != 1 {
            return Err(BtfError::Version(version));
        }
        let len = header(4)?;
        let body = bytes
            .get(len as usize..)
            .filter(|_| len as usize >= HEADER_LEN)
            .ok_or_else(|| short((len as usize).max(HEADER_LEN)))?;
        let types = section(body, "the type section", header(8)?, header(12)?)?;
        let strings = section(body, "the string section", header(16)?, header(20)?)?;
        let layout = if len as usize >= HEADER_LEN + 8 {
            section(body, "the layout section", header(24)?, header(28)?)?
        } else {
            &[]
        };
        let mut btf = Self {
            types,
            strings,
            starts: Vec::with_capacity(types.len() / (2 * TYPE_LEN)),
            named: Vec::with_capacity(types.len() / 512),
        };
        btf.index(layout)?;
        Ok(btf)
    }

    /// Notes the start of every type.
    fn index(&mut self, layout: &[u8]) -> Result<(), BtfError> {
        let mut at = 0usize;
        while at < self.types.len() {
            let id = self.starts.len() as u32 + 1;
            let short = |need: usize| BtfError::Truncated {
                what: "the type section",
                need: need as u64,
                have: self.types.len() as u64,
            };
            let ty = Type::at(self.types, at).ok_or_else(|| short(at + TYPE_LEN))?;
            let (fixed, each) =
                shape(ty.kind, layout).ok_or(BtfError::UnknownKind { id, kind: ty.kind })?;
            // At most 2^24 elements of 255 bytes: no overflow in 64 bits.
            let len = TYPE_LEN as u64 + u64::from(fixed) + u64::from(each) * u64::from(ty.vlen);
            let next = at as u64 + len;
            if next > self.types.len() as u64 {
                return Err(short(usize::try_from(next).unwrap_or(usize::MAX)));
            }
            let name = read_u32(self.types, at).unwrap_or(0);
            if ty.is_composite() && ty.vlen > 0 && !self.is_anonymous(name) {
                self.named.push(NamedStruct { name, id });
            }
            self.starts.push(at as u32);
            at = next as usize;
        }
        Ok(())
    }

    /// Number of types, `void` not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no type at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Where `path` (member names joined by dots) is in `struct name` or `union name`.
    ///
    /// Embedded structures are entered by their member's name, anonymous ones without
    /// one, as in C. Where several structures have the name, the first that has the
    /// member counts.
    ///
    /// # Errors
    /// If there is no such structure or member, or the types are malformed.
    pub fn member_offset(&self, name: &str, path: &str) -> Result<Member, BtfError> {
        let mut steps = MAX_STEPS;
        let mut exists = false;
        for known in &self.named {
            if !self.is_named(known.name, name.as_bytes()) {
                continue;
            }
            exists = true;
            if let Some(member) = self.walk(known.id, path, &mut steps)? {
                return Ok(member);
            }
        }
        Err(if exists {
            BtfError::NoMember {
                structure: name.to_owned(),
                member: path.to_owned(),
            }
        } else {
            BtfError::NoStruct(name.to_owned())
        })
    }

    /// Follows `path` from the structure `id`.
    fn walk(&self, id: u32, path: &str, steps: &mut u32) -> Result<Option<Member>, BtfError> {
        let mut id = id;
        let mut bits = 0u64;
        let mut width = None;
        for name in path.split('.') {
            // What lies inside a bitfield cannot have members.
            if width.is_some() {
                return Ok(None);
            }
            let Some(found) = self.search(id, name.as_bytes(), steps, MAX_DEPTH)? else {
                return Ok(None);
            };
            bits += found.bits;
            id = found.type_id;
            width = found.width;
        }
        let size = self.size_of(id)?;
        let plain = size.and_then(|size| size.checked_mul(8));
        let (first_bit, byte_offset) = ((bits % 8) as u8, bits / 8);
        let Ok(byte_offset) = u32::try_from(byte_offset) else {
            return Err(BtfError::Endless);
        };
        let width = width.map(NonZeroU32::get).or(plain);
        // A bitfield that fills whole bytes is read like any other member.
        let whole = first_bit == 0 && width.is_none_or(|width| width % 8 == 0);
        Ok(Some(Member {
            byte_offset,
            size: if whole {
                width.map(|width| width / 8).or(size)
            } else {
                size
            },
            bitfield: (!whole).then(|| Bitfield {
                first_bit,
                bits: width
                    .and_then(|width| u8::try_from(width).ok())
                    .unwrap_or(u8::MAX),
            }),
        }))
    }

    /// Finds the member `name` in the structure or union `id`, first among its own
    /// members, then in those without a name.
    fn search(
        &self,
        id: u32,
        name: &[u8],
        steps: &mut u32,
        depth: u32,
    ) -> Result<Option<Found>, BtfError> {
        if depth == 0 {
            return Err(BtfError::Endless);
        }
        let Some(ty) = self.resolve(id)?.and_then(|id| self.get(id)) else {
            return Ok(None);
        };
        if !ty.is_composite() {
            return Ok(None);
        }
        *steps = steps.checked_sub(ty.vlen + 1).ok_or(BtfError::Endless)?;
        let members = || ty.rest.chunks_exact(MEMBER_LEN).take(ty.vlen as usize);
        for raw in members() {
            if self.is_named(read_u32(raw, 0).unwrap_or(0), name) {
                return self.found(&ty, raw).map(Some);
            }
        }
        for raw in members() {
            if !self.is_anonymous(read_u32(raw, 0).unwrap_or(0)) {
                continue;
            }
            let outer = self.found(&ty, raw)?;
            if let Some(inner) = self.search(outer.type_id, name, steps, depth - 1)? {
                return Ok(Some(Found {
                    bits: outer.bits + inner.bits,
                    ..inner
                }));
            }
        }
        Ok(None)
    }

    /// Decodes `struct btf_member`, with both encodings of bitfields.
    fn found(&self, parent: &Type<'_>, raw: &[u8]) -> Result<Found, BtfError> {
        let type_id = read_u32(raw, 4).unwrap_or(0);
        let offset = read_u32(raw, 8).unwrap_or(0);
        if parent.kind_flag {
            return Ok(Found {
                type_id,
                bits: u64::from(offset & 0x00ff_ffff),
                width: NonZeroU32::new(offset >> 24),
            });
        }
        // Without the flag a bitfield has an integer type of its own, whose encoding
        // says which of its bits are meant.
        let int = self
            .resolve(type_id)?
            .and_then(|id| self.get(id))
            .filter(|ty| ty.kind == kind::INT)
            .and_then(|ty| Some((ty.size_or_type, read_u32(ty.rest, 0)?)));
        let mut found = Found {
            type_id,
            bits: u64::from(offset),
            width: None,
        };
        if let Some((size, encoding)) = int {
            let (first, width) = (encoding >> 16 & 0xff, encoding & 0xff);
            if first != 0 || u64::from(width) != u64::from(size) * 8 {
                found.bits += u64::from(first);
                found.width = NonZeroU32::new(width);
            }
        }
        Ok(found)
    }

    /// Size of a type in bytes.
    fn size_of(&self, id: u32) -> Result<Option<u32>, BtfError> {
        let mut id = id;
        let mut count = 1u32;
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.resolve(id)?.and_then(|id| self.get(id)) else {
                return Ok(None);
            };
            let size = match ty.kind {
                kind::PTR => 8,
                kind::ARRAY => {
                    let (Some(of), Some(elements)) = (read_u32(ty.rest, 0), read_u32(ty.rest, 8))
                    else {
                        return Ok(None);
                    };
                    let Some(product) = count.checked_mul(elements) else {
                        return Ok(None);
                    };
                    (id, count) = (of, product);
                    continue;
                }
                kind::INT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::ENUM64
                | kind::FLOAT => ty.size_or_type,
                _ => return Ok(None),
            };
            return Ok(count.checked_mul(size));
        }
        Err(BtfError::Endless)
    }

    /// Goes through typedefs, qualifiers and type tags. `None` is `void`.
    fn resolve(&self, id: u32) -> Result<Option<u32>, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            let Some(ty) = self.get(id) else {
                return Ok(None);
            };
            match ty.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = ty.size_or_type
                }
                _ => return Ok(Some(id)),
            }
        }
        Err(BtfError::Endless)
    }

    fn get(&self, id: u32) -> Option<Type<'a>> {
        let index = usize::try_from(id.checked_sub(1)?).ok()?;
        Type::at(self.types, *self.starts.get(index)? as usize)
    }

    /// Whether the string at `offset` is empty. An offset out of range counts as empty.
    fn is_anonymous(&self, offset: u32) -> bool {
        matches!(self.strings.get(offset as usize), None | Some(0))
    }

    /// Whether the string at `offset` is `name`, without searching for its end.
    fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        let tail = self.strings.get(offset as usize..).unwrap_or(&[]);
        !name.is_empty() && tail.get(name.len()) == Some(&0) && tail.starts_with(name)
    }
}

// === impl Type ===

impl<'a> Type<'a> {
    fn at(types: &'a [u8], at: usize) -> Option<Self> {
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

    fn is_composite(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }
}

/// Fills the offsets the kernel programs read. What this kernel lacks stays zero and
/// is listed with the reason.
#[must_use]
pub fn offsets(btf: &Btf<'_>) -> (Offsets, Vec<Missing>) {
    let mut offsets = Offsets::ZERO;
    let mut missing = Vec::new();
    for (index, &(structure, member)) in Offsets::MEMBERS.iter().enumerate() {
        let found = btf.member_offset(structure, member).and_then(|found| {
            if found.bitfield.is_some() {
                return Err(BtfError::Bitfield {
                    structure: structure.to_owned(),
                    member: member.to_owned(),
                });
            }
            Ok(found.byte_offset)
        });
        match found {
            Ok(offset) => offsets.set(index, offset),
            Err(reason) => missing.push(Missing {
                structure,
                member,
                reason,
            }),
        }
    }
    (offsets, missing)
}

/// Bytes after `struct btf_type`, fixed and per element. The file's own layout
/// section speaks for kinds that are newer than this table.
fn shape(kind: u8, layout: &[u8]) -> Option<(u8, u8)> {
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

fn section<'a>(
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

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*raw))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*raw))
}

#[cfg(test)]
mod kernels;
#[cfg(test)]
mod tests;
