//! What the bytes of a protocol say. No I/O, no clock, no state.

pub mod http1;
