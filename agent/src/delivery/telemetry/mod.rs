//! The agent about itself: what it uses, what it lost, whether it works.
//!
//! Nothing listens unless the user asks for it (`--listen`).

pub mod export;
pub mod memory;
pub mod metrics;
mod openmetrics;
pub mod sampling;
pub mod server;
mod text;
pub mod usage;
