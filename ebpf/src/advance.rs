//! Moves one direction of a connection on by the bytes of one system call.
//!
//! The call's buffers are walked piece by piece; each step looks at one window of
//! lines or passes over body bytes. What one run of the program does not finish, the
//! next one does (tail call), up to the kernel's limit of 33.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use remora_common::counters::Counter;
use remora_common::http1::{Event, Settled, WINDOW_MAX, class, likeness, phase};
use remora_common::record::{close_reason, message_flags};

use crate::kernel::{read_user, read_user_bytes};
use crate::maps::{ADVANCE, ANNOUNCE, CONNS, GIVE_UP, STAGES, TASKS, count};
use crate::state::{Conn, SEND, Task};
use crate::{conn, emit};
use remora_common::record::role;

/// Steps in one run of the program.
const STEPS: u32 = 12;

/// What a step leads to.
const NOTHING: u32 = 0;
const PART: u32 = 1;
const END: u32 = 2;
const SWITCHED: u32 = 3;
const FRAMING_LOST: u32 = 4;

/// `struct iovec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IoVec {
    pub base: u64,
    pub len: u64,
}

/// `struct user_msghdr`, up to the number of buffers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MsgHdr {
    name: u64,
    name_len: u64,
    pub iov: u64,
    pub iov_len: u64,
}

/// Bytes from one `struct mmsghdr` to the next, and where its length is.
const BATCH_STRIDE: u64 = 64;
const BATCH_LEN: u64 = 56;

#[inline(always)]
pub fn advance<C: EbpfContext>(ctx: &C) -> Option<()> {
    let ids = bpf_get_current_pid_tgid();
    let task = TASKS.get_ptr_mut(ids as u32)?;
    // SAFETY: valid map values, for the whole function.
    unsafe {
        let sk = (*task).sk;
        let conn = CONNS.get_ptr_mut(sk)?;
        let request = ((*conn).role == role::SERVER) != ((*task).direction == SEND);
        let mut step = 0;
        while step < STEPS {
            step += 1;
            let mut action = (*task).pending as u32;
            if action != NOTHING {
                (*task).pending = 0;
            } else if (*task).left == 0 {
                if (*task).staged == 0 {
                    if (*task).batch_left == 0 || !next_batch(task) {
                        return done(task, conn, request);
                    }
                    continue;
                }
                action = PART;
            } else if (*task).piece_len == 0 {
                if next_piece(task) {
                    continue;
                }
                action = FRAMING_LOST;
            } else {
                let stream = if request {
                    &mut (*conn).request
                } else {
                    &mut (*conn).response
                };
                if !stream.reads_lines() {
                    let (taken, complete) = stream.skip((*task).piece_len);
                    stream.last = (*task).last;
                    consume(task, taken);
                    if !complete {
                        continue;
                    }
                    action = END;
                } else if (*task).staged != 0 {
                    action = PART;
                } else {
                    action = lines(task, conn, request);
                    if action == NOTHING {
                        continue;
                    }
                }
            }
            if action == FRAMING_LOST {
                STAGES.tail_call(ctx, GIVE_UP);
                return None;
            }
            let unknown = (*conn).announced == 0 || (*conn).tgid != (*task).tgid;
            if unknown && (*task).refused == 0 && (request || (*conn).response.orphan == 0) {
                (*task).pending = action as u8;
                STAGES.tail_call(ctx, ANNOUNCE);
            }
            report(task, conn, request, action);
            (*task).staged = 0;
            if action == SWITCHED {
                (*task).pending = SWITCHED as u8;
                STAGES.tail_call(ctx, GIVE_UP);
                return None;
            }
        }
        STAGES.tail_call(ctx, ADVANCE);
        // More steps than the kernel lets a program take (33 tail calls).
        STAGES.tail_call(ctx, GIVE_UP);
    }
    None
}

/// Announces the connection of a call, and its process, then goes on.
#[inline(always)]
pub fn announce<C: EbpfContext>(ctx: &C) -> Option<()> {
    let ids = bpf_get_current_pid_tgid();
    let task = TASKS.get_ptr_mut(ids as u32)?;
    // SAFETY: valid map values.
    unsafe {
        let conn = CONNS.get_ptr_mut((*task).sk)?;
        let announced = emit::announce(conn, (*task).sk, (*task).tgid, (*task).tid);
        (*task).refused = !announced as u8;
        STAGES.tail_call(ctx, ADVANCE);
    }
    None
}

/// Stops following the connection of a call: it switched to another protocol, or its
/// framing was lost.
#[inline(always)]
pub fn give_up() -> Option<()> {
    let ids = bpf_get_current_pid_tgid();
    let task = TASKS.get_ptr_mut(ids as u32)?;
    // SAFETY: valid map values.
    unsafe {
        let sk = (*task).sk;
        let conn = CONNS.get_ptr_mut(sk)?;
        let switched = (*task).pending as u32 == SWITCHED;
        (*task).pending = 0;
        let ino = (*conn).ino;
        let reason = if switched {
            close_reason::SWITCHED
        } else {
            close_reason::FRAMING_LOST
        };
        if !switched {
            count(Counter::FramingLost);
        }
        conn::close(conn, sk, reason, 0, false);
        conn::other(sk, ino, switched);
    }
    None
}

/// The call is accounted.
#[inline(always)]
unsafe fn done(task: *mut Task, conn: *mut Conn, request: bool) -> Option<()> {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        if request && (*task).direction == SEND {
            (*conn).sending = 0;
        }
    }
    None
}

/// Passes over `n` bytes of the current piece.
#[inline(always)]
unsafe fn consume(task: *mut Task, n: u64) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).piece != 0 {
            (*task).piece += n;
        }
        (*task).piece_len = (*task).piece_len.wrapping_sub(n);
        (*task).left = (*task).left.wrapping_sub(n);
    }
}

/// Takes up the next buffer of the call.
#[inline(always)]
unsafe fn next_piece(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).iov_left == 0 {
            return false;
        }
        let Some(iov) = read_user::<IoVec>((*task).iov) else {
            return false;
        };
        (*task).iov += size_of::<IoVec>() as u64;
        (*task).iov_left -= 1;
        (*task).piece = iov.base;
        let left = (*task).left;
        (*task).piece_len = if iov.len < left { iov.len } else { left };
        true
    }
}

/// Takes up the next message of a `recvmmsg` or `sendmmsg`.
#[inline(always)]
unsafe fn next_batch(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        let at = (*task).batch;
        let Some(header) = read_user::<MsgHdr>(at) else {
            return false;
        };
        let Some(len) = read_user::<u32>(at + BATCH_LEN) else {
            return false;
        };
        (*task).batch = at + BATCH_STRIDE;
        (*task).batch_left -= 1;
        (*task).iov = header.iov;
        (*task).iov_left = header.iov_len as u32;
        (*task).piece_len = 0;
        (*task).left = len as u64;
        true
    }
}

/// Looks at one window of lines.
#[inline(always)]
unsafe fn lines(task: *mut Task, conn: *mut Conn, request: bool) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let stream = if request {
            &mut (*conn).request
        } else {
            &mut (*conn).response
        };
        let window = (&raw mut (*task).window).cast::<u8>();
        if (*task).piece == 0 {
            return FRAMING_LOST;
        }
        let was = stream.phase;
        let carried = stream.restore_carry(window);
        if carried > 64 {
            return FRAMING_LOST;
        }
        let room = WINDOW_MAX - carried;
        let have = (*task).piece_len;
        let new = if have < room as u64 {
            have as usize
        } else {
            room
        };
        let new = new & 0x3ff;
        if !read_user_bytes(window.add(carried), new as u32, (*task).piece) {
            return FRAMING_LOST;
        }
        if stream.first == 0 {
            stream.first = (*task).first;
        }
        stream.last = (*task).last;
        // The carried bytes of a message that has not begun were not sent yet.
        let skip = if stream.started == 0 { 0 } else { carried };
        let head = was <= phase::HEAD;
        let low = (window as *const u64).read_unaligned();
        let judged = stream.started == 0 && stream.long_line == 0;
        let event = stream.lines(window, carried + new);
        let consumed = stream.at as usize;
        consume(task, consumed.wrapping_sub(carried) as u64 & 0x3ff);
        if event == Event::Bad {
            return FRAMING_LOST;
        }
        let interim = !request && stream.status < 200 && stream.status != 101;
        if head && judged && (stream.phase != phase::START || stream.long_line != 0) && !interim {
            begin(conn, request, low);
        }
        let stream = if request {
            &mut (*conn).request
        } else {
            &mut (*conn).response
        };
        if head && stream.started != 0 && stream.orphan == 0 {
            (*task).staged = consumed as u32;
            (*task).staged_skip = skip as u32;
        }
        if event == Event::TrailersEnd {
            return END;
        }
        if event != Event::HeadEnd {
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
        }
    }
}

/// The message is known to be one: its start line is complete, or too long to doubt.
#[inline(always)]
unsafe fn begin(conn: *mut Conn, request: bool, low: u64) {
    // SAFETY: a valid map value, promised by the caller, for the whole function.
    unsafe {
        if request {
            (*conn).request.started = 1;
            count(Counter::Started);
            classify(conn, low);
            if (*conn).response.orphan != 0 {
                // Its request was not seen, so neither was whether a body belongs to it.
                // It is over now that the next request begins.
                (*conn).response.reset_head();
            }
        } else {
            let index = (*conn).response.index;
            (*conn).response.started = 1;
            if index >= (*conn).begun() && index >= (*conn).sending {
                (*conn).response.orphan = 1;
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

/// Sends what `action` says and keeps the ledger.
#[inline(always)]
unsafe fn report(task: *mut Task, conn: *mut Conn, request: bool, action: u32) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let stream = if request {
            &raw mut (*conn).request
        } else {
            &raw mut (*conn).response
        };
        let mut end = 0;
        if action != PART {
            end = message_flags::END;
            if action == SWITCHED {
                end |= message_flags::SWITCHED;
            }
        }
        if (*stream).phase == phase::UNTIL_CLOSE {
            end |= message_flags::UNTIL_CLOSE;
        }
        let index = (*stream).index;
        let bit = 1u64 << (index & 63);
        let mut lost = (*stream).lost != 0;
        // The request's loss is the exchange's: its response need not be sent.
        let finishes = !request && action != PART && (*stream).orphan == 0;
        if !request && (*conn).lost & bit != 0 {
            lost = true;
        }
        let refused = (*task).refused != 0;
        if (*stream).orphan == 0 && !lost && (refused || !emit::message(task, conn, request, end)) {
            lost = true;
            (*stream).lost = 1;
            if request {
                if (*conn).response.index > index {
                    // Answered before: nobody else will count it.
                    count(Counter::RingFull);
                } else {
                    (*conn).lost |= bit;
                }
            }
        }
        if finishes {
            count(Counter::Finished);
            if lost {
                count(Counter::RingFull);
                (*conn).lost &= !bit;
            }
        }
        if action != PART {
            if request || (*stream).orphan == 0 {
                (*stream).index = index + 1;
            }
            (*stream).reset_head();
        }
    }
}
