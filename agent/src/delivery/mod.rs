//! Spans, metrics and profiles on their way to a gateway: encoding and sending
//! ([`export`]), waiting in memory and on disk ([`queue`]), and what the agent tells of
//! itself ([`telemetry`]).

pub mod export;
pub mod queue;
pub mod telemetry;
