//! What functions of Go's runtime that change stacks do, read from their code.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use remora_common::profile::Goroutine;

/// The stack that the stack pointer is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stack {
    /// The one the function was called on.
    Own,
    /// Another one.
    Other {
        /// Address of the instruction that left the own one.
        left: u64,
    },
    /// Perhaps another one; where it was on its own is in memory.
    Saved {
        /// Bytes above the stack pointer.
        at: i32,
        /// Address of the instruction that left the own one.
        left: u64,
    },
}

/// Where a function is on which stack.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Switch {
    /// From which address on, in order.
    pub(super) stacks: Vec<(u64, Stack)>,
}

/// What an instruction means for the stack pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It is loaded.
    Load,
    /// It is cut to a multiple.
    Align,
    /// It is copied to a register.
    Copy(Register),
    /// A register is put at so many bytes above it.
    Store(Register, i32),
    Return,
    None,
}

impl Switch {
    /// Reads the code of a function. Between two returns it leaves its stack once, and comes
    /// back once, if it returns. Behind a return there are paths that branched off while it
    /// was away.
    pub(super) fn read(bytes: &[u8], begin: u64) -> Self {
        let decoder = Decoder::with_ip(64, bytes, begin, DecoderOptions::NONE);
        let code: Vec<_> = decoder
            .into_iter()
            .map(|instruction| {
                (
                    instruction.ip(),
                    instruction.next_ip(),
                    effect(&instruction),
                )
            })
            .collect();
        let mut stacks = vec![(begin, Stack::Own)];
        let mut left = None;
        for block in code.split_inclusive(|(_, _, effect)| *effect == Effect::Return) {
            let moves = |(_, _, effect): &&(u64, u64, Effect)| {
                matches!(effect, Effect::Load | Effect::Align)
            };
            let returns = block.last().is_some_and(|last| last.2 == Effect::Return);
            let first = block.iter().find(moves).map(|(at, next, _)| (*at, *next));
            if let (Some(left), Some((at, _, _))) = (left, block.first()) {
                let saved = saved(block);
                let stack = saved.map_or(Stack::Other { left }, |at| Stack::Saved { at, left });
                stacks.push((*at, stack));
            } else if let Some((at, next)) = first {
                left = Some(at);
                stacks.push((next, Stack::Other { left: at }));
            }
            let back = block
                .iter()
                .rev()
                .find(|(_, _, effect)| *effect == Effect::Load);
            if let Some((at, next, _)) = back
                && returns
                && first.is_some_and(|(first, _)| first != *at || stacks.len() > 2)
            {
                stacks.push((*next, Stack::Own));
            }
        }
        Self { stacks }
    }

    /// Where what begins at `at` ends.
    pub(super) fn end_of(&self, at: u64, end: u64) -> u64 {
        let next = self.stacks.iter().map(|(begin, _)| *begin);
        next.filter(|begin| *begin > at).min().unwrap_or(end)
    }
}

/// Where a stretch of code puts the stack pointer it began with.
fn saved(block: &[(u64, u64, Effect)]) -> Option<i32> {
    let copy = block.iter().find_map(|(_, _, effect)| match effect {
        Effect::Copy(register) => Some(*register),
        _ => None,
    });
    // Or the register was loaded before: `asmcgocall` of Go 1.19 does so.
    block.iter().find_map(|(_, _, effect)| match effect {
        Effect::Store(register, at) if copy.is_none_or(|copy| copy == *register) => {
            (*register == Register::RDX).then_some(*at)
        }
        _ => None,
    })
}

fn effect(instruction: &Instruction) -> Effect {
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    let to_stack = instruction.op0_kind() == OpKind::Register && to == Register::RSP;
    match instruction.mnemonic() {
        _ if instruction.flow_control() == FlowControl::Return => Effect::Return,
        Mnemonic::Mov | Mnemonic::Xchg if to_stack => Effect::Load,
        Mnemonic::Lea if to_stack && instruction.memory_base() != Register::RSP => Effect::Load,
        Mnemonic::And if to_stack => Effect::Align,
        Mnemonic::Add | Mnemonic::Sub if to_stack && instruction.op1_kind() == OpKind::Register => {
            Effect::Load
        }
        Mnemonic::Mov if from == Register::RSP && instruction.op0_kind() == OpKind::Register => {
            Effect::Copy(to)
        }
        Mnemonic::Mov
            if instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == Register::RSP
                && instruction.op1_kind() == OpKind::Register =>
        {
            let at = instruction.memory_displacement64().cast_signed();
            i32::try_from(at).map_or(Effect::None, |at| Effect::Store(from, at))
        }
        _ => Effect::None,
    }
}

/// Loads from the thread's `g` on that lead to what a register holds.
#[derive(Clone, Copy)]
struct Chain {
    tls: i32,
    loads: [u16; 2],
    len: usize,
}

/// Where the goroutine's stack pointer is kept, from the code of `runtime.systemstack`:
/// behind the call it loads `g`, `g.m`, `m.curg`, and `g.sched.sp` into the stack pointer.
pub(super) fn goroutine(bytes: &[u8], begin: u64) -> Option<Goroutine> {
    let mut known: [Option<Chain>; 16] = [None; 16];
    let mut constants: [Option<i32>; 16] = [None; 16];
    let mut called = false;
    for instruction in Decoder::with_ip(64, bytes, begin, DecoderOptions::NONE) {
        if !called {
            called = instruction.flow_control() == FlowControl::IndirectCall;
            continue;
        }
        if instruction.op0_kind() != OpKind::Register {
            continue;
        }
        let to = instruction.op0_register();
        if !to.is_gpr64() || instruction.mnemonic() != Mnemonic::Mov {
            continue;
        }
        let shift = instruction.memory_displacement64().cast_signed();
        let base = instruction.memory_base();
        let chain = match instruction.op1_kind() {
            OpKind::Memory if instruction.segment_prefix() == Register::FS => {
                let from = if base == Register::None {
                    Some(0)
                } else {
                    constants[base.number()]
                };
                let tls = i32::try_from(shift).ok();
                tls.zip(from).map(|(tls, from)| Chain {
                    tls: tls.wrapping_add(from),
                    loads: [0; 2],
                    len: 0,
                })
            }
            OpKind::Memory if base.is_gpr64() => {
                let before = known[base.number()];
                let by = u16::try_from(shift).ok();
                before.zip(by).and_then(|(chain, by)| extend(chain, by, to))
            }
            _ => None,
        };
        if let Some(Chain { tls, loads, len: 3 }) = chain {
            return Some(Goroutine {
                tls,
                g_m: loads[0],
                m_curg: loads[1],
                sched_sp: u16::try_from(shift).ok()?,
            });
        }
        known[to.number()] = chain;
        constants[to.number()] = (instruction.op1_kind() != OpKind::Memory
            && instruction.op1_kind() != OpKind::Register)
            .then(|| i32::try_from(instruction.immediate(1).cast_signed()).ok())
            .flatten();
    }
    None
}

/// One load more; the third must be into the stack pointer.
fn extend(mut chain: Chain, by: u16, to: Register) -> Option<Chain> {
    if chain.len == 2 {
        chain.len = 3;
        return (to == Register::RSP).then_some(chain);
    }
    chain.loads[chain.len] = by;
    chain.len += 1;
    Some(chain)
}
