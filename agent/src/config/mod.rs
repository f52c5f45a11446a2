//! What the user asked for.

pub mod otel;
