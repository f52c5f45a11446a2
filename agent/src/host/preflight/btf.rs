//! Member offsets from BTF, the kernel's description of its own structures.
//!
//! The bytes come from a file and are treated as hostile: every read is checked,
//! every walk is bounded, nothing panics. One pass over the type section notes
//! where each type starts and which structures have a name; everything else is read
//! in place when it is asked for.

mod error;
mod format;
mod ids;
mod walk;

use remora_common::offsets::Offsets;

pub use error::BtfError;
use format::{HEADER_LEN, MAGIC, TYPE_LEN, Type, read_u16, read_u32, section, shape};
pub use walk::{Bitfield, Member};

/// Where a running kernel shows its BTF.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

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

#[cfg(test)]
mod kernels;
#[cfg(test)]
mod tests;
