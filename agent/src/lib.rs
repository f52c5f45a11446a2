//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conn;
pub mod demo;
pub mod discovery;
pub mod exchange;
pub mod exit;
pub mod export;
pub mod filter;
pub mod ingest;
pub mod ledger;
pub mod output;
pub mod preflight;
pub mod proto;
pub mod queue;
pub mod recording;
pub mod replay;
pub mod signal;
pub mod span;
pub mod telemetry;
pub mod text;

#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "../tests/support/stream.rs"]
mod stream;
