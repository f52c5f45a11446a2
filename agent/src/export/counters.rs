//! What became of every span: the export side of the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
}

impl DropReason {
    /// All reasons, in the order of [`Snapshot::dropped`].
    pub const ALL: [Self; 4] = [
        Self::QueueFull,
        Self::Rejected,
        Self::RetryExhausted,
        Self::Shutdown,
    ];

    /// The name used in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::RetryExhausted => "retry_exhausted",
            Self::Shutdown => "shutdown",
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
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    sealed: u64,
    queued: u64,
    in_flight: u64,
    delivered: u64,
    dropped: [u64; 4],
}

/// The counters at one moment. All but the last three count spans.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Snapshot {
    /// Handed to the exporter.
    pub accepted: u64,
    /// Acknowledged by the gateway.
    pub delivered: u64,
    /// Given up, by [`DropReason`].
    pub dropped: [u64; 4],
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
        self.accepted.fetch_add(1, Ordering::Relaxed);
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

    /// A request is sent, for the first time or again.
    pub fn request(&self, repeated: bool) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.retries
            .fetch_add(u64::from(repeated), Ordering::Relaxed);
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
            accepted,
            delivered: flow.delivered,
            dropped: flow.dropped,
            queued: open + flow.queued + flow.in_flight,
            in_flight: flow.in_flight,
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
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
        assert_eq!(snapshot.dropped, [30, 3, 15, 5]);
        assert_eq!(snapshot.delivered, 37);
        assert_eq!(snapshot.bytes, 4000);
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
