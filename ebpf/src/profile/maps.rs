//! The maps and read-only globals of the sampling programs.

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array as BtfArray, ArrayOfMaps, HashMap as BtfHashMap};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};
use remora_common::profile::{
    self, Block, Config, Counter, FRAMES, Mapping, Process, Rule, Sample, Serving,
};

/// Records to the agent.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Processes whose mappings are known, or asked for.
#[map]
pub static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(8192, 0);

/// Executable mappings, the agent writes them without system calls.
#[map]
pub static MAPPINGS: Array<Mapping> = Array::with_max_entries(profile::MAPPINGS, BPF_F_MMAPABLE);

/// Unwind rules, written as the mappings are.
#[map]
pub static RULES: Array<Rule> = Array::with_max_entries(profile::RULES, BPF_F_MMAPABLE);

/// Tables of unwind rows, each as large as its binary needs.
#[btf_map]
pub static TABLES: ArrayOfMaps<
    BtfArray<Block, 1, { (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize }>,
    { profile::TABLES as usize },
> = ArrayOfMaps::new();

/// Processes to sample, where only some are; values are bits of [`chosen`].
#[map]
pub static CHOSEN: HashMap<u32, u32> = HashMap::with_max_entries(8192, 0);
/// Programs whose processes are sampled, by the first 15 bytes of their names.
#[map]
pub static CHOSEN_COMM: HashMap<[u8; 16], u32> = HashMap::with_max_entries(256, 0);
/// Cgroups to sample, by id.
#[map]
pub static CHOSEN_CGROUP: HashMap<u64, u32> = HashMap::with_max_entries(1024, 0);

/// At index 0, the requests that threads serve, by thread id: a map of whoever traces
/// requests, put here while both run.
#[btf_map]
pub static SERVING: ArrayOfMaps<BtfHashMap<u32, Serving, 1>, 1> = ArrayOfMaps::new();

/// Samples lost, by process.
#[map]
pub static LOST: HashMap<u32, u64> = HashMap::with_max_entries(4096, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(profile::COUNTERS as u32, 0);

/// The sample being taken on this CPU. Only one is: perf events do not interrupt the
/// programs of perf events.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The program that goes on with a stack, at index 0.
#[map]
pub static STAGES: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
static PROFILE: Config = Config {
    self_tgid: 0,
    flags: 0,
    wakeup_bytes: 1 << 18,
    task_stack: 0,
    task_mm: 0,
    task_tgid: 0,
    stack_bytes: 0,
    task_fsbase: 0,
};

/// Room for the addresses of both stacks, so that an index of 8 bits stays inside.
pub const SLOTS: usize = 256;
const _: () = assert!(2 * FRAMES < SLOTS);

/// A sample and the state of the walk over its user stack.
#[repr(C)]
pub struct Scratch {
    /// What is sent, with the addresses behind it.
    pub sample: Sample,
    pub frames: [u64; SLOTS],
    /// Registers of the user frame that was interrupted, in DWARF's order.
    pub registers: [u64; 16],
    pub ip: u64,
    pub sp: u64,
    pub bp: u64,
    /// The mapping `ip` is in; empty before the first one is found.
    pub mapping: Mapping,
    /// The process's mappings.
    pub first: u32,
    pub count: u32,
    /// 1 if `ip` is exact, 0 if it is a return address.
    pub exact: u32,
    /// 1 if `registers` are those of this frame.
    pub known: u32,
    /// Runs of the unwinding program left.
    pub runs: u32,
    pub reserved: u32,
}

/// A setting. Volatile: the loader changes what the compiler sees.
macro_rules! config {
    ($field:ident) => {
        $crate::maps::get(core::mem::offset_of!(
            remora_common::profile::Config,
            $field
        ))
    };
}
pub(crate) use config;

/// The `u32` at `at` in the settings.
#[inline(always)]
pub fn get(at: usize) -> u32 {
    let global = (&raw const PROFILE).cast::<u8>();
    // SAFETY: only used by the macro above, with fields that are all `u32`. Volatile: the
    // loader changes what the compiler sees.
    unsafe { global.add(at).cast::<u32>().read_volatile() }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a valid, aligned map value of this CPU.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(value, 1) };
    }
}
