//! Where exchanges enter the exporter, on the ingest thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::counters::{DropReason, ExportCounters, Snapshot};
use super::otlp::Encoder;
use crate::delivery::queue::{Queue, Refused};
use crate::model::exchange::{Exchange, Sink};

/// Receivers in the field refuse requests above 4 MiB: the most a request is meant to have.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;

/// A batch is closed this far below what it may have: the span that crosses the line, whose head
/// is at most 8 KiB a message, still fits.
const MARGIN: usize = 256 << 10;

/// The clock is read once in this many spans.
const CLOCK_INTERVAL: u32 = 64;

/// When a batch is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchLimits {
    /// At this many spans, at least 1.
    pub spans: usize,
    /// Before it has more bytes than this, or than [`MAX_REQUEST_BYTES`].
    pub bytes: usize,
    /// When its first span has waited this long.
    pub delay: Duration,
}

/// Encodes exchanges and queues them, without ever waiting. Dropping it queues what is open.
#[derive(Debug)]
pub struct OtlpSink {
    encoder: Encoder,
    limits: BatchLimits,
    /// Bytes at which a batch is closed.
    seal_at: usize,
    queue: Arc<dyn Queue>,
    counters: Arc<ExportCounters>,
    opened: Option<Instant>,
    until_clock: u32,
}

impl OtlpSink {
    /// A sink in front of `queue`.
    #[must_use]
    pub fn new(
        encoder: Encoder,
        limits: BatchLimits,
        queue: Arc<dyn Queue>,
        counters: Arc<ExportCounters>,
    ) -> Self {
        Self {
            encoder,
            seal_at: limits.bytes.min(MAX_REQUEST_BYTES).saturating_sub(MARGIN),
            limits,
            queue,
            counters,
            opened: None,
            until_clock: CLOCK_INTERVAL,
        }
    }

    /// Whether spans from now on say only what they must.
    pub fn set_brief(&mut self, brief: bool) {
        self.encoder.set_brief(brief);
    }

    /// Queues the open batch if it is old enough. To be called at least ten times a second,
    /// with or without traffic: the sink has no clock of its own.
    pub fn tick(&mut self) {
        if self
            .opened
            .is_some_and(|opened| opened.elapsed() >= self.limits.delay)
        {
            self.flush();
        }
    }

    /// Queues the open batch.
    pub fn flush(&mut self) {
        self.opened = None;
        self.until_clock = CLOCK_INTERVAL;
        let Some(batch) = self.encoder.seal() else {
            return;
        };
        enqueue(&*self.queue, &self.counters, batch);
    }
}

/// Queues a batch of accepted items, or counts them as dropped.
fn enqueue(queue: &dyn Queue, counters: &ExportCounters, batch: Batch) {
    let items = batch.items;
    // Counted first: as soon as it is in the queue, it may be taken out.
    counters.enqueued(items);
    if let Err(refused) = queue.try_push(batch) {
        let reason = match refused {
            Refused::Full => DropReason::QueueFull,
            Refused::Closed => DropReason::Shutdown,
        };
        counters.refused(items, reason);
    }
}

/// Where encoded batches of a signal enter, without ever waiting.
#[derive(Clone, Debug)]
pub struct BatchSink {
    queue: Arc<dyn Queue>,
    counters: Arc<ExportCounters>,
}

impl BatchSink {
    /// A sink in front of `queue`.
    #[must_use]
    pub fn new(queue: Arc<dyn Queue>, counters: Arc<ExportCounters>) -> Self {
        Self { queue, counters }
    }

    /// Queues a batch.
    pub fn push(&self, batch: Batch) {
        self.counters.accept_many(batch.items);
        enqueue(&*self.queue, &self.counters, batch);
    }

    /// What became of the items.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot()
    }
}

impl Sink for OtlpSink {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        self.encoder.push(exchange);
        self.counters.accept();
        if self.encoder.len() >= self.limits.spans || self.encoder.bytes() >= self.seal_at {
            self.flush();
            return;
        }
        self.until_clock -= 1;
        if self.until_clock == 0 {
            self.until_clock = CLOCK_INTERVAL;
            self.tick();
        }
    }
}

impl Drop for OtlpSink {
    fn drop(&mut self) {
        self.flush();
    }
}
