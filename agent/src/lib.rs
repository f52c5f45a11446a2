//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.

pub mod clock;
pub mod conn;
pub mod exchange;
pub mod ingest;
pub mod ledger;
pub mod proto;
pub mod recording;
pub mod replay;
pub mod span;

#[cfg(test)]
#[path = "../tests/support/stream.rs"]
mod stream;
