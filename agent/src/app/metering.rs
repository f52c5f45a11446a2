//! RED metrics on their way to the gateway, beside the spans: with a queue of their own, so
//! that neither waits for the other.

use std::time::{Duration, Instant};

use crate::config::otel::OtelSettings;
use crate::export::batch::{Batch, Signal};
use crate::export::counters::{DropReason, Snapshot};
use crate::export::exporter::{Destination, ExportSettings, Exporter, StartError};
use crate::export::resource::HostResource;
use crate::metrics::Registry;
use crate::metrics::otlp::Encoder;
use crate::queue::Refused;

/// Exports metrics, one round after each interval.
pub(super) struct Metering {
    encoder: Encoder,
    exporter: Exporter,
    interval: Duration,
    last: Instant,
}

impl Metering {
    /// Starts to export. So many bytes are held while the gateway is away: the latest rounds
    /// are lost then.
    pub(super) fn start(
        spans: &ExportSettings,
        otel: &OtelSettings,
        host: HostResource,
        queue_bytes: usize,
    ) -> Result<Self, StartError> {
        let mut settings = spans.clone();
        settings.destination = Destination::Gateway(otel.metrics.clone());
        settings.queue_bytes = queue_bytes;
        // Another way out, and what is left in a spool by an earlier run are spans.
        settings.profiles = None;
        settings.failover = Vec::new();
        settings.spool = None;
        // Counted in data points, of which one request has many; the bytes are the bound.
        settings.batch.queue_spans = u64::MAX;
        let (exporter, _) = Exporter::start(settings)?;
        Ok(Self {
            encoder: Encoder::new(host),
            exporter,
            interval: otel.metrics_export.interval,
            last: Instant::now(),
        })
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
        self.piece(registry, now_ns);
    }

    fn piece(&mut self, registry: &mut Registry, now_ns: u64) {
        let Some(piece) = self.encoder.next(registry, now_ns) else {
            return;
        };
        let counters = self.exporter.counters();
        for _ in 0..piece.points {
            counters.accept();
        }
        counters.enqueued(piece.points);
        let batch = Batch {
            signal: Signal::Metrics,
            items: piece.points,
            body: piece.body.into(),
        };
        if let Err(refused) = self.exporter.queue().try_push(batch) {
            let reason = match refused {
                Refused::Full => DropReason::QueueFull,
                Refused::Closed => DropReason::Shutdown,
            };
            counters.refused(piece.points, reason);
        }
    }

    /// Exports everything a last time, and waits for it for at most `limit`.
    pub(super) fn finish(
        mut self,
        registry: &mut Registry,
        now_ns: u64,
        limit: Duration,
    ) -> Snapshot {
        while self.encoder.is_busy() {
            self.piece(registry, now_ns);
        }
        self.encoder.begin();
        while self.encoder.is_busy() {
            self.piece(registry, now_ns);
        }
        self.exporter.shutdown(limit)
    }
}
