//! One record from the ring buffer.
#![no_main]

#[path = "../../agent/tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::decode(data));
