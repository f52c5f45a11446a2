//! The captured head of a message.
#![no_main]

#[path = "../../agent/tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::http1_head(data));
