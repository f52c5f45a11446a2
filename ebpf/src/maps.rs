//! The maps and read-only globals. Sizes are defaults; the loader overrides them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use remora_common::config::{Config, config_flags};
use remora_common::counters::{COUNT, Counter};
use remora_common::offsets::Offsets;
use remora_common::profile::Serving;

use crate::kernel::{Caller, can};
use crate::state::{Conn, MessageKey, MessageState, Other, Send, Task};

/// Records to the agent.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// When to look next at how much waits in the ring, ns.
#[map]
pub static NEXT_LOOK: Array<u64> = Array::with_max_entries(1, 0);

/// Connections that carry HTTP/1. Not LRU: what is evicted must be counted.
#[map]
pub static CONNS: HashMap<u64, Conn> = HashMap::with_max_entries(16384, 0);

/// Sockets that do not. A cache: evicting an entry costs a look, nothing else.
#[map]
pub static OTHERS: LruHashMap<u64, Other> = LruHashMap::with_max_entries(65536, 0);

/// The call that is being accounted on this CPU.
#[map]
static TASK: PerCpuArray<Task> = PerCpuArray::with_max_entries(1, 0);

/// The same by thread, where tracepoints can be preempted: two threads would share the
/// one of their CPU.
#[map]
pub static TASKS: HashMap<u32, Task> = HashMap::with_max_entries(8192, 0);

/// Sends between entry and return, at the last bits of the thread's id. A look-up here
/// costs a tenth of one in a hash.
#[map]
pub static SENDS: Array<Send> = Array::with_max_entries(SEND_SLOTS, 0);
pub const SEND_SLOTS: u32 = 8192;

/// Sends of threads whose slot belongs to another one, or where tracepoints can be
/// preempted; and, at the number of a slot behind [`CLAIM`], that the slot was given away:
/// only a hash makes sure that two threads do not take it at the same time.
#[map]
pub static MORE_SENDS: HashMap<u32, Send> = HashMap::with_max_entries(16384, 0);
pub const CLAIM: u32 = 1 << 31;

/// Streams that are within a length-prefixed message between two DATA frames. Evicting one
/// makes its count of messages wrong, nothing else.
#[map]
pub static MESSAGES: LruHashMap<MessageKey, MessageState> = LruHashMap::with_max_entries(16384, 0);

/// Which request a thread serves, if profiles ask for it.
#[map]
pub static SERVING: HashMap<u32, Serving> = HashMap::with_max_entries(8192, 0);

/// Processes announced to the agent.
#[map]
pub static PROCESSES: LruHashMap<u32, u32> = LruHashMap::with_max_entries(8192, 0);

/// The agent's own sockets, and the addresses they come from: their other ends on
/// this host are not traced, or exporting spans would make spans.
#[map]
pub static OWN_SOCKETS: LruHashMap<u64, u32> = LruHashMap::with_max_entries(256, 0);
#[map]
pub static OWN_ADDRESSES: LruHashMap<[u8; 20], u32> = LruHashMap::with_max_entries(256, 0);

/// Rules: process id, command name (first 15 bytes of the executable's name), port,
/// cgroup id; see [`remora_common::config::verdict`].
#[map]
pub static RULES_PID: HashMap<u32, u8> = HashMap::with_max_entries(4096, 0);
#[map]
pub static RULES_COMM: HashMap<[u8; 16], u8> = HashMap::with_max_entries(256, 0);
#[map]
pub static RULES_PORT: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);
#[map]
pub static RULES_CGROUP: HashMap<u64, u8> = HashMap::with_max_entries(1024, 0);

/// `socket_file_ops`, once the first socket was seen, 0 before.
#[map]
pub static SOCKET_OPS: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNT as u32, 0);

/// Zeroed values to insert: too large for the stack.
#[map]
pub static BLANK_CONN: Array<Conn> = Array::with_max_entries(1, 0);
#[map]
pub static BLANK_SEND: Array<Send> = Array::with_max_entries(1, 0);
#[map]
pub static BLANK_TASK: Array<Task> = Array::with_max_entries(1, 0);

/// Programs that continue others.
#[map]
pub static STAGES: ProgramArray = ProgramArray::with_max_entries(7, 0);
/// Index of the program that moves a connection on.
pub const ADVANCE: u32 = 0;
/// Index of the program that announces a connection.
pub const ANNOUNCE: u32 = 1;
/// Index of the program that gives a connection up.
pub const GIVE_UP: u32 = 2;
/// Index of the program that follows HTTP/2 frames.
pub const FRAMES: u32 = 3;
/// Index of the program that looks at a send again whose bytes could not be read.
pub const LOOK_AGAIN: u32 = 4;
/// Index of the program that looks at the beginning of a call for what may come before a
/// request, or in place of a body.
pub const PREAMBLE: u32 = 5;
/// Index of the program that passes over the rest of a long head.
pub const SKIM: u32 = 6;

/// The call that is being accounted, if it was begun.
#[inline(always)]
pub fn task(caller: Caller) -> Option<*mut Task> {
    if can(config_flags::PREEMPTIBLE) {
        TASKS.get_ptr_mut(caller.tid())
    } else {
        TASK.get_ptr_mut(0)
    }
}

#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    self_tgid: 0,
    head_bytes: 1024,
    wakeup_bytes: 1 << 20,
    flags: 0,
    block_bytes: 4096,
    type_file: 0,
    type_socket: 0,
    type_pointer: 0,
    type_registers: 0,
    reserved: [0; 3],
};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ZERO;

/// A member of [`CONFIG`]. Volatile: the loader changes what the compiler sees.
macro_rules! config {
    ($field:ident) => {
        $crate::maps::get(
            $crate::maps::config_ptr(),
            core::mem::offset_of!(remora_common::config::Config, $field),
        )
    };
}
/// A member of [`OFFSETS`], as `usize`.
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::get(
            $crate::maps::offsets_ptr(),
            core::mem::offset_of!(remora_common::offsets::Offsets, $field),
        ) as usize
    };
}
pub(crate) use {config, offset};

#[inline(always)]
pub fn config_ptr() -> *const u8 {
    (&raw const CONFIG).cast()
}

#[inline(always)]
pub fn offsets_ptr() -> *const u8 {
    (&raw const OFFSETS).cast()
}

/// The `u32` at `at` in one of the globals above.
#[inline(always)]
pub fn get(global: *const u8, at: usize) -> u32 {
    // SAFETY: only used by the macros above, with fields of these globals, all `u32`.
    // Volatile: the loader changes what the compiler sees.
    unsafe { global.add(at).cast::<u32>().read_volatile() }
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub fn count_by(counter: Counter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a valid map value of this CPU. Not atomic: where tracepoints can be
        // preempted between load and store the increment could be lost, so add in one
        // instruction.
        unsafe { add(value, n) };
    }
}

/// Adds one to a counter of this CPU that only calls change: nothing else on the CPU comes
/// between load and store unless they can be preempted.
#[inline(always)]
pub fn count_call(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a valid map value of this CPU.
        unsafe {
            if can(config_flags::PREEMPTIBLE) {
                add(value, 1);
            } else {
                value.write(value.read().wrapping_add(1));
            }
        }
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    count_by(counter, 1);
}

/// `lock *(u64 *)value += n`: BPF has it since before it has atomics that return the
/// old value (5.12), which is why `AtomicU64` has no `fetch_add` on this target.
#[inline(always)]
unsafe fn add(value: *mut u64, n: u64) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: promised by the caller; aligned as map values are.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, n) };
}
