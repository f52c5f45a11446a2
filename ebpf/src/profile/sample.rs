//! Taking a sample, from the interrupt to the ring.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_get_stack;
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
    bpf_get_current_task, bpf_get_smp_processor_id, bpf_ktime_get_ns,
};
use aya_ebpf::programs::PerfEventContext;
use core::ffi::c_void;
use remora_common::profile::{
    Counter, FRAMES, Mapping, Process, Sample, Wanted, config_flags, sample_flags, stop,
};
use remora_common::record::{Header, Kind};

use crate::maps::{
    CHOSEN, CHOSEN_CGROUP, LOST, PROCESSES, SAMPLES, SCRATCH, SERVING, STAGES, Scratch, config,
    count,
};
use crate::memory::{self, bounded};
use crate::registers;
use crate::unwind::RUNS;

const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const AVAILABLE: u64 = 0;

/// Least time between two questions for the mappings of a process, ns.
const ASK_INTERVAL: u64 = 100_000_000;

const NO_MAPPING: Mapping = Mapping {
    begin: 0,
    end: 0,
    offset: 0,
    table: 0,
    kind: 0,
};

/// Takes a sample of what runs on this CPU, or goes over to the program that does.
#[inline(always)]
pub fn take(ctx: &PerfEventContext) -> Option<()> {
    count(Counter::Fired);
    let ids = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((ids >> 32) as u32, ids as u32);
    if tid == 0 {
        count(Counter::Idle);
        return None;
    }
    // SAFETY: the helper has no conditions.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if !wanted(tgid, cgroup) {
        count(Counter::Filtered);
        return None;
    }
    let user = registers::in_user_mode(ctx);
    let scratch = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: a valid map value of this CPU, used by one sample at a time.
    unsafe {
        (*scratch).sample = Sample {
            header: Header::new(Kind::SAMPLE, 0),
            time: bpf_ktime_get_ns(),
            conn: 0,
            cgroup,
            request: 0,
            tgid,
            tid,
            cpu: bpf_get_smp_processor_id(),
            comm: bpf_get_current_comm().unwrap_or([0; 16]),
            kernel: 0,
            user: 0,
            stop: stop::NO_USER,
            flags: !user as u8 * sample_flags::KERNEL,
            exact: 0,
        };
        if config!(flags) & config_flags::REQUESTS != 0 {
            request(scratch, tid);
        }
        if !user && config!(flags) & config_flags::NO_KERNEL == 0 {
            kernel_stack(ctx, scratch);
        }
        let task = bpf_get_current_task();
        // Kernel threads have no memory of their own. Neither has a process that is ending,
        // whose stack is gone.
        if !user && memory::kernel::<u64>(task + config!(task_mm) as u64).unwrap_or(0) == 0 {
            return finish(scratch);
        }
        if !registers::load(ctx, scratch, user) {
            (*scratch).sample.stop = stop::NO_REGISTERS;
            return finish(scratch);
        }
        (*scratch).exact = 1;
        (*scratch).runs = RUNS;
        (*scratch).mapping = NO_MAPPING;
        match PROCESSES.get_ptr(tgid) {
            Some(process) => {
                (*scratch).first = (*process).first;
                (*scratch).count = (*process).count;
                STAGES.tail_call(ctx, 0);
                (*scratch).sample.stop = stop::TAIL_CALLS;
            }
            None => {
                let slot = bounded((*scratch).sample.kernel as u64, 0xff);
                (*scratch).frames[slot as usize] = (*scratch).ip;
                (*scratch).sample.user = 1;
                (*scratch).sample.exact = 1;
                (*scratch).sample.stop = stop::NEW_PROCESS;
            }
        }
        finish(scratch)
    }
}

/// Whether this process is to be sampled.
#[inline(always)]
fn wanted(tgid: u32, cgroup: u64) -> bool {
    let flags = config!(flags);
    if flags & config_flags::NOT_ITSELF != 0 && tgid == config!(self_tgid) {
        return false;
    }
    if flags & config_flags::BY_PROCESS != 0 && CHOSEN.get_ptr(tgid).is_none() {
        return false;
    }
    flags & config_flags::BY_CGROUP == 0 || CHOSEN_CGROUP.get_ptr(cgroup).is_some()
}

/// Notes which request the thread serves.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
unsafe fn request(scratch: *mut Scratch, tid: u32) {
    let Some(threads) = SERVING.get(0) else {
        return;
    };
    if let Some(serving) = threads.get_ptr(&tid) {
        // SAFETY: both are valid map values.
        unsafe {
            if (*serving).active == 1 && (*serving).conn != 0 {
                (*scratch).sample.conn = (*serving).conn;
                (*scratch).sample.request = (*serving).request;
                (*scratch).sample.flags |= sample_flags::REQUEST;
            }
        }
    }
}

/// Puts the kernel's stack into the scratch.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
unsafe fn kernel_stack(ctx: &PerfEventContext, scratch: *mut Scratch) {
    // SAFETY: the room behind `frames` is as large as stated; the rest is promised.
    unsafe {
        let room = (&raw mut (*scratch).frames).cast::<c_void>();
        let bytes = bpf_get_stack(ctx.as_ptr(), room, (FRAMES * 8) as u32, 0);
        if bytes > 0 {
            (*scratch).sample.kernel = bounded(bytes as u64 / 8, 0x7f) as u8;
        }
    }
}

/// Sends the sample.
///
/// # Safety
/// `scratch` is a valid map value.
#[inline(always)]
pub unsafe fn finish(scratch: *mut Scratch) -> Option<()> {
    // SAFETY: promised by the caller.
    unsafe {
        let tgid = (*scratch).sample.tgid;
        let now = (*scratch).sample.time;
        let reason = (*scratch).sample.stop;
        let frames = (*scratch).sample.kernel as u64 + (*scratch).sample.user as u64;
        let len = size_of::<Sample>() as u64 + bounded(frames, 0xff) * 8;
        (*scratch).sample.header.len = len as u32;
        let bytes = core::slice::from_raw_parts(scratch.cast::<u8>(), len as usize);
        let wakeup = if SAMPLES.query(AVAILABLE) > config!(wakeup_bytes) as u64 {
            FORCE_WAKEUP
        } else {
            NO_WAKEUP
        };
        if SAMPLES.output::<[u8]>(bytes, wakeup).is_ok() {
            count(Counter::Emitted);
        } else {
            count(Counter::RingFull);
            lost(tgid);
        }
        // Behind the sample, so that what is known of the process before is still so when
        // the agent reads it.
        if reason == stop::NEW_PROCESS {
            ask(tgid, now, false);
        } else if reason == stop::NO_MAPPING {
            ask(tgid, now, true);
        }
        Some(())
    }
}

/// Counts a lost sample of a process.
#[inline(always)]
fn lost(tgid: u32) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    if let Some(value) = LOST.get_ptr_mut(tgid) {
        // SAFETY: a valid, aligned map value.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, 1) };
    } else {
        let _ = LOST.insert(tgid, 1u64, 0);
    }
}

/// Asks the agent for the mappings of a process.
#[inline(always)]
fn ask(tgid: u32, now: u64, stale: bool) {
    if stale {
        let Some(process) = PROCESSES.get_ptr_mut(tgid) else {
            return;
        };
        // SAFETY: a valid map value. Two CPUs may both ask; that does no harm.
        unsafe {
            if now.wrapping_sub((*process).asked) < ASK_INTERVAL {
                return;
            }
            (*process).asked = now;
        }
    } else {
        let process = Process {
            asked: now,
            first: 0,
            count: 0,
        };
        if PROCESSES.insert(tgid, process, 0).is_err() {
            count(Counter::ProcessesFull);
            return;
        }
    }
    let wanted = Wanted {
        header: Header::new(Kind::WANTED, size_of::<Wanted>() as u32),
        time: now,
        tgid,
        stale: stale as u32,
    };
    if SAMPLES.output::<Wanted>(wanted, FORCE_WAKEUP).is_err() {
        count(Counter::AskLost);
        if !stale {
            let _ = PROCESSES.remove(tgid);
        }
    }
}
