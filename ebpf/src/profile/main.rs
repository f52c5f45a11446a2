//! The kernel programs of CPU profiles; an object of their own, so that who traces
//! requests does not load them, and the other way round.
//!
//! ```text
//! perf event ─ sample::take ─ unwind::follow ─┐ (tail calls)
//!                                  └──────────┴─ finish ─ ring
//! sched_process_{exec,exit,fork} ─ life
//! ```
#![no_std]
#![no_main]
// For an atomic add; the kernel programs are built with a compiler of their own anyway.
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features, reason = "see above")]

mod life;
mod lookup;
mod maps;
mod memory;
mod registers;
mod sample;
mod unwind;

use aya_ebpf::macros::{perf_event, raw_tracepoint};
use aya_ebpf::programs::{PerfEventContext, RawTracePointContext};

#[perf_event]
pub fn sample(ctx: PerfEventContext) -> u32 {
    let _ = sample::take(&ctx);
    0
}

/// See [`unwind::follow`].
#[perf_event]
pub fn unwind(ctx: PerfEventContext) -> u32 {
    let _ = unwind::follow(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn profile_exec(_ctx: RawTracePointContext) -> i32 {
    life::executed();
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn profile_fork(ctx: RawTracePointContext) -> i32 {
    let _ = life::forked(ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn profile_exit(_ctx: RawTracePointContext) -> i32 {
    life::exited();
    0
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic; a reachable loop would be refused by the verifier.
    loop {}
}
