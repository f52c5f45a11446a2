//! Looks at the beginning of a call: passes over the header of the PROXY protocol that a
//! connection begins with, and finds a request in place of a body that was not sent.
//!
//! A program of its own: neither the stack of the programs that find a connection nor the loop
//! of the one that moves it on has room for it.

use aya_ebpf::EbpfContext;
use remora_common::http1::{WINDOW_MAX, likeness, phase};
use remora_common::http2::{PREFACE, PREFACE_START};
use remora_common::proxy;
use remora_common::record::close_reason;

use crate::kernel::{Caller, bounded, read_user, read_user_bytes};
use crate::maps::{ADVANCE, CONNS, FRAMES, STAGES};
use crate::pieces::{consume, next_piece};
use crate::state::{Conn, HTTP1, Task};
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
        if (*conn).protocol == HTTP1 {
            leave_out(task, conn);
            (*task).stage = ADVANCE as u8;
            STAGES.tail_call(ctx, ADVANCE);
            return None;
        }
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

/// Ends the request under way, of whose body no byte came, if the call begins with the line of
/// another one. (A body that does too is taken for one; a client that sends a body after the
/// final answer is rare, and so is such a body.)
#[inline(always)]
unsafe fn leave_out(task: *mut Task, conn: *mut Conn) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        // Once a call; and the continuations that it took to come here are gone.
        (*task).runs = 3;
        if (*task).piece_len == 0 && !next_piece(task) {
            return;
        }
        let have = (*task).piece_len;
        let len = if have < WINDOW_MAX as u64 {
            have
        } else {
            WINDOW_MAX as u64
        };
        let len = bounded(len, 0x3ff);
        let window = (&raw mut (*task).window).cast::<u8>();
        if (*task).piece == 0 || !read_user_bytes(window, len as u32, (*task).piece) {
            return;
        }
        let request = &mut (*conn).request;
        if request.finds_request(window, len as usize) {
            // It is whole: nothing of it is to come.
            request.phase = phase::BODY;
            request.remaining = 0;
        }
    }
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
