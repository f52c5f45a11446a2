//! Which thread serves which request, so that samples of its CPU can be told apart.
//!
//! One request a connection at a time: of pipelined ones, the first that is in flight.
//! HTTP/2 streams are not noted: their requests are read by one thread and served by
//! others, or all by one.

use aya_ebpf::bindings::BPF_ANY;
use remora_common::config::config_flags;
use remora_common::profile::Serving;

use crate::kernel::can;
use crate::maps::SERVING;
use crate::state::Conn;

/// A thread has received a request.
///
/// # Safety
/// `conn` is a valid map value.
#[inline(always)]
pub unsafe fn begins(conn: *mut Conn, tid: u32, request: u32) {
    // SAFETY: valid map values, for the whole function. Only the thread itself adds; if
    // another one, which ends its request, takes away at the same time, one of the two may
    // be missed: then the thread is taken for busy with several, and its samples stay
    // without request until it has none.
    unsafe {
        if !can(config_flags::SERVING) || (*conn).server_tid != 0 {
            return;
        }
        if let Some(serving) = SERVING.get_ptr_mut(tid) {
            if (*serving).active == 0 {
                (*serving).conn = (*conn).id;
                (*serving).request = request;
            }
            (*serving).active += 1;
        } else {
            let first = Serving {
                conn: (*conn).id,
                request,
                active: 1,
            };
            if SERVING.insert(tid, &first, BPF_ANY as u64).is_err() {
                return;
            }
        }
        (*conn).server_tid = tid;
    }
}

/// The request in flight is answered, or will not be.
///
/// # Safety
/// `conn` is a valid map value.
#[inline(always)]
pub unsafe fn ends(conn: *mut Conn) {
    // SAFETY: as above.
    unsafe {
        let tid = (*conn).server_tid;
        if !can(config_flags::SERVING) || tid == 0 {
            return;
        }
        (*conn).server_tid = 0;
        let Some(serving) = SERVING.get_ptr_mut(tid) else {
            return;
        };
        let left = (*serving).active.saturating_sub(1);
        if left == 0 {
            // Threads end: nothing is to be left of them.
            let _ = SERVING.remove(tid);
            return;
        }
        if (*serving).conn == (*conn).id {
            (*serving).conn = 0;
        }
        (*serving).active = left;
    }
}
