//! Following the user stack, some frames a run.

use aya_ebpf::helpers::bpf_get_current_task;
use aya_ebpf::programs::PerfEventContext;
use remora_common::profile::{
    FRAMES, Rule, cfa, mapping_kind, rbp, rule_flags, sample_flags, stop,
};

use crate::lookup;
use crate::maps::{SCRATCH, STAGES, Scratch, config};
use crate::memory::{self, bounded};
use crate::sample;

/// Frames followed in one run; what the verifier of Linux 5.10 has the patience for.
const FRAMES_A_RUN: u32 = 8;
/// Runs that a whole stack takes. The kernel allows 32 tail calls.
pub const RUNS: u32 = FRAMES.div_ceil(FRAMES_A_RUN as usize) as u32 + 1;

/// Where `rbp` is in the `ucontext` on top of the stack in a signal trampoline; `rbx`, `rdx`,
/// `rax`, `rcx`, `rsp` and `rip` follow.
const UCONTEXT_RBP: u64 = 120;
/// Registers from there to `rip`.
const SAVED: usize = 7;

/// Where addresses of user code end, with pages of four levels or five.
const USER_END: u64 = 1 << 56;

/// Goes on with the stack in the scratch, and sends it when it ends.
#[inline(always)]
pub fn follow(ctx: &PerfEventContext) -> Option<()> {
    let scratch = SCRATCH.get_ptr_mut(0)?;
    let mut round = 0;
    let mut ended = false;
    // SAFETY: a valid map value, used by this program only while it runs.
    unsafe {
        while round < FRAMES_A_RUN {
            round += 1;
            if let Err(reason) = step(scratch) {
                (*scratch).sample.stop = reason;
                ended = true;
                break;
            }
        }
        if !ended {
            if (*scratch).runs > 0 {
                (*scratch).runs -= 1;
                STAGES.tail_call(ctx, 0);
            }
            (*scratch).sample.stop = stop::TAIL_CALLS;
        }
        sample::finish(scratch)
    }
}

/// Notes the current frame and goes to its caller. The error is why there is none.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
unsafe fn step(scratch: *mut Scratch) -> Result<(), u8> {
    // SAFETY: promised by the caller.
    unsafe {
        let ip = (*scratch).ip;
        if ip == 0 {
            return Err(stop::ROOT);
        }
        let user = (*scratch).sample.user;
        if user as usize >= FRAMES {
            return Err(stop::DEPTH);
        }
        let slot = bounded((*scratch).sample.kernel as u64 + user as u64, 0xff);
        (*scratch).frames[slot as usize] = ip;
        if user < 32 {
            (*scratch).sample.exact |= (*scratch).exact << (user & 31);
        }
        (*scratch).sample.user = user + 1;
        // The instruction behind a call may belong to another function.
        let address = ip.wrapping_sub(1).wrapping_add((*scratch).exact as u64);
        if address >= USER_END {
            return Err(stop::NO_MAPPING);
        }
        lookup::mapping(scratch, address)?;
        let kind = (*scratch).mapping.kind;
        if kind == mapping_kind::PREPARING {
            return Err(stop::PREPARING);
        }
        if kind != mapping_kind::ROWS {
            return by_frame_pointer(scratch, true);
        }
        let within = address
            .wrapping_sub((*scratch).mapping.begin)
            .wrapping_add((*scratch).mapping.offset);
        let rule = lookup::rule((*scratch).mapping.table, within)?;
        by_rule(scratch, rule)
    }
}

/// Goes to the caller by the chain of frame pointers, on the same stack or on any.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
unsafe fn by_frame_pointer(scratch: *mut Scratch, same_stack: bool) -> Result<(), u8> {
    // SAFETY: promised by the caller.
    unsafe {
        let bp = (*scratch).bp;
        // Code without frame pointers may have anything in there. Outermost frames are told
        // by their rules.
        if bp == 0 {
            return Err(stop::NO_FRAME);
        }
        // A leaf may have its frame pointer at the stack pointer, a caller has not.
        if bp & 7 != 0 || (same_stack && bp < (*scratch).sp) {
            return Err(stop::FRAME_POINTER);
        }
        let Some([caller, ip]) = memory::user::<[u64; 2]>(bp) else {
            return Err(stop::FRAME_POINTER);
        };
        (*scratch).ip = ip;
        (*scratch).bp = caller;
        (*scratch).sp = bp + 16;
        (*scratch).exact = 0;
        (*scratch).known = 0;
        Ok(())
    }
}

/// Goes to the caller by a rule.
///
/// # Safety
/// Both are valid map values.
#[inline(always)]
unsafe fn by_rule(scratch: *mut Scratch, rule: *const Rule) -> Result<(), u8> {
    // SAFETY: promised by the caller.
    unsafe {
        let kind = (*rule).cfa;
        if kind == cfa::GUESS || (*rule).flags & rule_flags::INFERRED != 0 {
            (*scratch).sample.flags |= sample_flags::GUESSED;
        }
        if kind == cfa::FRAME_POINTER || kind == cfa::GUESS || kind == cfa::OTHER_STACK {
            return by_frame_pointer(scratch, kind != cfa::OTHER_STACK);
        }
        if kind == cfa::ROOT {
            return Err(stop::ROOT);
        }
        let sp = (*scratch).sp;
        let bp = (*scratch).bp;
        if kind == cfa::SIGNAL {
            // One read for all: the compiler merges the tests of several, and then reads
            // what a failed one left unwritten, which verifiers before 6.2 refuse.
            let Some(saved) = memory::user::<[u64; SAVED]>(sp.wrapping_add(UCONTEXT_RBP)) else {
                return Err(stop::UNREADABLE);
            };
            (*scratch).bp = saved[0];
            (*scratch).sp = saved[SAVED - 2];
            (*scratch).ip = saved[SAVED - 1];
            (*scratch).exact = 1;
            (*scratch).known = 0;
            return Ok(());
        }
        let offset = (*rule).offset as i64 as u64;
        let mut frame = match kind {
            cfa::RSP | cfa::RSP_DEREF => sp.wrapping_add(offset),
            cfa::RBP | cfa::RBP_DEREF => bp.wrapping_add(offset),
            cfa::PLT => {
                let pushed = ((*scratch).ip & 15) >= offset;
                sp.wrapping_add(8 + 8 * pushed as u64)
            }
            cfa::REGISTER => {
                if (*scratch).known == 0 {
                    return Err(stop::REGISTER);
                }
                let register = bounded((*rule).register as u64, 15) as usize;
                (*scratch).registers[register].wrapping_add(offset)
            }
            cfa::GOROUTINE => goroutine(rule)?,
            _ => return Err(stop::UNSUPPORTED),
        };
        if kind == cfa::RSP_DEREF || kind == cfa::RBP_DEREF {
            let Some(value) = memory::user::<u64>(frame) else {
                return Err(stop::UNREADABLE);
            };
            frame = value.wrapping_add((*rule).add as i64 as u64);
        }
        // Frames lie above those they call; the first must be above what is pushed.
        if frame <= sp && kind != cfa::GOROUTINE {
            return Err(stop::NO_PROGRESS);
        }
        let Some(ip) = memory::user::<u64>(frame.wrapping_sub(8)) else {
            return Err(stop::UNREADABLE);
        };
        let saved = (*rule).rbp;
        if saved != rbp::SAME {
            let base = match saved {
                rbp::CFA => frame,
                rbp::RBP => bp,
                _ => sp,
            };
            // The field is taken in Go's rules, whose frames are all alike.
            let offset = if kind == cfa::GOROUTINE {
                -16
            } else {
                (*rule).rbp_offset as i64
            };
            let Some(value) = memory::user::<u64>(base.wrapping_add(offset as u64)) else {
                return Err(stop::UNREADABLE);
            };
            (*scratch).bp = value;
        }
        (*scratch).ip = ip;
        (*scratch).sp = frame;
        (*scratch).exact = 0;
        (*scratch).known = 0;
        Ok(())
    }
}

/// The canonical frame address on the stack of the goroutine that this thread runs, from
/// the stack of the scheduler.
///
/// # Safety
/// `rule` is a valid map value.
#[inline(always)]
unsafe fn goroutine(rule: *const Rule) -> Result<u64, u8> {
    // SAFETY: promised by the caller; the helper has no conditions.
    unsafe {
        let fsbase = config!(task_fsbase) as u64;
        if fsbase == 0 {
            return Err(stop::UNSUPPORTED);
        }
        // Of the running thread as well: all that sets it writes it there, but for the
        // instruction WRFSBASE, which no runtime uses for threads of its own.
        let Some(fs) = memory::kernel::<u64>(bpf_get_current_task() + fsbase) else {
            return Err(stop::UNREADABLE);
        };
        let (offsets, stack) = ((*rule).add as u32, (*rule).rbp_offset as u32);
        let Some(g) = memory::user::<u64>(fs.wrapping_add((*rule).offset as i64 as u64)) else {
            return Err(stop::UNREADABLE);
        };
        let Some(m) = memory::user::<u64>(g.wrapping_add(offsets as u64 & 0xffff)) else {
            return Err(stop::UNREADABLE);
        };
        let Some(curg) = memory::user::<u64>(m.wrapping_add((offsets >> 16) as u64)) else {
            return Err(stop::UNREADABLE);
        };
        if curg == 0 && (*rule).flags & rule_flags::OR_ROOT != 0 {
            return Err(stop::ROOT);
        }
        let Some(sp) = memory::user::<u64>(curg.wrapping_add(stack as u64 & 0xffff)) else {
            return Err(stop::UNREADABLE);
        };
        Ok(sp.wrapping_add((stack >> 16) as u64))
    }
}
