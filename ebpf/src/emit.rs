//! The one place that writes to the ring.

use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_smp_processor_id, bpf_ktime_get_ns,
};
use remora_common::counters::Counter;
use remora_common::http1::Stream;
use remora_common::record::{
    self, Header, Kind, ProcessExit, conn_flags, family, message_flags, role,
};

use crate::kernel::{bounded, read};
use crate::maps::{NEXT_LOOK, PROCESSES, RECORDS, config, count, offset};
use crate::state::{Conn, Task};

const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;
const AVAILABLE: u64 = 0;

/// Response heads are not interpreted beyond the status line.
pub const RESPONSE_HEAD_BYTES: u32 = 64;

/// Least time between two early wake-ups, ns.
const WAKEUP_INTERVAL: u64 = 2_000_000;

/// Least time between two looks at how much is waiting, ns. At a million records a second
/// some 200 arrive meanwhile. All CPUs read when the next one is, and wait for each other
/// whenever one of them has changed it. (A tenth of this made no difference that paired runs
/// could tell, on two CPUs.)
const LOOK_INTERVAL: u64 = 200_000;

/// The agent polls on its own; it is woken early only when much is waiting, and not for
/// every record then: a wake-up costs the traced thread more than the record does.
#[inline(always)]
fn wakeup(now: u64) -> u64 {
    let Some(next) = NEXT_LOOK.get_ptr_mut(0) else {
        return NO_WAKEUP;
    };
    // SAFETY: a valid map value. Two CPUs may both wake the agent; that does no harm.
    unsafe {
        // How much is waiting is asked only now and then, because asking is not free.
        if now < next.read_volatile() {
            return NO_WAKEUP;
        }
        let wake = RECORDS.query(AVAILABLE) > config!(wakeup_bytes) as u64;
        next.write_volatile(now + if wake { WAKEUP_INTERVAL } else { LOOK_INTERVAL });
        if wake { FORCE_WAKEUP } else { NO_WAKEUP }
    }
}

#[inline(always)]
fn output(bytes: &[u8], flags: u64) -> bool {
    RECORDS.output::<[u8]>(bytes, flags).is_ok()
}

/// The bytes of a record on the stack or in a map.
///
/// # Safety
/// `len` bytes behind `record` are readable.
#[inline(always)]
unsafe fn bytes_of<'a, T>(record: *const T, len: usize) -> &'a [u8] {
    // SAFETY: promised by the caller.
    unsafe { core::slice::from_raw_parts(record.cast::<u8>(), len) }
}

/// Sends the staged head bytes of `task`, or only the numbers if there are none, as a
/// part of the message that `stream` is in. `false` if the ring is full.
///
/// # Safety
/// All pointers are valid map values.
#[inline(always)]
pub unsafe fn message(task: *mut Task, conn: *mut Conn, stream: *mut Stream, end: u16) -> bool {
    // SAFETY: promised by the caller, for the whole function.
    unsafe {
        let request = (*stream).response == 0;
        let skip = (*task).staged_skip & 0x7f;
        let staged = (*task).staged & 0x3ff;
        let mut fresh = staged.saturating_sub(skip);
        let limit = if request {
            config!(head_bytes)
        } else {
            RESPONSE_HEAD_BYTES
        };
        let room = limit.saturating_sub((*stream).captured);
        if fresh > room {
            fresh = room;
            // Response heads beyond the status line are left out by intent.
            if request {
                (*stream).truncated = 1;
            }
        }
        let start = (*stream).started == 1;
        let mut flags = end;
        if start {
            flags |= message_flags::START;
        }
        if (*stream).head_ended != 0 {
            flags |= message_flags::HEAD_END;
        }
        if (*stream).truncated != 0 {
            flags |= message_flags::HEAD_TRUNCATED;
        }
        if (*stream).chunked == 1 {
            flags |= message_flags::CHUNKED;
        }
        flags |= (*stream).unframed as u16 * message_flags::UNFRAMED;
        flags |= (*stream).candidate as u16 * message_flags::CANDIDATE;
        if fresh == 0 && end == 0 && !start {
            return true;
        }
        let len = if fresh == 0 {
            0
        } else {
            bounded((skip + fresh) as u64, 0x3ff) as u32
        };
        let size = size_of::<record::Message>() as u32 + len;
        (*task).message = record::Message {
            header: Header::new(Kind::MESSAGE, size),
            conn: (*conn).id,
            first: (*stream).first,
            last: (*stream).last,
            body_bytes: (*stream).body,
            tgid: (*task).tgid,
            tid: (*task).tid,
            index: (*stream).index,
            flags,
            side: !request as u8,
            skip: if fresh == 0 { 0 } else { skip as u8 },
        };
        if !output(bytes_of(task, size as usize), wakeup((*task).last)) {
            return false;
        }
        (*stream).captured += fresh;
        // From now on the message has a beginning in userspace.
        (*stream).started = 2;
        true
    }
}

/// Sends the staged entries of `task` as [`record::Frames`] number `sequence` of its direction.
///
/// # Safety
/// All pointers are valid map values.
#[inline(always)]
pub unsafe fn frames(task: *mut Task, conn: *mut Conn, sequence: u32, side: u8) -> bool {
    // SAFETY: promised by the caller. The record is shorter than that of a message: it ends
    // where the window begins as well.
    unsafe {
        const SHORTER: usize = size_of::<record::Message>() - size_of::<record::Frames>();
        let out = task.cast::<u8>().add(SHORTER).cast::<record::Frames>();
        let staged = bounded((*task).staged as u64, 0x3ff) as u32;
        let size = size_of::<record::Frames>() as u32 + staged;
        (*out).header = Header::new(Kind::FRAMES, size);
        (*out).conn = (*conn).id;
        (*out).first = (*task).first;
        (*out).last = (*task).last;
        (*out).tgid = (*task).tgid;
        (*out).tid = (*task).tid;
        (*out).sequence = sequence;
        (*out).side = side;
        (*out).reserved = [0; 3];
        output(bytes_of(out, size as usize), wakeup((*task).last))
    }
}

/// A connection record with room for the path of a Unix socket.
#[repr(C)]
struct ConnWithPath {
    conn: record::Conn,
    path: [u8; 112],
}

/// Sends the process and connection records that a message needs, once.
///
/// # Safety
/// `conn` is a valid map value.
#[inline(always)]
pub unsafe fn announce(conn: *mut Conn, sk: u64, tgid: u32, tid: u32) -> bool {
    // SAFETY: promised by the caller, for the whole function.
    unsafe {
        if (*conn).tgid != tgid {
            if !process(tgid) {
                return false;
            }
            (*conn).tgid = tgid;
        }
        if (*conn).announced != 0 {
            return true;
        }
        let mut out = core::mem::MaybeUninit::<ConnWithPath>::uninit();
        let path = (&raw mut (*out.as_mut_ptr()).path).cast::<u64>();
        let mut i = 0;
        while i < 14 {
            path.add(i).write(0);
            i += 1;
        }
        let net: u64 = read(sk, offset!(sk_net)).unwrap_or(0);
        let mut base = record::Conn {
            header: Header::new(Kind::CONN, size_of::<record::Conn>() as u32),
            conn: (*conn).id,
            time: (*conn).time,
            tgid,
            tid,
            netns: read(net, offset!(net_inum)).unwrap_or(0),
            family: (*conn).family,
            local_port: 0,
            remote_port: 0,
            role: (*conn).role,
            flags: (*conn).flags & (conn_flags::JOINED | conn_flags::HTTP2),
            reserved: 0,
            local_addr: [0; 16],
            remote_addr: [0; 16],
        };
        let mut extra = 0;
        if base.family == family::UNIX {
            // A server's socket shares the address of its listener; a client's own has
            // none, but its peer's has.
            let owner = if base.role == role::SERVER {
                sk
            } else {
                read(sk, offset!(unix_peer)).unwrap_or(0)
            };
            let address: u64 = read(owner, offset!(unix_addr)).unwrap_or(0);
            if address != 0 {
                let len: u32 = read(address, offset!(unix_addr_len)).unwrap_or(2);
                if let Some(name) = read::<[u64; 14]>(address, offset!(unix_addr_name) + 2) {
                    (&raw mut (*out.as_mut_ptr()).path)
                        .cast::<[u64; 14]>()
                        .write(name);
                    extra = len.saturating_sub(2);
                    if extra > 108 {
                        extra = 108;
                    }
                }
            }
        } else {
            base.local_port = read(sk, offset!(sk_num)).unwrap_or(0);
            let port: u16 = read(sk, offset!(sk_dport)).unwrap_or(0);
            base.remote_port = u16::from_be(port);
            if base.family == family::INET {
                let local: [u8; 4] = read(sk, offset!(sk_rcv_saddr)).unwrap_or([0; 4]);
                let remote: [u8; 4] = read(sk, offset!(sk_daddr)).unwrap_or([0; 4]);
                (&raw mut base.local_addr).cast::<[u8; 4]>().write(local);
                (&raw mut base.remote_addr).cast::<[u8; 4]>().write(remote);
            } else {
                base.local_addr = read(sk, offset!(sk_v6_rcv_saddr)).unwrap_or([0; 16]);
                base.remote_addr = read(sk, offset!(sk_v6_daddr)).unwrap_or([0; 16]);
            }
        }
        let size = size_of::<record::Conn>() as u32 + bounded(extra as u64, 0x7f) as u32;
        base.header = Header::new(Kind::CONN, size);
        (&raw mut (*out.as_mut_ptr()).conn).write(base);
        if size as usize > size_of::<ConnWithPath>()
            || !output(bytes_of(out.as_ptr(), size as usize), wakeup((*conn).time))
        {
            return false;
        }
        (*conn).announced = 1;
        count(Counter::Conns);
        true
    }
}

/// Sends the record of the current process, once until it ends.
#[inline(always)]
fn process(tgid: u32) -> bool {
    if PROCESSES.get_ptr(tgid).is_some() {
        return true;
    }
    let out = record::Process {
        header: Header::new(Kind::PROCESS, size_of::<record::Process>() as u32),
        // SAFETY: the helper has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        // SAFETY: the helper has no conditions.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        tgid,
        reserved: 0,
        comm: bpf_get_current_comm().unwrap_or([0; 16]),
    };
    // Short-lived processes are gone soon: the agent looks at them at once.
    // SAFETY: `out` is a whole record.
    if !output(
        unsafe { bytes_of(&out, size_of::<record::Process>()) },
        FORCE_WAKEUP,
    ) {
        count(Counter::ProcessDelayed);
        return false;
    }
    let _ = PROCESSES.insert(tgid, 1, 0);
    true
}

/// Sends the end of an announced process.
#[inline(always)]
pub fn process_exit(tgid: u32, exec: bool) {
    if PROCESSES.remove(tgid).is_err() {
        return;
    }
    let out = ProcessExit {
        header: Header::new(Kind::PROCESS_EXIT, size_of::<ProcessExit>() as u32),
        // SAFETY: the helper has no conditions.
        time: unsafe { bpf_ktime_get_ns() },
        tgid,
        exec: exec as u32,
    };
    // SAFETY: `out` is a whole record.
    output(
        unsafe { bytes_of(&out, size_of::<ProcessExit>()) },
        wakeup(out.time),
    );
}

/// Sends a close record.
#[inline(always)]
pub fn close(out: &record::Close) -> bool {
    // SAFETY: `out` is a whole record.
    output(
        unsafe { bytes_of(out, size_of::<record::Close>()) },
        wakeup(out.time),
    )
}

/// A number no other connection has while the agent runs: two connections cannot begin
/// on one CPU in the same nanosecond.
#[inline(always)]
pub fn conn_id(now: u64) -> u64 {
    // SAFETY: the helper has no conditions.
    (now << 10) | (unsafe { bpf_get_smp_processor_id() } as u64 & 0x3ff)
}
