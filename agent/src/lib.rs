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
pub mod metrics;
pub mod output;
pub mod preflight;
pub mod profile;
pub mod proto;
pub mod queue;
pub mod recording;
pub mod replay;
pub mod route;
pub mod sampling;
pub mod seldom;
pub mod signal;
pub mod span;
pub mod telemetry;
pub mod text;

#[cfg(test)]
extern crate self as remora;
#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "../tests/support/frames.rs"]
mod frames;
#[cfg(test)]
#[path = "../tests/support/profile.rs"]
mod sample_profile;
#[cfg(test)]
#[path = "../tests/support/stream.rs"]
mod stream;
