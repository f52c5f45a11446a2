//! Moves one direction of a connection on by the bytes of one system call.
//!
//! The call's buffers are walked piece by piece; each step looks at one window of
//! lines or passes over body bytes. What one run of the program does not finish, the
//! next one does (tail call), up to the kernel's limit of 33.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use remora_common::config::config_flags;
use remora_common::http1::{Stream, phase};
use remora_common::record::role;

use crate::emit::{self, RESPONSE_HEAD_BYTES};
use crate::kernel::{Caller, bounded, can, read_user_bytes};
use crate::lines::lines;
use crate::maps::{
    self, ADVANCE, ANNOUNCE, CONNS, FRAMES, GIVE_UP, PREAMBLE, SKIM, STAGES, config,
};
use crate::pieces::{consume, next_batch, next_piece};
use crate::report::report;
use crate::state::{Conn, HTTP1, SEND, Task};

/// Windows looked at in one run of the program, and smaller steps after each. The
/// verifier walks through every one of them.
const WINDOWS: u32 = 1;
const STEPS: u32 = 48;

/// What a step leads to.
pub const NOTHING: u32 = 0;
pub const PART: u32 = 1;
pub const END: u32 = 2;
pub const SWITCHED: u32 = 3;
pub const FRAMING_LOST: u32 = 4;
/// Lines are to be looked at.
const WINDOW: u32 = 5;
/// The call is accounted.
const DONE: u32 = 6;

/// Runs of the program for one call.
pub const RUNS: u32 = 29;

#[inline(always)]
pub fn advance<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values.
    unsafe {
        let conn = CONNS.get_ptr_mut((*task).sk)?;
        if (*conn).protocol != HTTP1 {
            // It changed between two runs of this program.
            (*task).stage = FRAMES as u8;
            STAGES.tail_call(ctx, FRAMES);
            return None;
        }
        run(ctx, task, conn)
    }
}

/// Accounts the call, or as much of it as one run can.
///
/// # Safety
/// Valid map values.
#[inline(always)]
pub unsafe fn run<C: EbpfContext>(ctx: &C, task: *mut Task, conn: *mut Conn) -> Option<()> {
    // SAFETY: promised by the caller, for the whole function.
    unsafe {
        let request = ((*conn).role == role::SERVER) != ((*task).direction == SEND);
        let stream = stream_of(task, conn, request)?;
        if may_be_left_out(task, conn, stream) {
            STAGES.tail_call(ctx, PREAMBLE);
            return None;
        }
        if (*task).piece_len == 0 && (*task).left != 0 {
            // The first of several buffers, or else the only window of this run is spent on
            // finding that there is one. If it cannot be read, a step will tell.
            next_piece(task);
        }
        let mut window = 0;
        while window < WINDOWS {
            window += 1;
            if needs_window(task, stream) {
                let action = lines(task, conn, stream);
                (*task).pending = action as u8;
            }
            let mut step = 0;
            while step < STEPS {
                step += 1;
                if (&raw const (*task).pending).read_volatile() != NOTHING as u8 {
                    break;
                }
                let action = small_step(task, stream);
                (&raw mut (*task).pending).write_volatile(action as u8);
            }
            let action = (&raw const (*task).pending).read_volatile() as u32;
            if action == DONE {
                return done(task, conn);
            }
            if action == WINDOW || action == NOTHING {
                (*task).pending = NOTHING as u8;
                continue;
            }
            if action == FRAMING_LOST {
                STAGES.tail_call(ctx, GIVE_UP);
                return None;
            }
            let unknown = (*conn).announced == 0 || (*conn).tgid != (*task).tgid;
            let reported = (*stream).response == 0 || (*stream).orphan == 0;
            if unknown && (*task).refused == 0 && reported {
                STAGES.tail_call(ctx, ANNOUNCE);
                return None;
            }
            let status = (*stream).status;
            report(task, conn, stream, action);
            (*task).staged = 0;
            if action == SWITCHED {
                (*task).upgraded = (status == 101) as u8;
                STAGES.tail_call(ctx, GIVE_UP);
                return None;
            }
            (*task).pending = NOTHING as u8;
        }
        // The kernel lets a program continue 33 times; the last times are for giving up.
        (*task).runs += 1;
        if (*task).runs < RUNS {
            if only_passes(task, stream) {
                STAGES.tail_call(ctx, SKIM);
                return None;
            }
            STAGES.tail_call(ctx, ADVANCE);
        }
        (*task).pending = FRAMING_LOST as u8;
        STAGES.tail_call(ctx, GIVE_UP);
    }
    None
}

/// Whether the call may begin with another request in place of a body: the request was answered
/// before any byte of its body came (`Expect: 100-continue`, refused).
#[inline(always)]
unsafe fn may_be_left_out(task: *mut Task, conn: *mut Conn, stream: *mut Stream) -> bool {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        (*stream).body == 0
            && ((*stream).phase == phase::BODY || (*stream).phase == phase::CHUNK_LINE)
            && (*stream).response == 0
            && (*conn).response.index > (*stream).index
            && (*stream).carry_len == 0
            && (*task).runs == 0
            && (*task).pending == NOTHING as u8
            && (*task).left != 0
    }
}

/// Whether nothing is done with the header lines to come but to look for the end of the head:
/// as many of its bytes were sent as are asked for.
#[inline(always)]
pub unsafe fn only_passes(task: *mut Task, stream: *mut Stream) -> bool {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        let limit = if (*stream).response == 0 {
            config!(head_bytes)
        } else {
            RESPONSE_HEAD_BYTES
        };
        (*stream).phase == phase::HEAD
            && (*stream).captured >= limit
            && (*task).staged == 0
            && (*task).left != 0
            && (*task).pending == NOTHING as u8
    }
}

/// The direction of the connection that the call moves on. The offset takes a detour
/// through memory, so that the verifier sees one pointer with a range and not two
/// pointers, each to be followed through all of the program.
#[inline(always)]
pub unsafe fn stream_of(task: *mut Task, conn: *mut Conn, request: bool) -> Option<*mut Stream> {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        let at = if request {
            0
        } else {
            size_of::<Stream>() as u32
        };
        (&raw mut (*task).stream_at).write_volatile(at);
        let at = (&raw const (*task).stream_at).read_volatile();
        if at > size_of::<Stream>() as u32 {
            return None;
        }
        Some(
            (&raw mut (*conn).request)
                .cast::<u8>()
                .add(at as usize)
                .cast::<Stream>(),
        )
    }
}

/// Whether lines are to be looked at now.
#[inline(always)]
unsafe fn needs_window(task: *mut Task, stream: *mut Stream) -> bool {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        (*task).pending == NOTHING as u8
            && (*task).left != 0
            && (*task).piece_len != 0
            && (*task).staged == 0
            && (*stream).phase < phase::BODY
    }
}

/// What needs no window: takes up buffers, passes over body bytes, reads plain chunk
/// size lines.
#[inline(always)]
unsafe fn small_step(task: *mut Task, stream: *mut Stream) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let left = (*task).left;
        if left == 0 {
            if (*task).staged != 0 {
                return PART;
            }
            return if (*task).batch_left != 0 && next_batch(task) {
                NOTHING
            } else {
                DONE
            };
        }
        if (*stream).phase >= phase::BODY && (*stream).takes(left) {
            // Whatever buffers it lies in.
            (*task).piece_len = left;
        }
        if (*task).piece_len == 0 && !next_piece(task) {
            return FRAMING_LOST;
        }
        if (*stream).phase >= phase::BODY {
            let (taken, complete) = (*stream).skip((*task).piece_len);
            (*stream).last = (*task).last;
            consume(task, taken);
            if complete {
                return END;
            }
            // Behind a chunk, in the same step: there may be many small ones in a call.
        }
        if (*stream).phase >= phase::BODY || (*task).piece_len == 0 {
            return NOTHING;
        }
        if (*task).staged != 0 {
            return PART;
        }
        if (*stream).phase < phase::CHUNK_LINE || (*task).piece == 0 {
            return WINDOW;
        }
        let mut words = [0u64; 2];
        let have = (*task).piece_len;
        let len = if have < 16 { have } else { 16 };
        let to = words.as_mut_ptr().cast::<u8>();
        if !read_user_bytes(to, bounded(len, 0x1f) as u32, (*task).piece) {
            return FRAMING_LOST;
        }
        let (taken, complete) = (*stream).short_line(words[0], words[1], len);
        if taken == 0 {
            return WINDOW;
        }
        (*stream).last = (*task).last;
        consume(task, taken);
        if complete { END } else { NOTHING }
    }
}

/// Announces the connection of a call, and its process, then goes on.
#[inline(always)]
pub fn announce<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values.
    unsafe {
        let conn = CONNS.get_ptr_mut((*task).sk)?;
        let announced = emit::announce(conn, (*task).sk, (*task).tgid, (*task).tid);
        (*task).refused = !announced as u8;
        if !announced && can(config_flags::DEBUG) {
            debug!(
                ctx,
                "process {} connection {}: the ring is full, not announced",
                (*task).tgid,
                (*conn).id
            );
        }
        if (*task).stage == FRAMES as u8 {
            STAGES.tail_call(ctx, FRAMES);
        } else {
            STAGES.tail_call(ctx, ADVANCE);
        }
    }
    None
}

/// The call is accounted.
#[inline(always)]
unsafe fn done(task: *mut Task, conn: *mut Conn) -> Option<()> {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        if (*conn).role == role::CLIENT && (*task).direction == SEND {
            (*conn).sending = 0;
        }
    }
    None
}
