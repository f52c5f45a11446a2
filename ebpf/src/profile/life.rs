//! The life of sampled processes.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use remora_common::profile::{Gone, config_flags};
use remora_common::record::{Header, Kind};

use crate::maps::{CHOSEN, CHOSEN_COMM, PROCESSES, SAMPLES, config};
use crate::memory;

/// Value of [`CHOSEN`]: the process stays chosen when it runs another program, and its
/// children are chosen as well.
const KEPT: u32 = 2;

const FORCE_WAKEUP: u64 = 2;
const NO_WAKEUP: u64 = 1;

/// The current process runs another program.
#[inline(always)]
pub fn executed() {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    gone(tgid, true);
    if config!(flags) & config_flags::BY_PROCESS == 0 {
        return;
    }
    if let Some(value) = CHOSEN.get_ptr(tgid) {
        // SAFETY: a valid map value.
        if unsafe { *value } & KEPT != 0 {
            return;
        }
    }
    let Ok(comm) = bpf_get_current_comm() else {
        return;
    };
    match CHOSEN_COMM.get_ptr(comm) {
        // SAFETY: a valid map value.
        Some(value) => drop(CHOSEN.insert(tgid, unsafe { *value }, 0)),
        None => drop(CHOSEN.remove(tgid)),
    }
}

/// A process makes a child, `child` is its task.
#[inline(always)]
pub fn forked(child: u64) -> Option<()> {
    if config!(flags) & config_flags::BY_PROCESS == 0 {
        return None;
    }
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let tgid: u32 = memory::kernel(child + config!(task_tgid) as u64)?;
    if tgid != parent {
        // SAFETY: a valid map value.
        let value = unsafe { *CHOSEN.get_ptr(parent)? };
        let _ = CHOSEN.insert(tgid, value, 0);
    }
    None
}

/// The current thread ends.
#[inline(always)]
pub fn exited() {
    let ids = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((ids >> 32) as u32, ids as u32);
    // The leader's end stands for the process's: one whose other threads outlive it is
    // asked for again with its next sample.
    if tid == tgid {
        gone(tgid, false);
        if config!(flags) & config_flags::BY_PROCESS != 0 {
            let _ = CHOSEN.remove(tgid);
        }
    }
}

/// Tells the agent, if the process was sampled.
#[inline(always)]
fn gone(tgid: u32, exec: bool) {
    if PROCESSES.get_ptr(tgid).is_none() {
        return;
    }
    let _ = PROCESSES.remove(tgid);
    let gone = Gone {
        header: Header::new(Kind::GONE, size_of::<Gone>() as u32),
        // SAFETY: the helper has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        tgid,
        exec: exec as u32,
    };
    let wakeup = if exec { FORCE_WAKEUP } else { NO_WAKEUP };
    // A lost record costs memory until the agent looks for ended processes itself.
    let _ = SAMPLES.output::<Gone>(gone, wakeup);
}
