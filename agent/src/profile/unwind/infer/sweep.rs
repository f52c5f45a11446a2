//! Where functions begin, as far as a binary tells without saying so.

use std::fs::File;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};

use super::Gap;
use crate::profile::process::elf::{Elf, u64_at};
use crate::profile::unwind::prepare::section_bytes;

/// Bytes of a symbol (`Elf64_Sym`), and the kind of one that is a function.
const SYMBOL: usize = 24;
const STT_FUNC: u8 = 2;
const STT_GNU_IFUNC: u8 = 10;

/// Addresses within `gaps` where functions begin, in order: those of symbols, those that are
/// called, and those that are taken. `limit` is how much code is searched besides the gaps,
/// bytes.
pub(super) fn starts(file: &File, elf: &Elf, gaps: &[Gap], limit: u64) -> Vec<u64> {
    let inside = |address: u64| {
        let at = gaps.partition_point(|gap| gap.end() <= address);
        gaps.get(at)
            .is_some_and(|gap| gap.range().contains(&address))
    };
    let mut out = Vec::new();
    if gaps.is_empty() {
        return out;
    }
    if inside(elf.entry) {
        out.push(elf.entry);
    }
    for name in [".symtab", ".dynsym"] {
        let section = elf.section(name);
        let bytes = section.and_then(|section| section_bytes(file, section).ok());
        for symbol in bytes.unwrap_or_default().chunks_exact(SYMBOL) {
            let address = u64_at(symbol, 8).unwrap_or(0);
            if matches!(symbol[4] & 0xf, STT_FUNC | STT_GNU_IFUNC) && inside(address) {
                out.push(address);
            }
        }
    }
    let code = elf.code();
    let all: u64 = code.iter().map(|code| code.end - code.start).sum();
    if all <= limit {
        for range in code {
            if let Some(bytes) = elf.code_bytes(file, range.clone()) {
                targets(&bytes, range.start, &inside, &mut out);
            }
        }
    } else {
        for gap in gaps {
            targets(&gap.bytes, gap.begin, &inside, &mut out);
        }
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// Addresses that instructions call or take.
fn targets(bytes: &[u8], address: u64, inside: &impl Fn(u64) -> bool, out: &mut Vec<u64>) {
    let decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    for instruction in decoder {
        let target = if instruction.flow_control() == FlowControl::Call {
            instruction.near_branch_target()
        } else if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand()
        {
            instruction.ip_rel_memory_address()
        } else if instruction.mnemonic() == Mnemonic::Mov
            && matches!(
                instruction.op1_kind(),
                OpKind::Immediate32 | OpKind::Immediate32to64
            )
        {
            // Code at fixed addresses takes them as numbers.
            instruction.immediate(1)
        } else {
            continue;
        };
        // A call to the next instruction asks where it is.
        if target != instruction.next_ip() && inside(target) {
            out.push(target);
        }
    }
}

/// Trampolines that signal handlers return to: `rt_sigreturn` (15) is called with its number
/// as the last thing before, in one of the two encodings there are.
pub(super) fn signal_returns(bytes: &[u8]) -> Vec<Range<usize>> {
    const CALLS: [&[u8]; 2] = [
        b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05",
        b"\xb8\x0f\x00\x00\x00\x0f\x05",
    ];
    let mut out = Vec::new();
    for call in CALLS {
        let found = memchr::memmem::find_iter(bytes, call);
        out.extend(found.map(|at| at..at + call.len()));
    }
    out
}
