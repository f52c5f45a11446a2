//! What is remembered of a thread's send from its entry to its return.
//!
//! Every thread that sends gets a slot of an array, at the last bits of its id, and keeps it
//! until it ends. Where two threads would share one, the second does with a hash, and so do
//! all where tracepoints can be preempted: there a thread could be held up between finding a
//! slot free and taking it.

use aya_ebpf::bindings::BPF_NOEXIST;
use remora_common::config::config_flags;
use remora_common::counters::Counter;

use crate::kernel::can;
use crate::maps::{BLANK_SEND, CLAIM, MORE_SENDS, SEND_SLOTS, SENDS, count};
use crate::state::Send;

#[inline(always)]
fn slot_of(tid: u32) -> u32 {
    tid & (SEND_SLOTS - 1)
}

/// Room for a send of this thread. `None` if there is no more.
#[inline(always)]
pub fn begins(tid: u32) -> Option<*mut Send> {
    if !can(config_flags::PREEMPTIBLE) {
        let slot = SENDS.get_ptr_mut(slot_of(tid))?;
        // SAFETY: a valid map value.
        unsafe {
            if (*slot).tid == tid {
                return Some(slot);
            }
            if (*slot).tid == 0 && insert(CLAIM | slot_of(tid)) {
                (*slot).tid = tid;
                return Some(slot);
            }
            (*slot).shared = 1;
        }
    }
    if let Some(send) = MORE_SENDS.get_ptr_mut(tid) {
        return Some(send);
    }
    if !insert(tid) {
        count(Counter::TaskTableFull);
        return None;
    }
    MORE_SENDS.get_ptr_mut(tid)
}

#[inline(always)]
fn insert(key: u32) -> bool {
    // From a map: to make one on the stack is a call of `memset`, whose frame old kernels have
    // no room for.
    BLANK_SEND
        .get(0)
        .is_some_and(|blank| MORE_SENDS.insert(key, blank, BPF_NOEXIST as u64).is_ok())
}

/// What was noted when this thread last began to send, if anything.
#[inline(always)]
pub fn of(tid: u32) -> Option<*mut Send> {
    if !can(config_flags::PREEMPTIBLE) {
        let slot = SENDS.get_ptr_mut(slot_of(tid))?;
        // SAFETY: a valid map value.
        unsafe {
            if (*slot).tid == tid {
                return Some(slot);
            }
            if (*slot).shared == 0 {
                return None;
            }
        }
    }
    MORE_SENDS.get_ptr_mut(tid)
}

/// What was noted of a send of this thread is of no use any more.
#[inline(always)]
pub fn failed(tid: u32) {
    if let Some(send) = of(tid) {
        // SAFETY: a valid map value.
        unsafe {
            if (*send).sending != 0 {
                (*send).sending = 0;
            }
        }
    }
}

/// A thread ends.
#[inline(always)]
pub fn ends(tid: u32) {
    let Some(slot) = SENDS.get_ptr_mut(slot_of(tid)) else {
        return;
    };
    // SAFETY: a valid map value.
    unsafe {
        if (*slot).tid == tid {
            (*slot).sending = 0;
            (*slot).tid = 0;
            let _ = MORE_SENDS.remove(CLAIM | slot_of(tid));
        } else if (*slot).shared != 0 || can(config_flags::PREEMPTIBLE) {
            let _ = MORE_SENDS.remove(tid);
        }
    }
}
