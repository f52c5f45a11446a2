//! HTTP/2 frames of both directions of a connection.
#![no_main]

#[path = "../../agent/tests/support/hostile.rs"]
mod hostile;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::http2(data));
