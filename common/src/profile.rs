//! CPU samples: what the sampling program and the agent share.
//!
//! The sampling program follows a thread's user stack itself. What it needs to do so is
//! prepared by the agent: per process the executable mappings ([`Mapping`]), per binary a
//! table of unwind rows ([`Row`], [`Block`]), and the rules those rows name ([`Rule`]).
//!
//! ```text
//! PROCESSES[tgid] ─ range of ─ MAPPINGS ─ table id ─ TABLES[id] ─ Block* ─ Row ─ RULES[n]
//! ```
//!
//! A table covers addresses relative to the lowest one of its binary, in pages of 64 KiB.
//! Its first blocks are the index, one [`page_entry`] a page; the others hold rows of 4
//! bytes, sorted, of one page each. The first row of a page is at its first byte.

use crate::pod::Pod;
use crate::record::{Header, Kind};

impl Kind {
    /// [`Sample`], with its stack behind it.
    pub const SAMPLE: Self = Self(32);
    /// [`Wanted`]: the mappings of a process are not known, or no longer right.
    pub const WANTED: Self = Self(33);
    /// [`Gone`]: a sampled process ended or runs another program.
    pub const GONE: Self = Self(34);
}

/// Most frames of one stack, user and kernel each.
pub const FRAMES: usize = 127;

/// Bytes of address space that one entry of a table's index covers: 64 KiB.
pub const PAGE_BITS: u32 = 16;
/// Rows, or entries of the index, in one block.
pub const BLOCK_ROWS: usize = 256;
/// Most mappings of all processes together.
pub const MAPPINGS: u32 = 1 << 17;
/// Most executable mappings of one process: what 14 steps of a binary search reach.
pub const PROCESS_MAPPINGS: u32 = 1 << 14;
/// Most distinct rules. Rule 0 is that of addresses that have no row.
pub const RULES: u32 = 1 << 15;
/// Most binaries with a table.
pub const TABLES: u32 = 1 << 12;

/// A row of a table: the rule [`row_rule`] holds from [`row_pc`] to the next row.
pub type Row = u32;

/// The value of a table: rows of one page, or a part of the index.
pub type Block = [u32; BLOCK_ROWS];

/// A row. `pc` is the address within its page.
#[must_use]
#[inline(always)]
pub const fn row(pc: u16, rule: u16) -> Row {
    (pc as u32) << 16 | rule as u32
}

/// The first address a row holds for, within its page.
#[must_use]
#[inline(always)]
pub const fn row_pc(row: Row) -> u16 {
    (row >> 16) as u16
}

/// Index of the row's rule.
#[must_use]
#[inline(always)]
pub const fn row_rule(row: Row) -> u16 {
    row as u16
}

/// An entry of the index: the page's first block and number of blocks.
#[must_use]
#[inline(always)]
pub const fn page_entry(first: u32, blocks: u8) -> u32 {
    first << 8 | blocks as u32
}

/// How the canonical frame address (the stack pointer before the call) is found:
/// [`Rule::cfa`]. Numbers of registers are DWARF's (System V ABI, AMD64, figure 3.36).
pub mod cfa {
    /// No rule: the binary says nothing about these addresses.
    pub const NONE: u8 = 0;
    /// `rsp + offset`.
    pub const RSP: u8 = 1;
    /// `rbp + offset`.
    pub const RBP: u8 = 2;
    /// `register + offset`; only known where the thread was interrupted.
    pub const REGISTER: u8 = 3;
    /// `*(rsp + offset) + add`.
    pub const RSP_DEREF: u8 = 4;
    /// `*(rbp + offset) + add`.
    pub const RBP_DEREF: u8 = 5;
    /// A stub of the procedure linkage table: `rsp + 8`, and 8 more once the stub has
    /// pushed, which is from byte `offset` of its 16 on.
    pub const PLT: u8 = 6;
    /// The outermost frame: there is no return address.
    pub const ROOT: u8 = 7;
    /// A signal trampoline: registers are in the `ucontext` at `rsp`.
    pub const SIGNAL: u8 = 8;
    /// The frame pointer chain: `*rbp` is the caller's, the return address above it.
    pub const FRAME_POINTER: u8 = 9;
    /// As [`FRAME_POINTER`], but only because nothing better is known.
    pub const GUESS: u8 = 10;
    /// A rule the sampling program does not know.
    pub const UNSUPPORTED: u8 = 11;
    /// As [`FRAME_POINTER`], from code that left its stack for another one: the caller's
    /// frame may lie anywhere.
    pub const OTHER_STACK: u8 = 12;
    /// Code on the stack of Go's scheduler, of which the caller is on the goroutine's:
    /// where that one stopped is in `m.curg.sched.sp`; see [`Goroutine`](super::Goroutine).
    pub const GOROUTINE: u8 = 13;
}

/// [`Rule::flags`].
pub mod rule_flags {
    /// Found out from the code itself, as the binary says nothing about it.
    pub const INFERRED: u8 = 1;
    /// [`cfa::GOROUTINE`](super::cfa::GOROUTINE): without a goroutine this is the outermost
    /// frame.
    pub const OR_ROOT: u8 = 1 << 1;
}

/// Where Go's runtime keeps what a rule of [`cfa::GOROUTINE`] needs, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Goroutine {
    /// From the thread's segment `fs` to its `g`.
    pub tls: i32,
    /// `g.m`.
    pub g_m: u16,
    /// `m.curg`.
    pub m_curg: u16,
    /// `g.sched.sp`.
    pub sched_sp: u16,
}

impl Goroutine {
    /// The rule; the canonical frame address is `above` bytes above `sched.sp`.
    #[must_use]
    pub const fn rule(self, above: u16) -> Rule {
        Rule {
            offset: self.tls,
            add: self.g_m as i32 | (self.m_curg as i32) << 16,
            rbp_offset: self.sched_sp as i32 | (above as i32) << 16,
            ..Rule::plain(cfa::GOROUTINE)
        }
    }
}

/// Where the caller's `rbp` is: [`Rule::rbp`].
pub mod rbp {
    /// Unchanged.
    pub const SAME: u8 = 0;
    /// At the canonical frame address plus offset.
    pub const CFA: u8 = 1;
    /// At `rbp + offset`.
    pub const RBP: u8 = 2;
    /// At `rsp + offset`.
    pub const RSP: u8 = 3;
}

/// How to get from a frame to its caller.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct Rule {
    /// One of [`cfa`].
    pub cfa: u8,
    /// Register of [`cfa::REGISTER`].
    pub register: u8,
    /// One of [`rbp`].
    pub rbp: u8,
    /// Bits of [`rule_flags`].
    pub flags: u8,
    /// Bytes.
    pub offset: i32,
    /// Bytes, added after a dereference.
    pub add: i32,
    /// Bytes.
    pub rbp_offset: i32,
}

impl Rule {
    /// A rule without offsets.
    #[must_use]
    pub const fn plain(cfa: u8) -> Self {
        Self {
            cfa,
            register: 0,
            rbp: 0,
            flags: 0,
            offset: 0,
            add: 0,
            rbp_offset: 0,
        }
    }
}

/// What is known of the code in a mapping: [`Mapping::kind`].
pub mod mapping_kind {
    /// Follow frame pointers: the binary has no rows.
    pub const FRAME_POINTERS: u32 = 1;
    /// Follow the rows of [`super::Mapping::table`].
    pub const ROWS: u32 = 2;
    /// Code made at run time; compilers for it keep frame pointers.
    pub const JIT: u32 = 3;
    /// The rows are being prepared.
    pub const PREPARING: u32 = 4;
}

/// An executable mapping of a process. Those of one process are neighbours, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub begin: u64,
    /// First address behind it.
    pub end: u64,
    /// Address within the table that `begin` stands for.
    pub offset: u64,
    /// Index of the table.
    pub table: u32,
    /// One of [`mapping_kind`].
    pub kind: u32,
}

/// A process whose stacks are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Process {
    /// Monotonic time, ns, at which the agent was asked for its mappings last.
    pub asked: u64,
    /// Index of its first mapping.
    pub first: u32,
    /// Number of its mappings.
    pub count: u32,
}

/// Read-only settings of the sampling program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Config {
    /// The agent's own process id.
    pub self_tgid: u32,
    /// Bits of [`config_flags`].
    pub flags: u32,
    /// Wake the agent when more than this many bytes wait in the ring.
    pub wakeup_bytes: u32,
    /// Offset of `task_struct.stack`.
    pub task_stack: u32,
    /// Offset of `task_struct.mm`.
    pub task_mm: u32,
    /// Offset of `task_struct.tgid`.
    pub task_tgid: u32,
    /// Size of a kernel stack, bytes.
    pub stack_bytes: u32,
    /// Offset of `task_struct.thread.fsbase`; 0 if it is not known.
    pub task_fsbase: u32,
}

/// [`Config::flags`].
pub mod config_flags {
    /// Only processes in the map of processes to sample.
    pub const BY_PROCESS: u32 = 1;
    /// Only cgroups in the map of cgroups to sample.
    pub const BY_CGROUP: u32 = 1 << 1;
    /// Only user stacks.
    pub const NO_KERNEL: u32 = 1 << 2;
    /// Do not sample the agent itself.
    pub const NOT_ITSELF: u32 = 1 << 3;
    /// Look up which request the thread serves.
    pub const REQUESTS: u32 = 1 << 4;
}

/// Why a user stack ends where it does: [`Sample::stop`].
pub mod stop {
    /// It is complete: the outermost frame was reached.
    pub const ROOT: u8 = 0;
    /// A kernel thread: there is no user stack.
    pub const NO_USER: u8 = 1;
    /// [`super::FRAMES`] were found and there are more.
    pub const DEPTH: u8 = 2;
    /// The process was seen for the first time.
    pub const NEW_PROCESS: u8 = 3;
    /// The address is in no mapping known.
    pub const NO_MAPPING: u8 = 4;
    /// The rows of the binary are being prepared.
    pub const PREPARING: u8 = 5;
    /// The binary says nothing about the address.
    pub const NO_ROW: u8 = 6;
    /// Stack memory that is not readable (swapped out, or a wrong address).
    pub const UNREADABLE: u8 = 7;
    /// The rule needs a register that is not known.
    pub const REGISTER: u8 = 8;
    /// The rule is of a kind that is not supported.
    pub const UNSUPPORTED: u8 = 9;
    /// The caller's frame is not above its callee's.
    pub const NO_PROGRESS: u8 = 10;
    /// The frame pointer does not point into the stack.
    pub const FRAME_POINTER: u8 = 11;
    /// A 32-bit process, or its registers were not found.
    pub const NO_REGISTERS: u8 = 12;
    /// The kernel did not let the program go on (tail calls).
    pub const TAIL_CALLS: u8 = 13;
    /// The frame pointer is 0 in code that says nothing about its frames: the outermost
    /// frame where frame pointers are kept, any number where they are not.
    pub const NO_FRAME: u8 = 14;
    /// Number of reasons.
    pub const COUNT: usize = 15;
    /// Names of the reasons, by number.
    pub const NAMES: [&str; COUNT] = [
        "root",
        "no_user_stack",
        "depth",
        "new_process",
        "no_mapping",
        "preparing",
        "no_unwind_row",
        "unreadable",
        "register",
        "unsupported_rule",
        "no_progress",
        "frame_pointer",
        "no_registers",
        "tail_calls",
        "no_frame_pointer",
    ];
}

/// [`Sample::flags`].
pub mod sample_flags {
    /// The thread was interrupted in the kernel.
    pub const KERNEL: u8 = 1;
    /// At least one frame was found by a frame pointer for want of anything better, or by
    /// a rule that is [`rule_flags::INFERRED`].
    pub const GUESSED: u8 = 1 << 1;
    /// `conn` and `request` are set.
    pub const REQUEST: u8 = 1 << 2;
}

/// A CPU sample. Its stack follows: `kernel` addresses, then `user` addresses, leaf
/// first, 8 bytes each. All but the first user address, and those next to a signal
/// frame, are return addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Sample {
    /// Kind [`Kind::SAMPLE`].
    pub header: Header,
    /// Monotonic time, ns.
    pub time: u64,
    /// Connection of the request the thread serves, if known.
    pub conn: u64,
    /// Cgroup v2 id.
    pub cgroup: u64,
    /// Index of the request on its connection.
    pub request: u32,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// Processor.
    pub cpu: u32,
    /// Name of the thread, NUL-padded.
    pub comm: [u8; 16],
    /// Number of kernel addresses.
    pub kernel: u8,
    /// Number of user addresses.
    pub user: u8,
    /// Why the user stack ends: one of [`stop`].
    pub stop: u8,
    /// Bits of [`sample_flags`].
    pub flags: u8,
    /// Bit `n` is set if user frame `n` (of the first 32) was interrupted rather than
    /// left by a call: its address is exact.
    pub exact: u32,
}

/// The mappings of a process are needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Wanted {
    /// Kind [`Kind::WANTED`].
    pub header: Header,
    /// Monotonic time, ns.
    pub time: u64,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// 0 if nothing is known of it, 1 if an address was in no mapping.
    pub stale: u32,
}

/// A process ended, or runs another program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Gone {
    /// Kind [`Kind::GONE`].
    pub header: Header,
    /// Monotonic time, ns.
    pub time: u64,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// 1 if it runs another program.
    pub exec: u32,
}

/// The request a thread serves: value of the map that tells, by thread id. A thread that
/// has received one request, and not more, whose response has not ended, serves that one as
/// far as the kernel can tell; whoever reads it may know better once it is known which
/// thread answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Serving {
    /// Connection of the request, as in its records; 0 if it is not known which of
    /// several is left.
    pub conn: u64,
    /// Index of the request on its connection.
    pub request: u32,
    /// Requests that the thread has received and that are not answered yet.
    pub active: u32,
}

/// Counters of the sampling program, one per CPU each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Counter {
    /// Runs of the program.
    Fired = 0,
    /// The processor was idle.
    Idle = 1,
    /// Left out by a filter.
    Filtered = 2,
    /// Written to the ring.
    Emitted = 3,
    /// Lost: the ring was full.
    RingFull = 4,
    /// Lost: the agent could not be asked for mappings, the ring was full.
    AskLost = 5,
    /// A process did not fit into the map of processes.
    ProcessesFull = 6,
}

/// Number of [`Counter`]s.
pub const COUNTERS: usize = 7;

// SAFETY: `repr(C)`, integers only, no padding: sizes asserted below.
unsafe impl Pod for Rule {}
// SAFETY: as above.
unsafe impl Pod for Mapping {}
// SAFETY: as above.
unsafe impl Pod for Process {}
// SAFETY: as above.
unsafe impl Pod for Config {}
// SAFETY: as above.
unsafe impl Pod for Sample {}
// SAFETY: as above.
unsafe impl Pod for Wanted {}
// SAFETY: as above.
unsafe impl Pod for Gone {}
// SAFETY: as above.
unsafe impl Pod for Serving {}

const _: () = {
    assert!(size_of::<Rule>() == 16);
    assert!(size_of::<Mapping>() == 32);
    assert!(size_of::<Process>() == 16);
    assert!(size_of::<Config>() == 32);
    assert!(size_of::<Sample>() == 72);
    assert!(size_of::<Wanted>() == 24);
    assert!(size_of::<Gone>() == 24);
    assert!(size_of::<Serving>() == 16);
    assert!(size_of::<Block>() == 1024);
};
