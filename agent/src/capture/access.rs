//! How the programs read kernel memory: by one instruction where the kernel knows the
//! type of a pointer, by a helper (25 ns a call) where it does not.

#![allow(unsafe_code, reason = "looks at words as bytes")]

use remora_common::config::{Config, cast, config_flags};

use crate::host::preflight::btf::Btf;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_KFUNC_CALL`, in the high half of the register byte.
const KERNEL_FUNCTION: u8 = 2 << 4;
/// `r0 = 0`: `BPF_ALU64 | BPF_MOV | BPF_K`.
const NOTHING: [u8; 8] = [0xb7, 0, 0, 0, 0, 0, 0, 0];

/// What the running kernel offers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Access {
    /// [`config_flags::TYPED`] and [`config_flags::CAST`], if it offers them.
    flags: u32,
    file: u32,
    socket: u32,
    pointer: u32,
    registers: u32,
    /// Type id of `bpf_rdonly_cast`.
    function: u32,
}

impl Access {
    /// What `btf` says: features are looked up, versions are not compared, because
    /// distributions backport both.
    pub(super) fn of(btf: &Btf<'_>) -> Self {
        if !btf.has_enumerator("bpf_func_id", "BPF_FUNC_task_pt_regs") {
            return Self::default();
        }
        let typed = Self {
            flags: config_flags::TYPED,
            ..Self::default()
        };
        let cast = || {
            Some(Self {
                flags: config_flags::TYPED | config_flags::CAST,
                file: btf.struct_id("file", "f_op")?,
                socket: btf.struct_id("socket", "sk")?,
                pointer: btf.struct_id("list_head", "next")?,
                registers: btf.struct_id("pt_regs", "orig_ax")?,
                function: btf.function_id("bpf_rdonly_cast")?,
            })
        };
        cast().unwrap_or(typed)
    }

    /// Whether anything is offered at all.
    pub(super) fn is_typed(self) -> bool {
        self.flags != 0
    }

    /// Tells the programs.
    pub(super) fn configure(self, config: &mut Config) {
        config.flags |= self.flags;
        config.type_file = self.file;
        config.type_socket = self.socket;
        config.type_pointer = self.pointer;
        config.type_registers = self.registers;
    }

    /// A copy of `object` in which the placeholders are calls of the kernel's function,
    /// or nothing where the kernel has none (the programs do not get there then, but
    /// the kernel checks the target of every call first).
    ///
    /// Every eight bytes that look like the placeholder are replaced, wherever they are:
    /// the immediate is no helper's number, and debug information that held the same
    /// bytes by chance would not be read.
    pub(super) fn patch(self, object: &[u8]) -> Aligned {
        let mut placeholder = [CALL, 0, 0, 0, 0, 0, 0, 0];
        placeholder[4..].copy_from_slice(&cast::PLACEHOLDER.to_le_bytes());
        let mut call = NOTHING;
        if self.flags & config_flags::CAST != 0 {
            call = [CALL, KERNEL_FUNCTION, 0, 0, 0, 0, 0, 0];
            call[4..].copy_from_slice(&self.function.to_le_bytes());
        }
        let (placeholder, call) = (u64::from_ne_bytes(placeholder), u64::from_ne_bytes(call));
        let words = object.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            match u64::from_ne_bytes(word) {
                found if found == placeholder => call,
                other => other,
            }
        });
        Aligned {
            words: words.collect(),
            len: object.len(),
        }
    }
}

/// Bytes at an address that is a multiple of eight, as the reader of object files needs
/// them.
pub(super) struct Aligned {
    words: Vec<u64>,
    len: usize,
}

impl Aligned {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        let bytes = self.words.as_ptr().cast::<u8>();
        // SAFETY: `len` is at most the length of the words, which are plain bytes.
        unsafe { std::slice::from_raw_parts(bytes, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_calls_or_nothing_and_the_rest_stays() {
        let mut object = vec![1, 2, 3, 4, 5, 6, 7, 8, CALL, 0, 0, 0];
        object.extend(cast::PLACEHOLDER.to_le_bytes());
        object.extend([9, 9, 9]);
        let plain = Access::default().patch(&object);
        assert_eq!(plain.bytes().len(), object.len());
        assert_eq!(&plain.bytes()[..8], &object[..8]);
        assert_eq!(plain.bytes()[8..16], NOTHING);
        assert_eq!(&plain.bytes()[16..], &[9, 9, 9]);
        let cast = Access {
            flags: config_flags::TYPED | config_flags::CAST,
            function: 0x0102_0304,
            ..Access::default()
        };
        let patched = cast.patch(&object);
        assert_eq!(patched.bytes()[8..16], [0x85, 0x20, 0, 0, 4, 3, 2, 1]);
    }

    #[test]
    fn the_object_holds_placeholders_and_none_is_left() {
        let mut call = vec![CALL, 0, 0, 0];
        call.extend(cast::PLACEHOLDER.to_le_bytes());
        let count = |bytes: &[u8]| bytes.chunks(8).filter(|&chunk| chunk == call).count();
        assert!(count(super::super::OBJECT) > 2);
        let patched = Access::default().patch(super::super::OBJECT);
        assert_eq!(count(patched.bytes()), 0);
    }
}
