//! RED metrics on their way to the gateway, beside the spans.

use std::time::{Duration, Instant};

use crate::deciding::metrics::Registry;
use crate::deciding::metrics::otlp::Encoder;
use crate::delivery::export::batch::{Batch, Signal};
use crate::delivery::export::sink::BatchSink;
use crate::span::resource::HostResource;

/// Exports metrics, one round after each interval.
pub(super) struct Metering {
    encoder: Encoder,
    sink: BatchSink,
    interval: Duration,
    last: Instant,
}

impl Metering {
    /// Begins the first interval.
    pub(super) fn new(sink: BatchSink, interval: Duration, host: HostResource) -> Self {
        Self {
            encoder: Encoder::new(host),
            sink,
            interval,
            last: Instant::now(),
        }
    }

    /// Whether a round is due; begins it.
    pub(super) fn begins(&mut self) -> bool {
        let due = self.last.elapsed() >= self.interval && !self.encoder.is_busy();
        if due {
            self.last = Instant::now();
            self.encoder.begin();
        }
        due
    }

    /// Exports a piece of the round under way, if there is one. To be called often.
    pub(super) fn tick(&mut self, registry: &mut Registry, now_ns: u64) {
        if let Some(piece) = self.encoder.next(registry, now_ns) {
            self.sink.push(Batch {
                signal: Signal::Metrics,
                items: piece.points,
                body: piece.body.into(),
            });
        }
    }

    /// Exports everything a last time.
    pub(super) fn finish(mut self, registry: &mut Registry, now_ns: u64) {
        while self.encoder.is_busy() {
            self.tick(registry, now_ns);
        }
        self.encoder.begin();
        while self.encoder.is_busy() {
            self.tick(registry, now_ns);
        }
    }
}
