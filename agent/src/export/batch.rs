//! What travels from the encoder to the exporters.

use bytes::Bytes;

/// Which OTLP service a batch is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Signal {
    /// `opentelemetry.proto.collector.trace.v1.TraceService`.
    Traces,
    /// `opentelemetry.proto.collector.metrics.v1.MetricsService`.
    Metrics,
}

/// An encoded export request.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which request it is.
    pub signal: Signal,
    /// Spans (or data points) in it.
    pub items: u64,
    /// The encoded `Export…ServiceRequest`.
    pub body: Bytes,
}
