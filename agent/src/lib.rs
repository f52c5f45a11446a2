//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.

pub mod config;
pub mod exchange;
pub mod export;
pub mod queue;
pub mod span;
pub mod telemetry;
