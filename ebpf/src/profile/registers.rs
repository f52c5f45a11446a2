//! Registers of the user frame, on x86-64.

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::bpf_get_current_task;
use aya_ebpf::programs::PerfEventContext;
use core::mem::offset_of;

use crate::maps::{Scratch, config};
use crate::memory;

/// `__USER_CS`: 64-bit code.
const USER_CS: u64 = 0x33;
/// `__USER_DS`: the stack segment of 64-bit code.
const USER_SS: u64 = 0x2b;
/// Bytes above the saved registers where the kernel is built with FRED
/// (`TOP_OF_KERNEL_STACK_PADDING`); none otherwise.
const FRED_PADDING: u64 = 16;

/// Where the interrupted code ran.
#[inline(always)]
pub fn in_user_mode(ctx: &PerfEventContext) -> bool {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.ctx).regs.cs & 3 == 3 }
}

/// Puts the registers of the user frame into the scratch. `false` if it is not 64-bit
/// code, or there are none to be found.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
pub unsafe fn load(ctx: &PerfEventContext, scratch: *mut Scratch, user: bool) -> bool {
    // SAFETY: the kernel passes a valid context; the rest is promised by the caller.
    unsafe {
        if user {
            let regs = &(*ctx.ctx).regs;
            if regs.cs != USER_CS {
                return false;
            }
            let to = &raw mut (*scratch).registers;
            (*to)[0] = regs.rax;
            (*to)[1] = regs.rdx;
            (*to)[2] = regs.rcx;
            (*to)[3] = regs.rbx;
            (*to)[4] = regs.rsi;
            (*to)[5] = regs.rdi;
            (*to)[6] = regs.rbp;
            (*to)[7] = regs.rsp;
            (*to)[8] = regs.r8;
            (*to)[9] = regs.r9;
            (*to)[10] = regs.r10;
            (*to)[11] = regs.r11;
            (*to)[12] = regs.r12;
            (*to)[13] = regs.r13;
            (*to)[14] = regs.r14;
            (*to)[15] = regs.r15;
            (*scratch).ip = regs.rip;
            (*scratch).sp = regs.rsp;
            (*scratch).bp = regs.rbp;
            (*scratch).known = 1;
            return true;
        }
        // Interrupted in the kernel: what user code had is saved at the top of the kernel
        // stack. `bpf_task_pt_regs` would tell, from Linux 5.15 on.
        let task = bpf_get_current_task();
        let Some(stack) = memory::kernel::<u64>(task + config!(task_stack) as u64) else {
            return false;
        };
        let top = stack + config!(stack_bytes) as u64 - size_of::<pt_regs>() as u64;
        saved(scratch, top) || saved(scratch, top - FRED_PADDING)
    }
}

/// Takes the registers saved at `address`, if they look like those of 64-bit user code.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
unsafe fn saved(scratch: *mut Scratch, address: u64) -> bool {
    /// The end of `struct pt_regs`, as it is on the stack.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Frame {
        ip: u64,
        cs: u64,
        flags: u64,
        sp: u64,
        ss: u64,
    }
    let Some(frame) = memory::kernel::<Frame>(address + offset_of!(pt_regs, rip) as u64) else {
        return false;
    };
    // The kernel may use the upper half of the words that hold the selectors.
    if frame.cs & 0xffff != USER_CS || frame.ss & 0xffff != USER_SS {
        return false;
    }
    let Some(bp) = memory::kernel::<u64>(address + offset_of!(pt_regs, rbp) as u64) else {
        return false;
    };
    // SAFETY: promised by the caller.
    unsafe {
        (*scratch).ip = frame.ip;
        (*scratch).sp = frame.sp;
        (*scratch).bp = bp;
        // Calls into the kernel are made from code whose rules need no other register.
        (*scratch).known = 0;
    }
    true
}
