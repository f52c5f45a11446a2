//! Types shared by the kernel programs and the agent.
//!
//! Everything that crosses the kernel boundary is defined here once: the records
//! in the ring buffer ([`record`]), the read-only globals patched before load
//! ([`config`], [`offsets`]), the counters ([`counters`]), and the HTTP/1 framing
//! machine ([`http1`]), which runs in the kernel and is tested and fuzzed in
//! userspace, what a proxy may send before it ([`proxy`]), and the stacks and unwind tables of CPU profiles ([`profile`]). Records are decoded through one checked cursor ([`cursor`]).
#![cfg_attr(not(test), no_std)]
// For unaligned loads; see `http1::scan`. The kernel programs have a compiler of their own.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod config;
pub mod counters;
pub mod cursor;
pub mod http1;
pub mod http2;
pub mod offsets;
pub mod pod;
pub mod profile;
pub mod proxy;
pub mod record;
