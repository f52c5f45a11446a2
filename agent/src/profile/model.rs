//! A CPU profile: samples of stacks, with everything they refer to held once.
//!
//! Whoever takes samples fills a [`Builder`]; whoever writes a format reads a
//! [`Profile`]. References are indices into the tables of the same profile. Index 0
//! of the strings is the empty string, which stands for "not known".

mod build;
mod ledger;
#[cfg(test)]
mod tests;

pub use build::{Builder, Full, Limits};
pub use ledger::{Ledger, Loss, Stop, Unwinding};

use crate::model::exchange::ProcessInfo;
use std::sync::Arc;

/// Frames of one stack, kernel and user together, inlined functions not counted.
pub const MAX_FRAMES: usize = 256;

/// What was sampled, and when.
#[derive(Clone, PartialEq, Debug)]
pub struct Profile {
    /// Begin of sampling, wall clock, ns since 1970.
    pub start_unix_ns: u64,
    /// How long was sampled, ns.
    pub duration_ns: u64,
    /// CPU time that one sample stands for, ns; 0 if samples are not of time
    /// ([`Event::Cycles`]).
    pub period_ns: u64,
    /// What made the CPU take samples.
    pub event: Event,
    /// Names; the first is the empty string.
    pub strings: Vec<Box<str>>,
    /// Mapped files.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Places in code.
    pub locations: Vec<Location>,
    /// Stacks.
    pub stacks: Vec<Stack>,
    /// Processes that were sampled.
    pub processes: Vec<Process>,
    /// Their threads that were sampled.
    pub threads: Vec<Thread>,
    /// Samples; no two with the same [`SampleKey`].
    pub samples: Vec<Sample>,
    /// Where every sample went.
    pub ledger: Ledger,
}

/// The clock that samples are taken by.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Default, Debug, serde::Serialize, serde::Deserialize,
)]
pub enum Event {
    /// The kernel's software clock of CPU time.
    #[default]
    CpuClock,
    /// The CPU's cycle counter. How long a cycle takes changes with the CPU's clock, so
    /// these samples are of cycles and not of time.
    Cycles {
        /// Cycles from one sample to the next.
        period: u64,
    },
}

impl Event {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuClock => "cpu-clock",
            Self::Cycles { .. } => "cycles",
        }
    }
}

macro_rules! index {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        pub struct $name(pub u32);

        impl $name {
            /// The place in its table.
            #[must_use]
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

index! {
    /// Index of a string.
    StringId
    /// Index of a [`Mapping`].
    MappingId
    /// Index of a [`Function`].
    FunctionId
    /// Index of a [`Location`].
    LocationId
    /// Index of a [`Stack`].
    StackId
    /// Index of a [`Process`].
    ProcessId
    /// Index of a [`Thread`].
    ThreadId
}

impl StringId {
    /// The empty string: not known.
    pub const NONE: Self = Self(0);

    /// Whether something is known.
    #[must_use]
    pub fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// A file (or `[kernel]`, `[vdso]`) mapped into memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mapping {
    /// Path of the file as the process sees it, or a name in brackets.
    pub file: StringId,
    /// GNU build id in lower-case hexadecimal.
    pub build_id: StringId,
    /// First address.
    pub start: u64,
    /// Behind the last address; at least `start`.
    pub end: u64,
    /// Place in the file of the first address, bytes.
    pub offset: u64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Function {
    /// Name for people, demangled.
    pub name: StringId,
    /// Name in the symbol table; not known if it is the same as `name`.
    pub system_name: StringId,
    /// Source file.
    pub file: StringId,
    /// First line in the source file; 0 if not known.
    pub line: u32,
}

/// What code is at a location.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Machine code of a file.
    Native,
    /// The kernel, modules included.
    Kernel,
    /// Machine code that a runtime made.
    Jit,
    /// A function that an interpreter runs.
    Interpreted,
    /// Not known: an address outside of what is mapped.
    Unknown,
}

impl Kind {
    /// The name used in output: the values of `profile.frame.type` in the
    /// OpenTelemetry semantic conventions, as far as they exist.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kernel => "kernel",
            Self::Jit => "jit",
            Self::Interpreted => "interpreted",
            Self::Unknown => "unknown",
        }
    }
}

/// A place in code.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Location {
    /// What code this is.
    pub kind: Kind,
    /// The mapping that holds the address, if it is known.
    pub mapping: Option<MappingId>,
    /// Address of the instruction, within the mapping: of the interrupted one in a
    /// leaf, of one within the call in a caller (return address - 1).
    pub address: u64,
    /// Functions at this address: inlined ones first, the one that was called last.
    /// Empty if no symbol is known.
    pub lines: Box<[Line]>,
}

/// A function at a location.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Line {
    /// The function.
    pub function: FunctionId,
    /// Line in the source file; 0 if not known.
    pub line: u32,
    /// Column; 0 if not known.
    pub column: u32,
}

/// A stack.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Stack {
    /// Leaf first; kernel frames before user frames. May be empty.
    pub frames: Box<[LocationId]>,
    /// Why it does not reach its root.
    pub stop: Option<Stop>,
}

/// A sampled process.
#[derive(Clone, PartialEq, Debug)]
pub struct Process {
    /// Pid, names, container. `info.id` is not used here.
    pub info: Arc<ProcessInfo>,
    /// When it started, ns since boot: tells two processes with one pid apart. 0 if not
    /// known.
    pub started_ns: u64,
    /// How its stacks were unwound. Kept up by [`Builder::sample`].
    pub unwinding: Unwinding,
    /// Samples of it that were lost.
    pub lost: u64,
}

/// A sampled thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Thread {
    /// Its process.
    pub process: ProcessId,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// The thread's own name; not known if it is the process's.
    pub name: StringId,
}

/// A span: what was served when a sample was taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link {
    /// W3C trace id; not all zero.
    pub trace_id: [u8; 16],
    /// Span id; not all zero.
    pub span_id: [u8; 8],
}

/// The identity of a sample.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SampleKey {
    /// The stack.
    pub stack: StackId,
    /// The thread it was taken from.
    pub thread: ThreadId,
    /// Method of the request that the thread served.
    pub method: StringId,
    /// Route of that request (`http.route`), or its path where no route is known.
    pub route: StringId,
    /// Span of that request.
    pub link: Option<Link>,
}

/// Samples with the same identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// What they have in common.
    pub key: SampleKey,
    /// How many; at least 1.
    pub count: u64,
    /// When, ns since 1970: none, or one for each.
    pub times: Vec<u64>,
}

impl Profile {
    /// A string; empty if not known.
    #[must_use]
    pub fn string(&self, id: StringId) -> &str {
        self.strings.get(id.index()).map_or("", |text| text)
    }

    /// The stack of a sample.
    #[must_use]
    pub fn stack(&self, sample: &Sample) -> &Stack {
        &self.stacks[sample.key.stack.index()]
    }

    /// The thread of a sample.
    #[must_use]
    pub fn thread(&self, sample: &Sample) -> &Thread {
        &self.threads[sample.key.thread.index()]
    }

    /// The process of a sample.
    #[must_use]
    pub fn process(&self, sample: &Sample) -> &Process {
        &self.processes[self.thread(sample).process.index()]
    }

    /// CPU time of so many samples, ns; `None` if they are not of time.
    #[must_use]
    pub fn cpu_ns(&self, samples: u64) -> Option<u64> {
        match self.event {
            Event::CpuClock => Some(samples.saturating_mul(self.period_ns)),
            Event::Cycles { .. } => None,
        }
    }

    /// What so many samples stand for: nanoseconds of CPU time, or cycles.
    #[must_use]
    pub fn value(&self, samples: u64) -> u64 {
        samples.saturating_mul(self.period())
    }

    /// What one sample stands for: nanoseconds of CPU time, or cycles.
    #[must_use]
    pub fn period(&self) -> u64 {
        match self.event {
            Event::CpuClock => self.period_ns,
            Event::Cycles { period } => period,
        }
    }

    /// Samples in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.samples.iter().map(|sample| sample.count).sum()
    }
}
