//! Follows the frames of an HTTP/2 connection in one direction, by the bytes of one
//! system call.
//!
//! Header blocks and what ends streams are copied behind each other and sent as one record
//! a call; DATA is passed over, only its sizes and the prefixes of length-prefixed messages
//! (gRPC) are looked at. Userspace makes streams of it.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_ANY;
use remora_common::counters::Counter;
use remora_common::http2::{Direction, FrameHead, HEAD, PREFACE, PREFACE_START, flag, kind};
use remora_common::record::{Frame, frame_part, role, side};

use crate::advance::{FRAMING_LOST as LOST, SWITCHED};
use crate::kernel::{Caller, bounded, read_user, read_user_bytes};
use crate::maps::{ANNOUNCE, CONNS, FRAMES, GIVE_UP, MESSAGES, PREAMBLE, STAGES, config, count_by};
use crate::pieces::{consume, next_batch, next_piece};
use crate::state::{Conn, HTTP2, MessageKey, MessageState, PROXIED, SEND, Task, UPGRADED};
use crate::{emit, maps};

/// Frames looked at in one run, or parts of them.
const STEPS: u32 = 112;
/// Runs for one call; the kernel allows 33 continuations, some of which announce.
const RUNS: u32 = 29;
/// From this run on messages are not counted, so that the call can be finished.
const HURRY: u32 = 20;

/// Payload bytes in one entry, a multiple of eight.
const PIECE: u64 = 496;
/// An entry may begin up to here; with its payload it ends before 1 KiB then.
const LAST_ENTRY: u32 = 511;
/// Payload bytes kept of GOAWAY: its last stream and error code. What follows is text.
const GOAWAY_BYTES: u32 = 8;

const PREFIX: u32 = 5;

/// What a step leads to.
const NOTHING: u32 = 0;
/// The entries are to be sent first.
const FLUSH: u32 = 1;
/// The call is accounted.
const DONE: u32 = 2;

#[inline(always)]
pub fn frames<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values, for the whole function.
    unsafe {
        let conn = CONNS.get_ptr_mut((*task).sk)?;
        if (*conn).protocol == PROXIED {
            STAGES.tail_call(ctx, PREAMBLE);
            return None;
        }
        let request = ((*conn).role == role::SERVER) != ((*task).direction == SEND);
        let direction = direction_of(task, conn, request)?;
        if (*conn).protocol == UPGRADED {
            if !begins(task, request) {
                (*task).pending = SWITCHED as u8;
                STAGES.tail_call(ctx, GIVE_UP);
                return None;
            }
            (*conn).protocol = HTTP2;
        }
        if (*direction).unsynced != 0 {
            if !at_frame(task) {
                return None;
            }
            (*direction).unsynced = 0;
        }
        let mut step = 0;
        while step < STEPS {
            step += 1;
            if (&raw const (*task).pending).read_volatile() != NOTHING as u8 {
                break;
            }
            let action = frame_step(task, conn, direction, request);
            if action == FLUSH && (*conn).announced != 0 && (*conn).tgid == (*task).tgid {
                flush(task, conn, direction, request);
                continue;
            }
            (&raw mut (*task).pending).write_volatile(action as u8);
        }
        let action = (&raw const (*task).pending).read_volatile() as u32;
        if action != NOTHING && (*task).staged != 0 {
            let unknown = (*conn).announced == 0 || (*conn).tgid != (*task).tgid;
            if unknown && (*task).refused == 0 {
                STAGES.tail_call(ctx, ANNOUNCE);
                return None;
            }
            flush(task, conn, direction, request);
        }
        if action == DONE {
            return None;
        }
        // After what came before it in the call was sent.
        if action == LOST {
            STAGES.tail_call(ctx, GIVE_UP);
            return None;
        }
        (*task).pending = NOTHING as u8;
        (*task).runs += 1;
        if (*task).runs >= HURRY {
            (*direction).uncounted = 1;
        }
        if (*task).runs < RUNS {
            STAGES.tail_call(ctx, FRAMES);
        }
        (*task).pending = LOST as u8;
        STAGES.tail_call(ctx, GIVE_UP);
    }
    None
}

/// The direction that the call moves on; by way of memory, as in [`advance`].
#[inline(always)]
unsafe fn direction_of(task: *mut Task, conn: *mut Conn, request: bool) -> Option<*mut Direction> {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        let at = if request {
            0
        } else {
            size_of::<Direction>() as u32
        };
        (&raw mut (*task).stream_at).write_volatile(at);
        let at = (&raw const (*task).stream_at).read_volatile();
        if at > size_of::<Direction>() as u32 {
            return None;
        }
        let first = (&raw mut (*conn).frames).cast::<u8>();
        Some(first.add(at as usize).cast::<Direction>())
    }
}

/// Takes up the first buffer of the call that has bytes, of the first two.
#[inline(always)]
unsafe fn first_piece(task: *mut Task) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).piece_len == 0 && !next_piece(task) {
            return;
        }
        if (*task).piece_len == 0 {
            next_piece(task);
        }
    }
}

/// The header of the frame that the call begins with, if there is one.
#[inline(always)]
unsafe fn peek_head(task: *mut Task) -> Option<FrameHead> {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        first_piece(task);
        if (*task).piece == 0 || (*task).piece_len < HEAD as u64 {
            return None;
        }
        let low: u64 = read_user((*task).piece)?;
        let ninth: u8 = read_user((*task).piece + 8)?;
        Some(FrameHead::of(low, ninth))
    }
}

/// Whether a call after a 101 response goes on as HTTP/2: with the client's preface, or the
/// server's, which is a SETTINGS frame.
#[inline(always)]
unsafe fn begins(task: *mut Task, request: bool) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        let Some(head) = peek_head(task) else {
            return false;
        };
        if request {
            return read_user::<u64>((*task).piece) == Some(PREFACE_START);
        }
        head.kind == kind::SETTINGS && head.flags == 0 && head.is_likely()
    }
}

/// Whether a call of a connection that was joined begins with a frame.
#[inline(always)]
unsafe fn at_frame(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe { peek_head(task).is_some_and(FrameHead::is_likely) }
}

/// Moves on by one frame, or the part of one that lies in the current buffer.
#[inline(always)]
unsafe fn frame_step(
    task: *mut Task,
    conn: *mut Conn,
    direction: *mut Direction,
    request: bool,
) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let within = (*direction).head_len == HEAD as u8;
        if !within || (*direction).remaining != 0 {
            if (*task).left == 0 {
                return if (*task).batch_left != 0 && next_batch(task) {
                    NOTHING
                } else {
                    DONE
                };
            }
            if (*task).piece_len == 0 {
                return if next_piece(task) { NOTHING } else { LOST };
            }
            // Unseen bytes (sendfile) are the content of DATA frames, or cannot be followed.
            let seen_enough =
                within && (*direction).kind == kind::DATA && (*direction).padding_known != 0;
            if (*task).piece == 0 && !seen_enough {
                return LOST;
            }
        }
        if !within {
            if (*direction).preface != 0 {
                let n = least((*task).piece_len, (*direction).preface as u64);
                (*direction).preface = (*direction).preface.wrapping_sub(n as u8);
                consume(task, n);
                return NOTHING;
            }
            if !head(task, direction) {
                return LOST;
            }
            if (*direction).head_len != HEAD as u8 {
                return NOTHING;
            }
            if !begin(conn, direction, request) {
                return LOST;
            }
            if (*task).piece_len == 0 && (*direction).remaining != 0 {
                // The payload is in the next buffer, or call.
                return NOTHING;
            }
        }
        match (*direction).kind {
            kind::DATA => data(task, conn, direction, request),
            kind::HEADERS
            | kind::RST_STREAM
            | kind::PUSH_PROMISE
            | kind::GOAWAY
            | kind::CONTINUATION => copy(task, direction),
            _ => {
                let n = least((*task).piece_len, (*direction).remaining as u64);
                pass(task, direction, n);
                if (*direction).remaining == 0 {
                    (*direction).head_len = 0;
                }
                NOTHING
            }
        }
    }
}

#[inline(always)]
fn least(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// Passes over `n` bytes of payload.
#[inline(always)]
unsafe fn pass(task: *mut Task, direction: *mut Direction, n: u64) {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        consume(task, n);
        (*direction).remaining = (*direction).remaining.wrapping_sub(n as u32);
    }
}

/// Reads what there is of a frame header. `false` if memory cannot be read.
#[inline(always)]
unsafe fn head(task: *mut Task, direction: *mut Direction) -> bool {
    // SAFETY: valid map values, promised by the caller; the buffer for the header and the
    // fields behind it have room for 15 bytes at any of its first eight positions.
    unsafe {
        let have = bounded((*direction).head_len as u64, 0xf) as usize;
        let need = HEAD as u64 - have as u64;
        let n = bounded(least(need, (*task).piece_len), 0xf);
        if have >= HEAD {
            return false;
        }
        let to = (&raw mut (*direction).head).cast::<u8>().add(have);
        if !read_user_bytes(to, n as u32, (*task).piece) {
            return false;
        }
        (*direction).head_len = (have as u64 + n) as u8;
        consume(task, n);
        true
    }
}

/// A frame header is complete. `false` if it is none.
#[inline(always)]
unsafe fn begin(conn: *mut Conn, direction: *mut Direction, request: bool) -> bool {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let low = (&raw const (*direction).head).cast::<u64>().read();
        let head = FrameHead::of(low, (*direction).head[8]);
        if !head.is_valid() {
            return false;
        }
        (*direction).len = head.len;
        (*direction).remaining = head.len;
        (*direction).kind = head.kind;
        (*direction).flags = head.flags;
        (*direction).stream = head.stream;
        (*direction).begun = 0;
        (*direction).opens = 0;
        if head.kind == kind::HEADERS || head.kind == kind::PUSH_PROMISE {
            (*direction).captured = 0;
            if request && head.kind == kind::HEADERS && head.stream > (*direction).highest {
                (*direction).highest = head.stream;
                (*direction).opens = 1;
            }
        }
        if head.kind == kind::DATA {
            (*direction).padding = 0;
            (*direction).padding_known = (head.flags & flag::PADDED == 0) as u8;
            (*direction).messages = 0;
            (*direction).message_left = 0;
            (*direction).prefix_len = 0;
            (*direction).uncounted = 0;
            if (*direction).set_aside != 0
                && let Some(state) = MESSAGES.get_ptr_mut(&key(conn, direction, request))
            {
                (*direction).message_left = (*state).left;
                (*direction).prefix_len = (*state).prefix_len;
                (*direction).uncounted = (*state).uncounted;
                (*direction).prefix = (*state).prefix;
            }
        }
        true
    }
}

#[inline(always)]
unsafe fn key(conn: *mut Conn, direction: *mut Direction, request: bool) -> MessageKey {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        MessageKey {
            conn: (*conn).id,
            stream: (*direction).stream,
            side: !request as u32,
        }
    }
}

/// Writes an entry for `len` bytes of payload. Its payload is to be behind it.
#[inline(always)]
unsafe fn entry(task: *mut Task, direction: *mut Direction, len: u32, captured: u32, part: u8) {
    // SAFETY: valid map values, promised by the caller; `at` is within the window.
    unsafe {
        let at = bounded((*task).staged as u64, LAST_ENTRY as u64) as usize;
        let mut part = part;
        if (*direction).begun == 0 {
            part |= frame_part::FIRST;
            if (*direction).opens != 0 {
                part |= frame_part::OPENS;
                (*task).opens = (*task).opens.wrapping_add(1);
            }
        }
        if (*direction).remaining == 0 {
            part |= frame_part::LAST;
        }
        (*direction).begun = 1;
        let to = (&raw mut (*task).window)
            .cast::<u8>()
            .add(at)
            .cast::<Frame>();
        (*to).stream = (*direction).stream;
        (*to).len = len;
        (*to).kind = (*direction).kind;
        (*to).flags = (*direction).flags;
        (*to).part = part;
        (*to).padding = (*direction).padding;
        (*to).captured = captured as u16;
        (*to).messages = (*direction).messages as u16;
        (*task).staged = at as u32 + size_of::<Frame>() as u32 + ((captured + 7) & !7);
    }
}

/// Copies payload: header blocks up to the limit, error codes.
#[inline(always)]
unsafe fn copy(task: *mut Task, direction: *mut Direction) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        if (*task).staged > LAST_ENTRY {
            return FLUSH;
        }
        let block = (*direction).kind != kind::GOAWAY && (*direction).kind != kind::RST_STREAM;
        let limit = if block {
            config!(block_bytes)
        } else {
            GOAWAY_BYTES
        };
        let before = if block {
            (*direction).captured
        } else {
            (*direction).len - (*direction).remaining
        };
        let room = limit.saturating_sub(before) as u64;
        let mut len = least((*task).piece_len, (*direction).remaining as u64);
        if room != 0 && len > PIECE {
            len = PIECE;
        }
        let kept = bounded(least(len, room), 0x1ff);
        let at = bounded((*task).staged as u64, LAST_ENTRY as u64) as usize;
        let window = (&raw mut (*task).window).cast::<u8>();
        if kept != 0
            && !read_user_bytes(
                window.add(at + size_of::<Frame>()),
                kept as u32,
                (*task).piece,
            )
        {
            return LOST;
        }
        if block {
            (*direction).captured = before + kept as u32;
        }
        (*direction).messages = 0;
        (*direction).padding = 0;
        pass(task, direction, len);
        let cut = if kept < len { frame_part::CUT } else { 0 };
        entry(task, direction, len as u32, kept as u32, cut);
        if (*direction).remaining == 0 {
            (*direction).head_len = 0;
        }
        NOTHING
    }
}

/// Passes over DATA. Its entry is written when the frame ends.
#[inline(always)]
unsafe fn data(task: *mut Task, conn: *mut Conn, direction: *mut Direction, request: bool) -> u32 {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        if (*task).staged > LAST_ENTRY {
            return FLUSH;
        }
        let remaining = (*direction).remaining as u64;
        if remaining != 0 {
            if (*direction).padding_known == 0 {
                let Some(padding) = read_user::<u8>((*task).piece) else {
                    return LOST;
                };
                if padding as u64 >= remaining {
                    return LOST;
                }
                (*direction).padding = padding;
                (*direction).padding_known = 1;
                pass(task, direction, 1);
                if (*direction).remaining != 0 {
                    return NOTHING;
                }
            } else {
                if (*task).piece == 0 {
                    (*direction).uncounted = 1;
                }
                let content = remaining.saturating_sub((*direction).padding as u64);
                let there = least((*task).piece_len, remaining);
                let mut n = 0;
                if content != 0 && (*direction).uncounted == 0 && (*direction).message_left == 0 {
                    n = prefix(task, direction, least(content, there));
                    if n == 0 {
                        return LOST;
                    }
                }
                // In the same step, because most frames hold one message.
                let mut rest = there.wrapping_sub(n);
                if content != n && (*direction).uncounted == 0 {
                    rest = least(rest, content.wrapping_sub(n));
                    rest = least(rest, (*direction).message_left as u64);
                    (*direction).message_left = (*direction).message_left.wrapping_sub(rest as u32);
                }
                n = n.wrapping_add(rest);
                pass(task, direction, n);
            }
        }
        if (*direction).remaining != 0 {
            return NOTHING;
        }
        let part = if (*direction).uncounted != 0 {
            frame_part::UNCOUNTED
        } else {
            0
        };
        entry(task, direction, (*direction).len, 0, part);
        put_aside(conn, direction, request);
        (*direction).head_len = 0;
        NOTHING
    }
}

/// Reads what there is of a message's prefix (a flag and four bytes of length) in the next
/// `there` > 0 bytes, and returns how many they were; 0 if memory cannot be read.
#[inline(always)]
unsafe fn prefix(task: *mut Task, direction: *mut Direction, there: u64) -> u64 {
    // SAFETY: valid map values, promised by the caller. The prefix is the last field of a
    // direction: a direction or the end of the connection is behind it.
    unsafe {
        let have = (*direction).prefix_len as u64;
        if have >= PREFIX as u64 {
            return 0;
        }
        let need = PREFIX as u64 - have;
        let n = bounded(least(need, there), 7);
        if have == 0 && n == PREFIX as u64 {
            let to = (&raw mut (*direction).prefix).cast::<u8>();
            if !read_user_bytes(to, PREFIX, (*task).piece) {
                return 0;
            }
        } else {
            // Byte by byte, which is rare: a position and a length that are both unknown
            // would reach beyond the field for all the verifier can tell.
            let mut i = 0;
            while i < PREFIX as u64 {
                if i < n {
                    let Some(byte) = read_user::<u8>((*task).piece + i) else {
                        return 0;
                    };
                    let at = bounded(have + i, 7) as usize;
                    (&raw mut (*direction).prefix)
                        .cast::<u8>()
                        .add(at)
                        .write(byte);
                }
                i += 1;
            }
        }
        let seen = have + n;
        (*direction).prefix_len = seen as u8;
        if seen >= PREFIX as u64 {
            (*direction).prefix_len = 0;
            let word = (&raw const (*direction).prefix).cast::<u64>().read();
            if word & 0xff > 1 {
                // Not gRPC: no length is to be believed.
                (*direction).uncounted = 1;
            } else {
                (*direction).message_left = u32::from_be((word >> 8) as u32);
                if (*direction).messages < u16::MAX as u32 {
                    (*direction).messages += 1;
                }
            }
        }
        n
    }
}

/// Remembers where in a message the stream is, until its next DATA frame.
#[inline(always)]
unsafe fn put_aside(conn: *mut Conn, direction: *mut Direction, request: bool) {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        let open = (*direction).message_left != 0
            || (*direction).prefix_len != 0
            || (*direction).uncounted != 0;
        let goes_on = (*direction).flags & flag::END_STREAM == 0;
        if open && goes_on {
            let state = MessageState {
                left: (*direction).message_left,
                prefix_len: (*direction).prefix_len,
                uncounted: (*direction).uncounted,
                reserved: 0,
                prefix: (*direction).prefix,
            };
            let _ = MESSAGES.insert(&key(conn, direction, request), &state, BPF_ANY as u64);
            (*direction).set_aside = 1;
        } else if (*direction).set_aside != 0 {
            let _ = MESSAGES.remove(&key(conn, direction, request));
        }
    }
}

/// Sends the entries of the call so far.
#[inline(always)]
unsafe fn flush(task: *mut Task, conn: *mut Conn, direction: *mut Direction, request: bool) {
    // SAFETY: valid map values, promised by the caller.
    unsafe {
        let side = if request {
            side::REQUEST
        } else {
            side::RESPONSE
        };
        let sent = (*task).refused == 0 && emit::frames(task, conn, (*direction).sequence, side);
        (*direction).sequence = (*direction).sequence.wrapping_add(1);
        if !sent {
            let opens = (*task).opens as u64;
            count_by(Counter::Started, opens);
            count_by(Counter::Finished, opens);
            count_by(Counter::RingFull, opens);
        }
        (*task).staged = 0;
        (*task).opens = 0;
    }
}

/// A connection is found to speak HTTP/2: with `preface` bytes of the client's preface
/// still to come, and stream 1 taken if it changed from HTTP/1.
///
/// # Safety
/// `conn` is a valid map value.
#[inline(always)]
pub unsafe fn preface(conn: *mut Conn, preface: u8) {
    // SAFETY: promised by the caller.
    unsafe {
        (*conn).protocol = HTTP2;
        (*conn).frames[0].preface = preface;
    }
}

/// A connection changed by a 101 response: to HTTP/2 if what follows says so.
///
/// # Safety
/// `conn` is a valid map value.
#[inline(always)]
pub unsafe fn upgrade(conn: *mut Conn) {
    // SAFETY: promised by the caller.
    unsafe {
        (*conn).protocol = UPGRADED;
        (*conn).frames[0].preface = PREFACE;
        (*conn).frames[0].highest = 1;
    }
}

const _: () = assert!(LAST_ENTRY as usize + size_of::<Frame>() + PIECE as usize == 1023);
