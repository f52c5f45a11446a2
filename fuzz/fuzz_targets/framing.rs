//! One direction of a connection, as the kernel programs frame it.
#![no_main]

#[path = "../../agent/tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::framing(data));
