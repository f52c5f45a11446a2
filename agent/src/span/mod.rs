//! From an [`Exchange`](crate::exchange::Exchange) to the attributes of a span, as the
//! OpenTelemetry semantic conventions for HTTP (version 1.41) name them.

pub mod attrs;
pub mod authority;
pub mod method;
pub mod wire;
