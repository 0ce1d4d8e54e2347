//! See `portcullis_surfaces::proof`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::proof(bytes));
