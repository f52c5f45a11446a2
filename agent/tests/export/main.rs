//! Export: spans as bytes, and their way to a gateway, against real receivers.

mod encode;
mod sample;
