//! The kernel programs of Remora.
//!
//! ```text
//! sys_enter ─ syscalls::enter ─ conn::follow        sends: recognise, note the time
//! sys_exit  ─ syscalls::exit ── conn::follow ─ advance (tail call) ─ emit ─ ring
//! inet_sock_set_state, tcp_destroy_sock ─ sock_state ─ conn::close ─ emit
//! sched_process_{exec,fork,exit} ─ process
//! ```
//!
//! Raw tracepoints only: they load where kprobes and fentry do not. Nothing is written
//! anywhere but to maps and the ring.
#![no_std]
#![no_main]
// For an atomic add; the kernel programs are built with a compiler of their own anyway.
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features, reason = "see above")]

mod advance;
mod arch;
mod conn;
mod emit;
mod filter;
mod frames;
mod give_up;
mod kernel;
mod lines;
mod maps;
mod pieces;
mod preamble;
mod process;
mod report;
mod sends;
mod serving;
mod skim;
mod sock_state;
mod state;
mod syscalls;

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;

#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn sys_enter(ctx: RawTracePointContext) -> i32 {
    let _ = syscalls::enter(ctx.arg(0), ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
#[inline(always)]
pub fn sys_exit(ctx: RawTracePointContext) -> i32 {
    let result: i64 = ctx.arg(1);
    if result > 0 {
        let _ = syscalls::exit::<_, false>(&ctx, ctx.arg(0), result as u64);
    }
    0
}

/// See [`syscalls::exit`]. Recognising a send twice changes nothing.
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn sys_enter_again(ctx: RawTracePointContext) -> i32 {
    let _ = syscalls::enter(ctx.arg(0), ctx.arg(1));
    0
}

/// See [`syscalls::exit`].
#[raw_tracepoint(tracepoint = "sys_exit")]
#[inline(always)]
pub fn sys_exit_again(ctx: RawTracePointContext) -> i32 {
    let result: i64 = ctx.arg(1);
    if result > 0 {
        let _ = syscalls::exit::<_, true>(&ctx, ctx.arg(0), result as u64);
    }
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn advance(ctx: RawTracePointContext) -> i32 {
    let _ = advance::advance(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn announce(ctx: RawTracePointContext) -> i32 {
    let _ = advance::announce(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn give_up(ctx: RawTracePointContext) -> i32 {
    let _ = give_up::give_up(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn follow_frames(ctx: RawTracePointContext) -> i32 {
    let _ = frames::frames(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn look_again(ctx: RawTracePointContext) -> i32 {
    let result: i64 = ctx.arg(1);
    if result > 0 {
        let _ = syscalls::look_again(&ctx, ctx.arg(0), result as u64);
    }
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn preamble(ctx: RawTracePointContext) -> i32 {
    let _ = preamble::preamble(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn skim(ctx: RawTracePointContext) -> i32 {
    let _ = skim::skim(&ctx);
    0
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    let _ = sock_state::changed(
        ctx.arg(0),
        ctx.arg::<i32>(1) as u32,
        ctx.arg::<i32>(2) as u32,
    );
    0
}

#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    let _ = sock_state::destroyed(ctx.arg(0));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    let _ = process::executed(ctx.arg(2));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    let _ = process::forked(ctx.arg(1));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn sched_process_exit(_ctx: RawTracePointContext) -> i32 {
    process::exited();
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
