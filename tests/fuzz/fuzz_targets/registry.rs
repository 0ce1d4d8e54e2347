//! See `portcullis_surfaces::registry`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::registry(bytes));
