//! See `portcullis_surfaces::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::import(bytes));
