//! The life of a connection: recognised by its first bytes, followed, closed.

use core::num::NonZeroU64;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use remora_common::counters::Counter;
use remora_common::http1::{likeness, phase};
use remora_common::http2::{
    BLOCK_START, FrameHead, HEAD, PREFACE, PREFACE_START, flag, kind, sender,
};
use remora_common::proxy;
use remora_common::record::{
    self, Header, Kind, RESPONSE_COMPLETE_AT_CLOSE, close_reason, conn_flags, family, role,
};

use crate::kernel::{
    Socket, bounded, forget, forget_all, inode_number, read, read_user, read_user_bytes,
};
use crate::maps::{BLANK_CONN, CONNS, OTHERS, count, count_by, offset};
use crate::state::{Conn, HTTP2, LOOKS, NEVER, Other, PROXIED, RECEIVE};
use crate::{emit, filter, frames, serving};

const SOCK_STREAM: u16 = 1;

/// A bit that is always set; see [`forget`].
const FOUND: u8 = 1 << 6;

/// The beginning of a call.
#[derive(Clone, Copy)]
pub struct Peek {
    /// Its first eight bytes, or as many as there are.
    pub low: u64,
    /// Bytes of the first buffer, and where they are. Not zero, so that it takes no more room
    /// on the stack if there may be none.
    pub len: u64,
    pub base: NonZeroU64,
    /// The same of the next buffer; 0 if it was not looked for.
    pub next_len: u64,
    pub next: u64,
}

/// The connection behind a socket, if it carries HTTP, and whether it was found just now.
/// `peek` is asked for the first bytes of the call only if the socket is not known yet.
#[inline(always)]
pub fn follow(
    socket: &Socket,
    direction: u8,
    peek: impl FnOnce() -> Option<Peek>,
) -> Option<(*mut Conn, bool)> {
    let sk = socket.sk;
    if let Some(conn) = CONNS.get_ptr_mut(sk) {
        // SAFETY: a valid map value.
        let (is_unix, known) = unsafe { ((*conn).family == family::UNIX, (*conn).ino) };
        if !is_unix || inode_number(socket.file) == Some(known) {
            return Some((conn, false));
        }
        // SAFETY: a valid map value.
        unsafe { close(conn, sk, close_reason::REPLACED, 0, true) };
    }
    let mut looks = 0;
    if let Some(other) = OTHERS.get_ptr_mut(sk) {
        // SAFETY: a valid map value.
        let known = unsafe { *other };
        if known.ino == 0 || inode_number(socket.file) == Some(known.ino) {
            if known.looks >= LOOKS || known.direction == direction as u32 {
                return None;
            }
            looks = known.looks;
        }
    }
    Some((first_sight(socket, direction, looks, peek)?, true))
}

#[inline(always)]
fn first_sight(
    socket: &Socket,
    direction: u8,
    looks: u32,
    peek: impl FnOnce() -> Option<Peek>,
) -> Option<*mut Conn> {
    let sk = socket.sk;
    let kind: u16 = read(socket.socket, offset!(socket_type))?;
    let family: u16 = read(sk, offset!(sk_family))?;
    let tcp = family == family::INET || family == family::INET6;
    // Only TCP has a tracepoint that tells when an address is used anew.
    let ino = if tcp && kind == SOCK_STREAM {
        0
    } else {
        inode_number(socket.file)?
    };
    let mut other = Other {
        ino,
        looks: looks + 1,
        direction: direction as u32,
    };
    if kind != SOCK_STREAM || !(tcp || family == family::UNIX) {
        other.looks = NEVER;
        let _ = OTHERS.insert(sk, other, 0);
        return None;
    }
    // There are many ways to find the beginning of a call, and much is done with it.
    let mut peek = peek()?;
    forget_all(&mut peek)?;
    let low = peek.low;
    let mut like = likeness::of(low, peek.len);
    let mut http2 = false;
    let mut joined = looks > 0;
    if low == PREFACE_START {
        http2 = true;
        // Servers may have sent their settings before.
        joined = false;
    } else if proxy::begins(low) {
        like = likeness::PROXY;
    } else if like == likeness::NEITHER
        && let Some(frame) = frame_at(&peek)
    {
        // No reason to give up: most calls do not tell the sides apart. The next one may,
        // whichever direction it has.
        if looks != 0 {
            other.looks = looks;
        }
        other.direction = u32::MAX;
        if let Some(request) = frame {
            http2 = true;
            joined = true;
            like = if request {
                likeness::REQUEST
            } else {
                likeness::RESPONSE
            };
        }
    }
    let found = forget(like | (http2 as u8) << 4 | (joined as u8) << 5 | FOUND);
    let (like, http2, joined) = (found & 0xf, found & 1 << 4 != 0, found & 1 << 5 != 0);
    if like != likeness::REQUEST && like != likeness::RESPONSE && like != likeness::PROXY {
        if like == likeness::NEVER {
            other.looks = NEVER;
        }
        if like == likeness::BLANK {
            // A request may come next, the same way.
            other.direction = u32::MAX;
        }
        if other.looks >= LOOKS {
            count(Counter::OtherConns);
        }
        let _ = OTHERS.insert(sk, other, 0);
        return None;
    }
    if !filter::wanted(sk, family) {
        other.looks = NEVER;
        let _ = OTHERS.insert(sk, other, 0);
        return None;
    }
    let blank = BLANK_CONN.get(0)?;
    if CONNS.insert(sk, blank, BPF_NOEXIST as u64).is_err() {
        if let Some(conn) = CONNS.get_ptr_mut(sk) {
            return Some(conn);
        }
        if like == likeness::REQUEST {
            count(Counter::Started);
            count(Counter::Finished);
            count(Counter::ConnEvicted);
        }
        return None;
    }
    // What is known of the socket stays, for `unfounded`.
    let conn = CONNS.get_ptr_mut(sk)?;
    // SAFETY: the helper has no conditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let receives_requests = (like != likeness::RESPONSE) == (direction == RECEIVE);
    // SAFETY: a valid map value, inserted above.
    unsafe {
        (*conn).id = emit::conn_id(now);
        (*conn).time = now;
        (*conn).ino = inode_number(socket.file).unwrap_or(0);
        (*conn).family = family;
        (*conn).role = if receives_requests {
            role::SERVER
        } else {
            role::CLIENT
        };
        (*conn).response.response = 1;
        if like == likeness::RESPONSE || joined {
            (*conn).flags = conn_flags::JOINED;
        }
        if http2 {
            (*conn).flags |= conn_flags::HTTP2;
            frames::preface(conn, if joined { 0 } else { PREFACE });
            (*conn).frames[0].unsynced = (joined && like != likeness::REQUEST) as u8;
            (*conn).frames[1].unsynced = (looks > 0 && like == likeness::REQUEST) as u8;
            if joined {
                (*conn).frames[1].unsynced = (like == likeness::REQUEST) as u8;
            }
        }
        if like == likeness::PROXY {
            (*conn).protocol = PROXIED;
        }
    }
    Some(conn)
}

/// Frames of a call that are looked at for one that tells the sides apart.
const LOOKED_AT: u32 = 3;

/// Shortest header block that tells the sides apart: a request has three fields.
const SHORTEST: u32 = 3;

/// Whether a call begins with an HTTP/2 frame, and if it can be said, whether a client sent
/// it: by the first HEADERS frame among the first few whose sender is plain.
///
/// Frames that lie in the first buffer are believed by their lengths: the next one has to
/// begin where they end. Of a longer one, or one whose payload has a buffer of its own, only
/// the beginning is seen, so its header has to be what a stream of a client begins with.
#[inline(always)]
fn frame_at(peek: &Peek) -> Option<Option<bool>> {
    let mut likely = None;
    let mut at = 0;
    let mut looked = 0;
    while looked < LOOKED_AT {
        looked += 1;
        if peek.len < at + HEAD as u64 {
            return likely;
        }
        let low: u64 = read_user(peek.base.get() + at)?;
        let ninth: u8 = read_user(peek.base.get() + at + 8)?;
        let head = FrameHead::of(low, ninth);
        if !head.is_likely() {
            return likely;
        }
        at += HEAD as u64;
        let whole = at + head.len as u64 <= peek.len;
        if head.kind == kind::HEADERS && head.len >= SHORTEST {
            let plain = head.flags & flag::END_HEADERS != 0 && ninth & 1 != 0 && low >> 47 & 1 == 0;
            if (whole || plain)
                && let Some(request) = block_at(peek, at, head)
            {
                return Some(Some(request));
            }
        }
        if !whole {
            return likely;
        }
        likely = Some(None);
        at += head.len as u64;
        forget_all(&mut at)?;
    }
    likely
}

/// Whether a client sent the header block at `at`, with what comes before it in its frame.
/// It may begin in the first buffer and go on in the next one: gRPC's core keeps names apart.
#[inline(always)]
fn block_at(peek: &Peek, at: u64, head: FrameHead) -> Option<bool> {
    let skip = (head.flags as u64 & flag::PADDED as u64) / flag::PADDED as u64
        + (head.flags as u64 & flag::PRIORITY as u64) / flag::PRIORITY as u64 * 5;
    let from = at + skip;
    let len = above((head.len as u64).wrapping_sub(skip));
    let first = least(len, above(peek.len.wrapping_sub(from)));
    let start = word(peek.base.get() + from, first)?;
    let behind = above((from + first).wrapping_sub(peek.len));
    let second = least(len - first, above(peek.next_len.wrapping_sub(behind)));
    let rest = word(peek.next + behind, second)?;
    // With eight bytes of the first buffer there are none of the second.
    let start = start | rest << (8 * (first & 7));
    let ends = head.flags & flag::END_STREAM != 0;
    sender(start, (first + second) as u32, ends)
}

/// A difference, or 0 if it is negative. Without a branch, as below: the verifier would follow
/// every one of them through all that comes behind.
#[inline(always)]
fn above(difference: u64) -> u64 {
    difference & !negative(difference)
}

/// The smallest of two lengths and of what is looked at of a block.
#[inline(always)]
fn least(a: u64, b: u64) -> u64 {
    let less = a.wrapping_sub(b);
    let least = b.wrapping_add(less & negative(less));
    let more = least.wrapping_sub(BLOCK_START as u64);
    (BLOCK_START as u64).wrapping_add(more & negative(more))
}

/// All bits, if a difference is negative. [`bounded`] keeps the compiler from comparing.
#[inline(always)]
fn negative(difference: u64) -> u64 {
    bounded((difference as i64 >> 63) as u64, u64::MAX)
}

/// The `len` <= 8 bytes at an address, which is not looked at if there are none.
#[inline(always)]
fn word(address: u64, len: u64) -> Option<u64> {
    let mut word = core::mem::MaybeUninit::<[u64; 2]>::uninit();
    let to = word.as_mut_ptr().cast::<u64>();
    // SAFETY: both words are written before they are read; at most 15 of the 16 bytes are
    // written to them. Volatile: the compiler would make a call of `memset` of it.
    unsafe {
        to.write_volatile(0);
        to.add(1).write_volatile(0);
        let read = read_user_bytes(to.cast::<u8>(), bounded(len, 0xf) as u32, address);
        read.then(|| to.read_volatile())
    }
}

/// Ends a connection: what is in flight is resolved, the entry is removed.
///
/// # Safety
/// `conn` is a valid value of [`CONNS`] with the key `sk`.
#[inline(always)]
pub unsafe fn close(conn: *mut Conn, sk: u64, reason: u8, errno: u32, peer_finished: bool) {
    // SAFETY: promised by the caller, for the whole function.
    unsafe {
        serving::ends(conn);
        let begun = (*conn).begun();
        let answered = (*conn).response.index;
        let in_flight = begun.saturating_sub(answered) as u64;
        let candidate = (*conn).request.candidate != 0;
        let request_open = (*conn).request.started != 0 && !candidate;
        let mut response_open = ((*conn).response.started != 0) as u8;
        let mut response_body = 0;
        let mut response_last = 0;
        if response_open != 0 {
            response_body = (*conn).response.body;
            response_last = (*conn).response.last;
            let ends_here = (*conn).response.phase == phase::UNTIL_CLOSE
                && (reason == close_reason::LOCAL || reason == close_reason::REPLACED)
                && ((*conn).role == role::SERVER || peer_finished);
            if ends_here {
                response_open = RESPONSE_COMPLETE_AT_CLOSE;
            }
        }
        let mut lost = (*conn).lost;
        if (*conn).response.lost != 0 {
            lost |= 1 << (answered & 63);
        }
        // What never became a request cannot be lost.
        lost &= !((candidate as u64) << ((*conn).request.index & 63));
        // What is in flight on HTTP/2 is known to the agent alone.
        let streams = (*conn).protocol == HTTP2 && (*conn).announced != 0;
        if begun != 0 || answered != 0 || (*conn).announced != 0 {
            let now = bpf_ktime_get_ns();
            let out = record::Close {
                header: Header::new(Kind::CLOSE, size_of::<record::Close>() as u32),
                conn: (*conn).id,
                time: if (*conn).reset_time != 0 {
                    (*conn).reset_time
                } else {
                    now
                },
                request_body: if streams {
                    (*conn).frames[0].sequence as u64
                } else if request_open {
                    (*conn).request.body
                } else {
                    0
                },
                response_body: if streams {
                    (*conn).frames[1].sequence as u64
                } else {
                    response_body
                },
                response_last,
                lost,
                request_index: begun,
                response_index: answered,
                errno,
                reason,
                request_open: request_open as u8,
                response_open,
                reserved: 0,
            };
            count_by(Counter::Finished, in_flight);
            if (*conn).announced == 0 || !emit::close(&out) {
                // Every request in flight goes with the record, and so does one that was
                // answered before it ended: its end would have been told here.
                let early = (request_open && begun == answered) as u64;
                count_by(Counter::RingFull, in_flight + early);
            } else {
                count_by(Counter::RingFull, lost.count_ones() as u64);
            }
        }
        // Answered while it was still being sent, and closed before that call returned: the
        // request itself is never told.
        count_by(Counter::ConnEvicted, answered.saturating_sub(begun) as u64);
        let _ = CONNS.remove(sk);
    }
}

/// Files a socket that was taken for one that carries HTTP, and does not as far as was seen: as
/// if it had not been, so that looks at it stay bounded.
#[inline(always)]
pub fn unfounded(sk: u64, ino: u64, direction: u8) {
    // SAFETY: a valid map value.
    let before = OTHERS
        .get_ptr(sk)
        .map_or(0, |other| unsafe { (*other).looks });
    if before + 1 == LOOKS {
        count(Counter::OtherConns);
    }
    let other = Other {
        ino,
        looks: before.saturating_add(1),
        direction: direction as u32,
    };
    let _ = OTHERS.insert(sk, other, 0);
}

/// Files a socket that was followed as one that does not carry HTTP: for good if it
/// switched to another protocol, otherwise HTTP may be found again.
#[inline(always)]
pub fn other(sk: u64, ino: u64, switched: bool) {
    let looks = if switched { NEVER } else { 1 };
    let _ = OTHERS.insert(
        sk,
        Other {
            ino,
            looks,
            direction: u32::MAX,
        },
        0,
    );
}
