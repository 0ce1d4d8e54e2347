//! See `portcullis_surfaces::registration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::registration(bytes));
