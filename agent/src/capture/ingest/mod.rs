//! From the ring buffer to typed records.

pub mod decode;
