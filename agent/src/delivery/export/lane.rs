//! What there is of each signal: a queue, its spool, and its accounts.
//!
//! Signals share the exporter's thread and nothing else, so that none can push out another, and
//! whatever is lost is counted in its own unit.

use std::sync::Arc;

use super::batch::Signal;
use super::counters::ExportCounters;
use super::sink::BatchSink;
use super::target::{Target, Way};
use crate::delivery::queue::Queue;

/// A signal on its way out.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Which one.
    pub signal: Signal,
    /// What waits.
    pub queue: Arc<dyn Queue>,
    /// What became of it.
    pub counters: Arc<ExportCounters>,
    /// Names of its endpoints, without secrets, the preferred one first.
    pub endpoints: Arc<[String]>,
}

impl Lane {
    pub(super) fn new(signal: Signal, queue: &Arc<dyn Queue>, way: &Way) -> Self {
        let names = way.targets.iter().map(Target::name).map(str::to_owned);
        Self {
            signal,
            queue: Arc::clone(queue),
            counters: Arc::clone(&way.counters),
            endpoints: names.collect(),
        }
    }

    /// Where batches of it enter.
    #[must_use]
    pub fn sink(&self) -> BatchSink {
        BatchSink::new(Arc::clone(&self.queue), Arc::clone(&self.counters))
    }
}

/// A signal's part of what all of them may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    memory: u8,
    disk: u8,
}

impl Share {
    /// Memory is dealt out in sevenths, disk in eighths: so some pieces of a round of metrics and
    /// a profiles request of the largest size fit into their parts of the least memory, and a
    /// spool of the least size has room for one of each signal.
    const MEMORY: u8 = 7;
    const DISK: u8 = 8;

    /// The part of a signal where these are exported. Spans have what others leave.
    #[must_use]
    pub fn of(signal: Signal, active: &[Signal]) -> Self {
        let fixed = |signal| match signal {
            Signal::Traces => (0, 0),
            Signal::Metrics => (1, 1),
            Signal::Profiles => (2, 1),
        };
        let (memory, disk) = match signal {
            Signal::Traces => active.iter().map(|it| fixed(*it)).fold(
                (Self::MEMORY, Self::DISK),
                |(memory, disk), (less, smaller)| (memory - less, disk - smaller),
            ),
            other => fixed(other),
        };
        Self { memory, disk }
    }

    /// Bytes of the memory of all signals that are its own.
    #[must_use]
    pub const fn of_memory(self, all: usize) -> usize {
        all * self.memory as usize / Self::MEMORY as usize
    }

    /// Bytes of the disk, likewise.
    #[must_use]
    pub const fn of_disk(self, all: u64) -> u64 {
        all * self.disk as u64 / Self::DISK as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::memory::{MEMORY_LIMIT, MemoryShares};
    use crate::config::spool::SPOOL_BYTES;
    use crate::delivery::export::sink::MAX_REQUEST_BYTES;
    use crate::delivery::queue::spool::MIN_BYTES;

    /// Requests of metrics are pieces of some 384 KiB, however many series there are.
    const PIECE_BYTES: usize = 384 << 10;

    #[test]
    fn shares_add_up_and_hold_the_largest_requests() {
        for active in [
            &Signal::ALL[..1],
            &Signal::ALL[..2],
            &Signal::ALL[..],
            &[Signal::Traces, Signal::Profiles],
        ] {
            let shares = active.iter().map(|signal| Share::of(*signal, active));
            let disk: u64 = shares.clone().map(|it| it.of_disk(SPOOL_BYTES.0)).sum();
            assert_eq!(disk, SPOOL_BYTES.0, "{active:?}");
            assert!(shares.clone().all(|it| it.of_disk(disk) >= MIN_BYTES));
            for limit in [MEMORY_LIMIT.0, MEMORY_LIMIT.1] {
                let all = MemoryShares::of(limit).queue;
                let memory = shares.clone().map(|it| it.of_memory(all));
                assert_eq!(memory.clone().sum::<usize>(), all, "{active:?}");
                for (signal, bytes) in active.iter().zip(memory) {
                    let largest = match signal {
                        Signal::Metrics => 4 * PIECE_BYTES,
                        Signal::Traces | Signal::Profiles => MAX_REQUEST_BYTES,
                    };
                    assert!(bytes >= largest, "{signal:?} of {limit}");
                }
            }
        }
        let alone = Share::of(Signal::Traces, &[Signal::Traces]);
        assert_eq!(alone.of_memory(50_000), 50_000);
    }
}
