//! Looks at lines: start lines, heads, chunk sizes that are not plain.

use remora_common::counters::Counter;
use remora_common::http1::{CARRY, Event, Settled, Stream, WINDOW_MAX, class, likeness, phase};

use crate::advance::{END, FRAMING_LOST, NOTHING, SWITCHED};
use crate::kernel::{bounded, read_user_bytes};
use crate::maps::count;
use crate::pieces::{consume, pass_rest};
use crate::state::{Conn, Task};

/// Bits of `Task::look_flags`: the window begins within a head.
const IN_HEAD: u32 = 1;
/// The message was not known to be one before this window.
const UNKNOWN: u32 = 2;

/// Loads the next window of the current piece, behind the bytes carried over.
///
/// What is needed after the window was scanned goes to memory, not to registers: the
/// verifier walks through the scan once for every combination of constants that live
/// across it.
#[inline(always)]
pub unsafe fn load_window(task: *mut Task, stream: *mut Stream) -> bool {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let window = (&raw mut (*task).window).cast::<u8>();
        if (*task).piece == 0 {
            return false;
        }
        let carried = bounded((*stream).restore_carry(window) as u64, 0x7f) as usize;
        if carried > CARRY {
            return false;
        }
        let room = WINDOW_MAX - carried;
        let have = (*task).piece_len;
        let new = if have < room as u64 {
            have
        } else {
            room as u64
        };
        let new = bounded(new, 0x3ff) as usize;
        if !read_user_bytes(window.add(carried), new as u32, (*task).piece) {
            return false;
        }
        if (*stream).first == 0 {
            (*stream).first = (*task).first;
        }
        (*stream).last = (*task).last;
        let mut flags = 0;
        if (*stream).phase <= phase::HEAD {
            flags |= IN_HEAD;
        }
        if (*stream).started == 0 && (*stream).long_line == 0 {
            flags |= UNKNOWN;
        }
        (&raw mut (*task).look_flags).write_volatile(flags);
        (&raw mut (*task).look_carried).write_volatile(carried as u32);
        // The carried bytes of a message that has not begun were not sent yet.
        let skip = if (*stream).started == 0 {
            0
        } else {
            carried as u32
        };
        (&raw mut (*task).staged_skip).write_volatile(skip);
        (&raw mut (*task).look_len).write_volatile((carried + new) as u32);
        (&raw mut (*task).look_first).write_volatile(window.cast::<u64>().read());
        true
    }
}

/// Looks at one window of lines.
#[inline(always)]
pub unsafe fn lines(task: *mut Task, conn: *mut Conn, stream: *mut Stream) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        if (*stream).astray != 0 && (*conn).response.index < (*conn).request.index {
            // Nobody knows where the body ends that comes in.
            pass_rest(task);
            return NOTHING;
        }
        if !load_window(task, stream) {
            return FRAMING_LOST;
        }
        let window = (&raw const (*task).window).cast::<u8>();
        let len = (&raw const (*task).look_len).read_volatile() as usize;
        if len > WINDOW_MAX {
            return FRAMING_LOST;
        }
        let event = (*stream).lines(window, len);
        (&raw mut (*task).look_event).write_volatile(event as u32);
        let event = (&raw const (*task).look_event).read_volatile();
        if event == Event::Bad as u32 {
            if (*stream).phase != phase::CHUNK_LINE {
                return FRAMING_LOST;
            }
            let _ = (*stream).lose_body();
            pass_rest(task);
            return END;
        }
        if event == Event::Stray as u32 {
            return stray(task, conn, stream);
        }
        let flags = (&raw const (*task).look_flags).read_volatile();
        let carried = (&raw const (*task).look_carried).read_volatile();
        let consumed = (&raw const (*stream).at).read_volatile();
        consume(task, consumed.wrapping_sub(carried) as u64 & 0x3ff);
        let stream = &mut *stream;
        let request = stream.response == 0;
        let interim = !request && stream.status < 200 && stream.status != 101;
        let known = stream.phase != phase::START || stream.long_line != 0;
        if flags == IN_HEAD | UNKNOWN && known && !interim {
            begin(
                conn,
                stream,
                (&raw const (*task).look_first).read_volatile(),
            );
        }
        if request && stream.candidate != 0 && stream.phase != phase::START {
            believe(conn);
        }
        if flags & IN_HEAD != 0 && stream.started != 0 && stream.orphan == 0 {
            (*task).staged = consumed;
        }
        if event == Event::TrailersEnd as u32 {
            return END;
        }
        if event != Event::HeadEnd as u32 {
            return NOTHING;
        }
        let bit = 1u64 << (stream.index & 63);
        let class = if request {
            class::PLAIN
        } else if (*conn).head_requests & bit != 0 {
            class::HEAD
        } else if (*conn).connect_requests & bit != 0 {
            class::CONNECT
        } else {
            class::PLAIN
        };
        match stream.settle(class) {
            Settled::Body => NOTHING,
            Settled::Complete => END,
            Settled::Switched => SWITCHED,
            Settled::Interim => {
                stream.reset_head();
                NOTHING
            }
            Settled::Unframed => {
                pass_rest(task);
                END
            }
        }
    }
}

/// No message begins at the window that was looked at.
#[inline(always)]
unsafe fn stray(task: *mut Task, conn: *mut Conn, stream: *mut Stream) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let carried = (&raw const (*task).look_carried).read_volatile() as u64;
        let answered = (*conn).response.index;
        let in_flight = (*conn).begun() > answered || (*conn).sending > answered;
        let response = (*stream).response != 0;
        if (*conn).is_guess() || (response && in_flight && (*stream).surplus <= carried) {
            return FRAMING_LOST;
        }
        let taken = (*stream).stray(carried, (*task).piece_len);
        if taken == 0 {
            pass_rest(task);
        } else {
            consume(task, taken);
        }
        NOTHING
    }
}

/// The message under way is a request: its first line is complete, or its answer has come.
#[inline(always)]
unsafe fn believe(conn: *mut Conn) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        (*conn).request.candidate = 0;
        count(Counter::Started);
    }
}

/// The message is known to be one: its start line is complete, or as far as can be seen yet.
#[inline(always)]
unsafe fn begin(conn: *mut Conn, stream: *mut Stream, low: u64) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        (*stream).started = 1;
        if (*stream).response == 0 {
            (*stream).candidate = 1;
            classify(conn, low);
        } else {
            let index = (*stream).index;
            if (*conn).request.candidate != 0 && (*conn).request.index == index {
                believe(conn);
            }
            if index >= (*conn).begun() && index >= (*conn).sending {
                (*stream).orphan = 1;
                count(Counter::Orphans);
            }
        }
    }
}

/// Notes the class of the request that begins with `low`.
#[inline(always)]
pub unsafe fn classify(conn: *mut Conn, low: u64) {
    // SAFETY: a valid map value, promised by the caller, for the whole function.
    unsafe {
        let bit = 1u64 << ((*conn).request.index & 63);
        let class = likeness::class_of(low);
        (*conn).head_requests &= !bit;
        (*conn).connect_requests &= !bit;
        if class == class::HEAD {
            (*conn).head_requests |= bit;
        } else if class == class::CONNECT {
            (*conn).connect_requests |= bit;
        }
    }
}
