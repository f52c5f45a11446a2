//! From an [`Exchange`](crate::model::exchange::Exchange) to a span: its ids and its context, and
//! its attributes as the OpenTelemetry semantic conventions for HTTP (version 1.41) name
//! them.

pub mod attrs;
pub mod authority;
mod ip;
pub mod keys;
pub mod method;
pub mod resource;
pub mod wire;
