//! Who is behind a process id, and which host this is.
//!
//! Everything here comes from files that other programs control: sizes are bounded,
//! nothing is taken for granted, and of a process's environment only what
//! OpenTelemetry defines is ever looked at.

mod container;
mod environment;
pub mod host;
mod procfs;
mod resolver;
mod service;

pub use resolver::ProcessResolver;
