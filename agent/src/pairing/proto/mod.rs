//! What the bytes of a protocol say. No I/O and no clock.

pub mod grpc;
pub mod hpack;
pub mod http1;
pub mod http2;
