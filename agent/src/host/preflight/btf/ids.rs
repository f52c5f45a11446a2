//! Type ids: how programs name a type or a function of the kernel to it.

use super::Btf;
use super::format::{Type, kind, read_u32};
use super::walk::MAX_STEPS;

/// Bytes of `struct btf_enum`.
const ENUM_LEN: usize = 8;

impl Btf<'_> {
    /// Id of the `struct name` that has a member `member` (several may have the name).
    #[must_use]
    pub fn struct_id(&self, name: &str, member: &str) -> Option<u32> {
        let mut steps = MAX_STEPS;
        self.named
            .iter()
            .filter(|known| self.is_named(known.name, name.as_bytes()))
            .find(|known| matches!(self.walk(known.id, member, &mut steps), Ok(Some(_))))
            .map(|known| known.id)
    }

    /// Id of the function `name`.
    #[must_use]
    pub fn function_id(&self, name: &str) -> Option<u32> {
        let at = self.starts.iter().position(|&at| {
            Type::at(self.types, at as usize).is_some_and(|ty| ty.kind == kind::FUNC)
                && self.is_named_at(at as usize, name)
        })?;
        u32::try_from(at + 1).ok()
    }

    /// Whether `enum name` has a value called `value`.
    #[must_use]
    pub fn has_enumerator(&self, name: &str, value: &str) -> bool {
        self.starts.iter().any(|&at| {
            let Some(ty) = Type::at(self.types, at as usize) else {
                return false;
            };
            ty.kind == kind::ENUM
                && self.is_named_at(at as usize, name)
                && (ty.rest.chunks_exact(ENUM_LEN).take(ty.vlen as usize))
                    .any(|raw| self.is_named(read_u32(raw, 0).unwrap_or(0), value.as_bytes()))
        })
    }

    fn is_named_at(&self, at: usize, name: &str) -> bool {
        self.is_named(read_u32(self.types, at).unwrap_or(0), name.as_bytes())
    }
}
