//! The life of a connection: recognised by its first bytes, followed, closed.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use remora_common::counters::Counter;
use remora_common::http1::{likeness, phase};
use remora_common::record::{
    self, Header, Kind, RESPONSE_COMPLETE_AT_CLOSE, close_reason, conn_flags, family, role,
};

use crate::kernel::{Socket, read};
use crate::maps::{BLANK_CONN, CONNS, OTHERS, count, count_by, offset};
use crate::state::{Conn, LOOKS, NEVER, Other, RECEIVE};
use crate::{emit, filter};

const SOCK_STREAM: u16 = 1;

/// First bytes of a call and their number.
pub type Peek = (u64, u64);

/// The connection behind a socket, if it carries HTTP/1. `peek` is asked for the first
/// bytes of the call only if the socket is not known yet.
#[inline(always)]
pub fn follow(
    socket: &Socket,
    direction: u8,
    peek: impl FnOnce() -> Option<Peek>,
) -> Option<*mut Conn> {
    let sk = socket.sk;
    if let Some(conn) = CONNS.get_ptr_mut(sk) {
        // SAFETY: a valid map value.
        let (is_unix, known) = unsafe { ((*conn).family == family::UNIX, (*conn).ino) };
        if !is_unix || read::<u64>(socket.inode, offset!(inode_ino)) == Some(known) {
            return Some(conn);
        }
        // SAFETY: a valid map value.
        unsafe { close(conn, sk, close_reason::REPLACED, 0, true) };
    }
    let mut looks = 0;
    if let Some(other) = OTHERS.get_ptr_mut(sk) {
        // SAFETY: a valid map value.
        let known = unsafe { *other };
        if known.ino == 0 || read::<u64>(socket.inode, offset!(inode_ino)) == Some(known.ino) {
            if known.looks >= LOOKS || known.direction == direction as u32 {
                return None;
            }
            looks = known.looks;
        }
    }
    first_sight(socket, direction, looks, peek)
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
        read::<u64>(socket.inode, offset!(inode_ino))?
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
    let (low, len) = peek()?;
    let like = likeness::of(low, len);
    if like != likeness::REQUEST && like != likeness::RESPONSE {
        if like == likeness::NEVER {
            other.looks = NEVER;
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
    let _ = OTHERS.remove(sk);
    let conn = CONNS.get_ptr_mut(sk)?;
    // SAFETY: the helper has no conditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let receives_requests = (like == likeness::REQUEST) == (direction == RECEIVE);
    // SAFETY: a valid map value, inserted above.
    unsafe {
        (*conn).id = emit::conn_id(now);
        (*conn).time = now;
        (*conn).ino = read::<u64>(socket.inode, offset!(inode_ino)).unwrap_or(0);
        (*conn).family = family;
        (*conn).role = if receives_requests {
            role::SERVER
        } else {
            role::CLIENT
        };
        (*conn).response.response = 1;
        if like == likeness::RESPONSE || looks > 0 {
            (*conn).flags = conn_flags::JOINED;
        }
    }
    Some(conn)
}

/// Ends a connection: what is in flight is resolved, the entry is removed.
///
/// # Safety
/// `conn` is a valid value of [`CONNS`] with the key `sk`.
#[inline(always)]
pub unsafe fn close(conn: *mut Conn, sk: u64, reason: u8, errno: u32, peer_finished: bool) {
    // SAFETY: promised by the caller, for the whole function.
    unsafe {
        let begun = (*conn).begun();
        let answered = (*conn).response.index;
        let in_flight = begun.saturating_sub(answered) as u64;
        let request_open = (*conn).request.started != 0;
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
        if begun != 0 || answered != 0 {
            let now = bpf_ktime_get_ns();
            let out = record::Close {
                header: Header::new(Kind::CLOSE, size_of::<record::Close>() as u32),
                conn: (*conn).id,
                time: if (*conn).reset_time != 0 {
                    (*conn).reset_time
                } else {
                    now
                },
                request_body: if request_open {
                    (*conn).request.body
                } else {
                    0
                },
                response_body,
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
