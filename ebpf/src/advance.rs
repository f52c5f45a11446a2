//! Moves one direction of a connection on by the bytes of one system call.
//!
//! The call's buffers are walked piece by piece; each step looks at one window of
//! lines or passes over body bytes. What one run of the program does not finish, the
//! next one does (tail call), up to the kernel's limit of 33.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use remora_common::config::config_flags;
use remora_common::counters::Counter;
use remora_common::http1::{CARRY, Event, Settled, Stream, WINDOW_MAX, class, likeness, phase};
use remora_common::http2::{PREFACE, PREFACE_START};
use remora_common::record::{close_reason, message_flags};

use crate::kernel::{Caller, bounded, can, read_user, read_user_bytes};
use crate::maps::{ADVANCE, ANNOUNCE, CONNS, FRAMES, GIVE_UP, STAGES, count};
use crate::state::{Conn, HTTP1, SEND, Task};
use crate::{conn, emit, frames, maps, serving};
use remora_common::record::role;

/// Windows looked at in one run of the program, and smaller steps after each. The
/// verifier walks through every one of them.
const WINDOWS: u32 = 1;
const STEPS: u32 = 48;

/// What a step leads to.
const NOTHING: u32 = 0;
const PART: u32 = 1;
const END: u32 = 2;
pub const SWITCHED: u32 = 3;
pub const FRAMING_LOST: u32 = 4;
/// Lines are to be looked at.
const WINDOW: u32 = 5;
/// The call is accounted.
const DONE: u32 = 6;

/// Runs of the program for one call.
const RUNS: u32 = 29;

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
pub const BATCH_LEN: u64 = 56;

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
            STAGES.tail_call(ctx, ADVANCE);
        }
        (*task).pending = FRAMING_LOST as u8;
        STAGES.tail_call(ctx, GIVE_UP);
    }
    None
}

/// The direction of the connection that the call moves on. The offset takes a detour
/// through memory, so that the verifier sees one pointer with a range and not two
/// pointers, each to be followed through all of the program.
#[inline(always)]
unsafe fn stream_of(task: *mut Task, conn: *mut Conn, request: bool) -> Option<*mut Stream> {
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

/// Stops following the connection of a call as what it was: it switched to another
/// protocol, which may be HTTP/2, or its framing was lost.
#[inline(always)]
pub fn give_up<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values.
    unsafe {
        let sk = (*task).sk;
        let conn = CONNS.get_ptr_mut(sk)?;
        let switched = (*task).pending as u32 == SWITCHED;
        (*task).pending = NOTHING as u8;
        (*task).staged = 0;
        if (*conn).protocol == HTTP1 {
            let mut goes_on = false;
            if switched && (*task).upgraded != 0 {
                // What comes next tells whether it is HTTP/2.
                frames::upgrade(conn);
                if (*task).left == 0 {
                    return None;
                }
                goes_on = true;
            }
            let request = &raw const (*conn).request;
            if !switched
                && (*request).index == 0
                && (*request).started == 0
                && (*task).look_first == PREFACE_START
            {
                // HTTP/2's preface, which is made to look like a request, in pieces: the
                // bytes of earlier calls are gone, those of this one are still to come.
                frames::preface(conn, PREFACE - (*task).look_carried as u8);
                goes_on = true;
            }
            if goes_on {
                (*task).stage = FRAMES as u8;
                STAGES.tail_call(ctx, FRAMES);
                return None;
            }
        }
        let ino = (*conn).ino;
        let reason = if switched {
            close_reason::SWITCHED
        } else {
            close_reason::FRAMING_LOST
        };
        if !switched {
            count(Counter::FramingLost);
            if can(config_flags::DEBUG) {
                let phase = if (*conn).protocol == HTTP1 {
                    [(*conn).request.phase, (*conn).response.phase]
                } else {
                    [(*conn).frames[0].kind, (*conn).frames[1].kind]
                };
                debug!(
                    ctx,
                    "process {} connection {}: framing lost on HTTP/{}, direction {}, within {} and {}, {} bytes of the call left",
                    (*task).tgid,
                    (*conn).id,
                    if (*conn).protocol == HTTP1 { 1u8 } else { 2 },
                    (*task).direction,
                    phase[0],
                    phase[1],
                    (*task).left
                );
            }
        }
        conn::close(conn, sk, reason, 0, false);
        conn::other(sk, ino, switched);
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

/// Passes over `n` bytes of the current piece.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn consume(task: *mut Task, n: u64) {
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
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn next_piece(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).iov_left == 0 {
            return false;
        }
        // To the map, not to the stack: a call without several buffers would leave the stack
        // as it is, and the verifier would follow both through all that comes.
        let to = (&raw mut (*task).piece).cast::<u8>();
        if !read_user_bytes(to, size_of::<IoVec>() as u32, (*task).iov) {
            return false;
        }
        (*task).iov += size_of::<IoVec>() as u64;
        (*task).iov_left -= 1;
        let left = (*task).left;
        if (*task).piece_len > left {
            (*task).piece_len = left;
        }
        true
    }
}

/// Takes up the next message of a `recvmmsg` or `sendmmsg`.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn next_batch(task: *mut Task) -> bool {
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
unsafe fn load_window(task: *mut Task, stream: *mut Stream) -> bool {
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
unsafe fn lines(task: *mut Task, conn: *mut Conn, stream: *mut Stream) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
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
            return FRAMING_LOST;
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
        }
    }
}

/// The message is known to be one: its start line is complete, or too long to doubt.
#[inline(always)]
unsafe fn begin(conn: *mut Conn, stream: *mut Stream, low: u64) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        (*stream).started = 1;
        if (*stream).response == 0 {
            count(Counter::Started);
            classify(conn, low);
        } else {
            let index = (*stream).index;
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

/// Sends what `action` says and keeps the ledger.
#[inline(always)]
unsafe fn report(task: *mut Task, conn: *mut Conn, stream: *mut Stream, action: u32) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let request = (*stream).response == 0;
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
        if request && (*conn).response.orphan != 0 {
            // Its request was not seen, so neither was whether a body belongs to it. It is
            // over now that the next request begins. (Not where the beginning is found:
            // the verifier would follow it through all that comes between.)
            (*conn).response.reset_head();
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
        if (*stream).orphan == 0 && !lost && (refused || !emit::message(task, conn, stream, end)) {
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
        if action != PART && (*conn).role == role::SERVER {
            if request {
                serving::begins(conn, (*task).tid, index);
            } else {
                serving::ends(conn);
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
