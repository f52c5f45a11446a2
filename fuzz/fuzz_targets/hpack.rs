//! Header blocks of one direction of a connection.
#![no_main]

#[path = "../../agent/tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::hpack(data));
