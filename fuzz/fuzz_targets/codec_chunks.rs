#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| waypost_fuzz::checks::codec_chunks(data));
