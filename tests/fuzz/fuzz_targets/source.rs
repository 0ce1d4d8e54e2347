//! See `portcullis_surfaces::source`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::source(bytes));
