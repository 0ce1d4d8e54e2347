//! See `portcullis_surfaces::suite`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::suite(bytes));
