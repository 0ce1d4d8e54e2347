//! See `portcullis_surfaces::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::token(bytes));
