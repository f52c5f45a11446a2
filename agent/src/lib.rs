//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod exchange;
pub mod exit;
pub mod filter;
pub mod output;
pub mod signal;
pub mod text;

#[cfg(test)]
mod fixture;
