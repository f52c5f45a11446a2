//! What travels from the encoder to the exporters.

use bytes::Bytes;

pub use crate::model::telemetry::Signal;

/// An encoded export request.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which request it is.
    pub signal: Signal,
    /// Spans (or data points, or profiles) in it.
    pub items: u64,
    /// The encoded `Export…ServiceRequest`.
    pub body: Bytes,
}
