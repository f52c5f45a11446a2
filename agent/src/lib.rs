//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.

pub mod capture;
pub mod exchange;
pub mod preflight;
