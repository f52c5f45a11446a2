//! Words that every stage may use: what an exchange is, ids, clocks, exit codes, text. They
//! know nothing of the flow.

pub mod clock;
pub mod exchange;
pub mod exit;
pub mod ids;
pub mod processes;
pub mod seldom;
pub mod signal;
pub mod telemetry;
pub mod text;
