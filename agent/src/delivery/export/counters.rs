//! What became of every span: the export side of the ledger.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::breaker::Circuit;

/// Why spans did not reach the gateway.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// The queue had no room.
    QueueFull,
    /// The gateway refused them for good, wholly or in part.
    Rejected,
    /// The gateway could not be reached, or was too busy, for too long.
    RetryExhausted,
    /// The agent had to end before they were delivered.
    Shutdown,
    /// The spool had reached its cap, and they were the oldest in it.
    SpoolFull,
    /// Their bytes in the spool are damaged.
    SpoolCorrupt,
    /// Their files, or the spool's whole directory, were removed.
    SpoolMissing,
}

impl DropReason {
    /// All reasons, in the order of [`Snapshot::dropped`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::QueueFull,
        Self::Rejected,
        Self::RetryExhausted,
        Self::Shutdown,
        Self::SpoolFull,
        Self::SpoolCorrupt,
        Self::SpoolMissing,
    ];
    /// How many there are.
    pub const COUNT: usize = 7;

    /// The name used in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::RetryExhausted => "retry_exhausted",
            Self::Shutdown => "shutdown",
            Self::SpoolFull => "spool_full",
            Self::SpoolCorrupt => "spool_corrupt",
            Self::SpoolMissing => "spool_missing",
        }
    }
}

/// Counters of one exporter. Counting a span costs one atomic addition; all else is
/// counted once a batch, under a lock, so that a [`Snapshot`] adds up at any moment:
/// `accepted == delivered + dropped + queued`.
#[derive(Debug, Default)]
pub struct ExportCounters {
    accepted: AtomicU64,
    flow: Mutex<Flow>,
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    circuits: [AtomicU8; MAX_TARGETS],
    /// The fields of [`Pacing`].
    pacing: [AtomicU64; 3],
    failovers: AtomicU64,
}

/// Endpoints at most: the preferred one and those behind it.
pub const MAX_TARGETS: usize = 8;

/// How much is sent at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Pacing {
    /// Requests under way or about to be repeated.
    pub in_flight: u64,
    /// How many there may be.
    pub limit: u64,
    /// Bytes up to which waiting batches are put into one request.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    sealed: u64,
    recovered: u64,
    queued: u64,
    in_flight: u64,
    delivered: u64,
    dropped: [u64; DropReason::COUNT],
}

/// The counters at one moment. All up to [`Self::in_flight`] count
/// spans (or data points, or profiles).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Handed to the exporter, and recovered.
    pub accepted: u64,
    /// Those of [`Self::accepted`] that an earlier run of the agent left in the spool.
    pub recovered: u64,
    /// Acknowledged by the gateway.
    pub delivered: u64,
    /// Given up, by [`DropReason`].
    pub dropped: [u64; DropReason::COUNT],
    /// On the way: in the open batch, in the queue, in flight.
    pub queued: u64,
    /// Those of [`Self::queued`] that are being sent.
    pub in_flight: u64,
    /// Requests sent, repeated ones included.
    pub requests: u64,
    /// Requests that repeated an earlier one.
    pub retries: u64,
    /// Bytes of request bodies acknowledged, before compression.
    pub bytes: u64,
    /// Requests that went to another endpoint than the preferred one.
    pub failovers: u64,
    /// The circuits to the endpoints, in order of preference.
    pub circuits: [Circuit; MAX_TARGETS],
    /// How much is sent at once.
    pub pace: Pacing,
}

impl Snapshot {
    /// Spans given up for this reason.
    #[must_use]
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped
            .get(reason as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Spans given up.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Whether every span is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.accepted == self.delivered + self.dropped_total() + self.queued
    }
}

impl ExportCounters {
    /// A span was handed over.
    #[inline]
    pub fn accept(&self) {
        self.accept_many(1);
    }

    /// Items were handed over.
    #[inline]
    pub fn accept_many(&self, items: u64) {
        self.accepted.fetch_add(items, Ordering::Relaxed);
    }

    /// Accepted spans left the open batch for the queue.
    pub fn enqueued(&self, items: u64) {
        let mut flow = self.flow();
        flow.sealed += items;
        flow.queued += items;
    }

    /// Spans counted as queued were refused by the queue.
    pub fn refused(&self, items: u64, reason: DropReason) {
        let mut flow = self.flow();
        flow.queued = flow.queued.saturating_sub(items);
        flow.lose(items, reason);
    }

    /// Spans left the queue to be sent.
    pub fn taken(&self, items: u64) {
        let mut flow = self.flow();
        flow.queued = flow.queued.saturating_sub(items);
        flow.in_flight += items;
    }

    /// Spans being sent were acknowledged, all but `rejected` of them.
    pub fn delivered(&self, items: u64, rejected: u64, bytes: usize) {
        let mut flow = self.flow();
        let rejected = rejected.min(items);
        flow.in_flight = flow.in_flight.saturating_sub(items);
        flow.delivered += items - rejected;
        flow.lose(rejected, DropReason::Rejected);
        drop(flow);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Spans being sent were given up.
    pub fn given_up(&self, items: u64, reason: DropReason) {
        let mut flow = self.flow();
        flow.in_flight = flow.in_flight.saturating_sub(items);
        flow.lose(items, reason);
    }

    /// Spans being sent go back to what waits.
    pub fn returned(&self, items: u64) {
        let mut flow = self.flow();
        flow.in_flight = flow.in_flight.saturating_sub(items);
        flow.queued += items;
    }

    /// Spans that an earlier run of the agent left wait again.
    pub fn recovered(&self, items: u64) {
        let mut flow = self.flow();
        flow.recovered += items;
        flow.queued += items;
    }

    /// Spans that waited are lost.
    pub fn lost_queued(&self, items: u64, reason: DropReason) {
        if items > 0 {
            let mut flow = self.flow();
            flow.queued = flow.queued.saturating_sub(items);
            flow.lose(items, reason);
        }
    }

    /// A request is sent, for the first time or again.
    pub fn request(&self, repeated: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.retries
            .fetch_add(u64::from(repeated), Ordering::Relaxed);
    }

    /// A request goes to the endpoint at this place of the list.
    pub fn target(&self, index: usize) {
        let elsewhere = u64::from(index > 0);
        self.failovers.fetch_add(elsewhere, Ordering::Relaxed);
    }

    /// The circuit of an endpoint changed, or did not.
    pub fn circuit(&self, index: usize, circuit: Circuit) {
        if let Some(slot) = self.circuits.get(index) {
            slot.store(circuit as u8, Ordering::Relaxed);
        }
    }

    /// How much is sent at once changed, or did not.
    pub fn pacing(&self, pacing: Pacing) {
        let values = [pacing.in_flight, pacing.limit, pacing.bytes];
        for (slot, value) in self.pacing.iter().zip(values) {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// All counters, consistent with each other as far as spans go.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let flow = self.flow();
        // Spans are accepted before they are sealed, by the one thread that does both:
        // what was accepted and not sealed is in the open batch.
        let accepted = self.accepted.load(Ordering::Acquire);
        let open = accepted.saturating_sub(flow.sealed);
        Snapshot {
            accepted: accepted + flow.recovered,
            recovered: flow.recovered,
            delivered: flow.delivered,
            dropped: flow.dropped,
            queued: open + flow.queued + flow.in_flight,
            in_flight: flow.in_flight,
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failovers: self.failovers.load(Ordering::Relaxed),
            circuits: self.circuits.each_ref().map(|circuit| {
                match circuit.load(Ordering::Relaxed) {
                    1 => Circuit::HalfOpen,
                    2 => Circuit::Open,
                    _ => Circuit::Closed,
                }
            }),
            pace: Pacing {
                in_flight: self.pacing[0].load(Ordering::Relaxed),
                limit: self.pacing[1].load(Ordering::Relaxed),
                bytes: self.pacing[2].load(Ordering::Relaxed),
            },
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flow {
    fn lose(&mut self, items: u64, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += items;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transition_balances() {
        let counters = ExportCounters::default();
        for _ in 0..100 {
            counters.accept();
        }
        let check = |queued, in_flight| {
            let snapshot = counters.snapshot();
            assert!(snapshot.balances(), "{snapshot:?}");
            assert_eq!((snapshot.queued, snapshot.in_flight), (queued, in_flight));
        };
        check(100, 0);
        counters.enqueued(60);
        check(100, 0);
        counters.enqueued(30);
        check(100, 0);
        counters.refused(30, DropReason::QueueFull);
        check(70, 0);
        counters.taken(60);
        check(70, 60);
        counters.delivered(40, 3, 4000);
        check(30, 20);
        counters.given_up(15, DropReason::RetryExhausted);
        counters.given_up(5, DropReason::Shutdown);
        check(10, 0);
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.dropped, [30, 3, 15, 5, 0, 0, 0]);
        assert_eq!(snapshot.delivered, 37);
        assert_eq!(snapshot.bytes, 4000);
        counters.recovered(100);
        check(110, 0);
        counters.taken(100);
        counters.returned(90);
        check(110, 10);
        counters.lost_queued(80, DropReason::SpoolFull);
        check(30, 10);
        assert_eq!(counters.snapshot().accepted, 200);
    }

    #[test]
    fn a_gateway_cannot_reject_more_than_it_got() {
        let counters = ExportCounters::default();
        counters.accept();
        counters.enqueued(1);
        counters.taken(1);
        counters.delivered(1, u64::MAX, 1);
        assert!(counters.snapshot().balances());
        assert_eq!(counters.snapshot().dropped_for(DropReason::Rejected), 1);
    }
}
