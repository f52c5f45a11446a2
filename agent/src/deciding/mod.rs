//! What is decided about an exchange: whether it was asked for ([`filter`]), of what kind it
//! is ([`route`]), how it counts ([`metrics`]), and whether its span is kept
//! ([`sampling`]). None of them knows a clock.

pub mod filter;
pub mod metrics;
pub mod route;
pub mod sampling;
