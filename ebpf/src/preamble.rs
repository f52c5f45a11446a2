//! Passes over the header of the PROXY protocol that a connection begins with.
//!
//! A program of its own: neither the stack of the programs that find a connection nor the loop
//! of the one that moves it on has room for it.

use aya_ebpf::EbpfContext;
use remora_common::http1::likeness;
use remora_common::http2::{PREFACE, PREFACE_START};
use remora_common::proxy;
use remora_common::record::close_reason;

use crate::advance::{consume, next_piece};
use crate::kernel::{Caller, read_user};
use crate::maps::{ADVANCE, CONNS, FRAMES, STAGES};
use crate::state::{HTTP1, Task};
use crate::{conn, frames, maps};

/// What comes behind a header.
enum Behind {
    /// Bytes that may be a request.
    Request { low: u64 },
    /// Nothing in this call.
    Nothing,
    /// Anything else, or the header is none, or is not whole.
    Other,
}

#[inline(always)]
pub fn preamble<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values, for the whole function.
    unsafe {
        let sk = (*task).sk;
        let conn = CONNS.get_ptr_mut(sk)?;
        match pass(task) {
            Behind::Request { low } => {
                // The continuations that it took to come here are gone.
                (*task).runs = 3;
                if low == PREFACE_START {
                    frames::preface(conn, PREFACE);
                    (*task).stage = FRAMES as u8;
                    STAGES.tail_call(ctx, FRAMES);
                } else {
                    (*conn).protocol = HTTP1;
                    (*task).stage = ADVANCE as u8;
                    STAGES.tail_call(ctx, ADVANCE);
                }
            }
            Behind::Nothing => {
                // As if it had not been: the next call is looked at as the first one.
                conn::close(conn, sk, close_reason::SWITCHED, 0, false);
            }
            Behind::Other => {
                let ino = (*conn).ino;
                conn::close(conn, sk, close_reason::SWITCHED, 0, false);
                conn::other(sk, ino, false);
            }
        }
    }
    None
}

/// Passes over the header, and looks at what follows.
#[inline(always)]
unsafe fn pass(task: *mut Task) -> Behind {
    // SAFETY: a valid map value, promised by the caller, for the whole function.
    unsafe {
        // The header lies in the first buffer; what follows it, there or in the next one.
        if (*task).piece_len == 0 && !next_piece(task) {
            return Behind::Other;
        }
        let base = (*task).piece;
        let have = (*task).piece_len;
        match proxy::header_len(|at| read_user(base + at)) {
            Some(len) if base != 0 && len <= have => consume(task, len),
            _ => return Behind::Other,
        }
        if (*task).left == 0 {
            return Behind::Nothing;
        }
        if (*task).piece_len == 0 && !next_piece(task) {
            return Behind::Other;
        }
        match read_user((*task).piece) {
            Some(low) if likeness::of(low, (*task).piece_len) == likeness::REQUEST => {
                Behind::Request { low }
            }
            _ => Behind::Other,
        }
    }
}
