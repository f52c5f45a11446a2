//! The life of processes and threads.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use remora_common::config::{config_flags, verdict};

use crate::kernel::{can, read};
use crate::maps::{RULES_COMM, RULES_PID, TASKS, config, offset};
use crate::{emit, sends};

/// The current thread ends.
#[inline(always)]
pub fn exited() {
    let ids = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((ids >> 32) as u32, ids as u32);
    sends::ends(tid);
    if can(config_flags::PREEMPTIBLE) {
        let _ = TASKS.remove(tid);
    }
    // The leader's end stands for the process's: a process whose other threads outlive
    // it is announced again with its next request.
    if tid == tgid {
        emit::process_exit(tgid, false);
        if config!(flags) & config_flags::TASK_RULES != 0 {
            let _ = RULES_PID.remove(tgid);
        }
    }
}

/// The current process runs another program.
#[inline(always)]
pub fn executed(binprm: u64) -> Option<()> {
    let ids = bpf_get_current_pid_tgid();
    let tgid = (ids >> 32) as u32;
    emit::process_exit(tgid, true);
    if config!(flags) & config_flags::TASK_RULES == 0 {
        return None;
    }
    // The command name is the last part of the program's path, cut to 15 bytes, as
    // `begin_new_exec` sets it; it is set before the tracepoint.
    let _ = binprm;
    let comm = aya_ebpf::helpers::bpf_get_current_comm().ok()?;
    if let Some(verdict) = RULES_PID.get_ptr(tgid) {
        // SAFETY: a valid map value.
        if unsafe { *verdict } & verdict::KEPT != 0 {
            return None;
        }
    }
    match RULES_COMM.get_ptr(comm) {
        // SAFETY: a valid map value.
        Some(verdict) => {
            let _ = RULES_PID.insert(tgid, unsafe { *verdict }, 0);
        }
        None => {
            let _ = RULES_PID.remove(tgid);
        }
    }
    None
}

/// A process makes a child, which the same rules apply to; those by executable only until
/// it runs another program.
#[inline(always)]
pub fn forked(child: u64) -> Option<()> {
    if config!(flags) & config_flags::TASK_RULES == 0 {
        return None;
    }
    let parent = (bpf_get_current_pid_tgid() >> 32) as u32;
    let tgid: u32 = read(child, offset!(task_tgid))?;
    if tgid != parent {
        // SAFETY: a valid map value.
        let verdict = unsafe { *RULES_PID.get_ptr(parent)? };
        let _ = RULES_PID.insert(tgid, verdict, 0);
    }
    None
}
