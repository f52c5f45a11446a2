//! From the name of a member to its place.

use std::num::NonZeroU32;

use super::format::{MEMBER_LEN, Type, kind, read_u32};
use super::{Btf, BtfError};

/// Typedefs and qualifiers that are followed, and anonymous structures that are
/// entered, before the type is called malformed. Kernels stay below 10.
const MAX_DEPTH: u32 = 32;
/// Members looked at in one lookup. `task_struct` has some 250.
pub(super) const MAX_STEPS: u32 = 1 << 17;

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

/// What the search for one name in one structure found.
struct Found {
    type_id: u32,
    bits: u64,
    /// Width from the member's own encoding.
    width: Option<NonZeroU32>,
}

impl<'a> Btf<'a> {
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
    pub(super) fn walk(
        &self,
        id: u32,
        path: &str,
        steps: &mut u32,
    ) -> Result<Option<Member>, BtfError> {
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
    pub(super) fn is_anonymous(&self, offset: u32) -> bool {
        matches!(self.strings.get(offset as usize), None | Some(0))
    }

    /// Whether the string at `offset` is `name`, without searching for its end.
    pub(super) fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        let tail = self.strings.get(offset as usize..).unwrap_or(&[]);
        !name.is_empty() && tail.get(name.len()) == Some(&0) && tail.starts_with(name)
    }
}
