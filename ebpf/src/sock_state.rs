//! The life of TCP sockets: state kept by address must die with the socket.

use remora_common::record::{close_reason, family};

use crate::conn;
use crate::filter::address_key;
use crate::kernel::read;
use crate::maps::{CONNS, OTHERS, OWN_ADDRESSES, OWN_SOCKETS, config, offset};
use crate::state::Conn;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};

const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const FIN_WAIT1: u32 = 4;
const CLOSE: u32 = 7;
const CLOSE_WAIT: u32 = 8;
const LAST_ACK: u32 = 9;

const BOTH_DIRECTIONS: u8 = 3;
const ECONNRESET: u32 = 104;
const EPIPE: u32 = 32;

/// A TCP socket goes from state `old` to `new`.
///
/// What the kernel does (net/ipv4/tcp.c) and what it means here:
/// - `close()` sets both shutdown bits, then moves ESTABLISHED → FIN_WAIT1 or
///   CLOSE_WAIT → LAST_ACK, or ESTABLISHED → CLOSE with unread data or zero linger. On a
///   socket already shut down it "moves" from a state to itself. The connection is over.
/// - `shutdown(SHUT_WR)` makes the same moves with only the send bit set. The other
///   direction goes on.
/// - A reset sets `sk_err` and moves to CLOSE; data received before can still be read, so
///   the connection ends when the process closes it, which then makes no move at all:
///   see [`destroyed`].
#[inline(always)]
pub fn changed(sk: u64, old: u32, new: u32) -> Option<()> {
    own(sk, new);
    if new == ESTABLISHED {
        // A new connection at an address: nothing of an earlier one may be left.
        if let Some(conn) = CONNS.get_ptr_mut(sk) {
            // SAFETY: a valid map value.
            unsafe { conn::close(conn, sk, close_reason::REPLACED, 0, true) };
        }
        let _ = OTHERS.remove(sk);
        return None;
    }
    if new == CLOSE {
        let _ = OTHERS.remove(sk);
    }
    let conn = CONNS.get_ptr_mut(sk)?;
    let shutdown: u8 = read(sk, offset!(sk_shutdown))?;
    let errno: u32 = read(sk, offset!(sk_err))?;
    // SAFETY: a valid map value, for the rest of the function.
    unsafe {
        let live = old == ESTABLISHED || old == CLOSE_WAIT;
        if live && new == CLOSE && errno != 0 {
            (*conn).reset_time = bpf_ktime_get_ns();
            (*conn).errno = errno;
            return None;
        }
        let both = shutdown & BOTH_DIRECTIONS == BOTH_DIRECTIONS;
        let closed = (live && (new == FIN_WAIT1 || new == LAST_ACK) && both)
            || (live && new == CLOSE)
            || old == new;
        if !closed {
            return None;
        }
        // The peer has said that it is done if its FIN was seen.
        end(conn, sk, old != ESTABLISHED);
    }
    None
}

/// A TCP socket is freed: it was reset, and the process has closed it now.
#[inline(always)]
pub fn destroyed(sk: u64) -> Option<()> {
    let _ = OTHERS.remove(sk);
    let conn = CONNS.get_ptr_mut(sk)?;
    // SAFETY: a valid map value.
    unsafe { end(conn, sk, true) };
    None
}

/// Ends a connection for the reason that its socket gives.
#[inline(always)]
unsafe fn end(conn: *mut Conn, sk: u64, peer_finished: bool) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        let errno = (*conn).errno;
        let reason = match errno {
            0 => close_reason::LOCAL,
            ECONNRESET | EPIPE => close_reason::RESET,
            _ => close_reason::ERROR,
        };
        conn::close(conn, sk, reason, errno, peer_finished);
    }
}

/// Remembers where the agent's own connections come from.
#[inline(always)]
fn own(sk: u64, new: u32) {
    if new == SYN_SENT {
        if (bpf_get_current_pid_tgid() >> 32) as u32 == config!(self_tgid) {
            let _ = OWN_SOCKETS.insert(sk, 1, 0);
        }
        return;
    }
    if new != ESTABLISHED && new != CLOSE {
        return;
    }
    if OWN_SOCKETS.get_ptr(sk).is_none() {
        return;
    }
    let of: u16 = read(sk, offset!(sk_family)).unwrap_or(family::INET);
    let key = address_key(sk, of, true);
    if new == ESTABLISHED {
        let _ = OWN_ADDRESSES.insert(key, 1, 0);
    } else {
        let _ = OWN_ADDRESSES.remove(key);
        let _ = OWN_SOCKETS.remove(sk);
    }
}
