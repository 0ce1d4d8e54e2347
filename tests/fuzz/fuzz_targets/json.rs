//! See `portcullis_surfaces::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::json(bytes));
