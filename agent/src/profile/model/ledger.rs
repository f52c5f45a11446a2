//! Where every sample went, and how stacks were unwound.

/// Why a sample did not get into the profile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Loss {
    /// The ring buffer had no room.
    RingFull,
    /// The kernel program could not store it, or the kernel left the program out.
    Kernel,
    /// A record could not be understood.
    Decode,
    /// The profile reached its memory limit.
    ProfileFull,
}

impl Loss {
    /// All of them, in the order of [`Loss::name`]s in output.
    pub const ALL: [Self; 4] = [
        Self::RingFull,
        Self::Kernel,
        Self::Decode,
        Self::ProfileFull,
    ];

    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Kernel => "kernel",
            Self::Decode => "decode",
            Self::ProfileFull => "profile_full",
        }
    }
}

/// Why a stack does not reach its root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stop {
    /// More frames than are followed.
    TooDeep,
    /// No unwind rows were there yet: the binary had just been mapped.
    NotReady,
    /// The file has no unwind information for this address.
    NoRows,
    /// The unwind information uses an expression that is not followed.
    Unsupported,
    /// An address outside of every known mapping.
    NoMapping,
    /// The stack's memory could not be read.
    Unreadable,
    /// Code of a runtime without frame pointers.
    Jit,
    /// The chain does not make sense: the stack pointer did not grow, or a frame is not
    /// on the stack.
    Corrupt,
    /// A table had no room for this binary or process.
    NoRoom,
    /// Not known.
    Other,
}

impl Stop {
    /// All of them, in declaration order: `ALL[stop as usize] == stop`.
    pub const ALL: [Self; 10] = [
        Self::TooDeep,
        Self::NotReady,
        Self::NoRows,
        Self::Unsupported,
        Self::NoMapping,
        Self::Unreadable,
        Self::Jit,
        Self::Corrupt,
        Self::NoRoom,
        Self::Other,
    ];

    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TooDeep => "too_deep",
            Self::NotReady => "not_ready",
            Self::NoRows => "no_rows",
            Self::Unsupported => "unsupported",
            Self::NoMapping => "no_mapping",
            Self::Unreadable => "unreadable",
            Self::Jit => "jit",
            Self::Corrupt => "corrupt",
            Self::NoRoom => "no_room",
            Self::Other => "other",
        }
    }
}

/// How the stacks of a process were unwound, in samples.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Unwinding {
    /// Stacks that reach their root.
    pub complete: u64,
    /// Stacks that do not, by [`Stop`].
    pub stopped: [u64; Stop::ALL.len()],
}

impl Unwinding {
    /// Counts stacks.
    pub fn add(&mut self, stop: Option<Stop>, count: u64) {
        match stop {
            None => self.complete += count,
            Some(stop) => self.stopped[stop as usize] += count,
        }
    }

    /// Adds up two.
    pub fn merge(&mut self, other: &Self) {
        self.complete += other.complete;
        for (sum, count) in self.stopped.iter_mut().zip(other.stopped) {
            *sum += count;
        }
    }

    /// Stacks in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.complete + self.stopped.iter().sum::<u64>()
    }

    /// Share of stacks that reach their root, 0 to 1; `None` without stacks.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    pub fn success(&self) -> Option<f64> {
        let total = self.total();
        (total > 0).then(|| self.complete as f64 / total as f64)
    }

    /// Reasons with their counts, those that occurred.
    pub fn reasons(&self) -> impl Iterator<Item = (Stop, u64)> {
        let pairs = Stop::ALL.into_iter().zip(self.stopped);
        pairs.filter(|&(_, count)| count > 0)
    }
}

/// All counts of a profile, in samples: `seen == emitted + lost`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ledger {
    /// Samples that the CPU took and the filters let through.
    pub seen: u64,
    /// Samples in the profile. Kept up by the builder.
    pub emitted: u64,
    /// Samples lost, by [`Loss`]. Kept up by the builder.
    pub lost: [u64; Loss::ALL.len()],
    /// Samples lost on each CPU, as far as the kernel says.
    pub lost_per_cpu: Vec<u64>,
    /// Samples that carry the request their thread served.
    pub tagged: u64,
    /// Samples of threads that served no request, or more than one.
    pub untagged: u64,
}

impl Ledger {
    /// Samples lost for any reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.iter().sum()
    }

    /// Whether every sample is accounted for.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.seen == self.emitted + self.lost()
    }
}
