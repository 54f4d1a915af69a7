#![no_main]
//! Bytes from outside are a frame or a typed error, and never a panic.

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::checks::wire_decode(data));
