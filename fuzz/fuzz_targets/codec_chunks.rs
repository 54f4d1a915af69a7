#![no_main]
//! The codec gives the same frames however the bytes come.

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::checks::codec_chunks(data));
