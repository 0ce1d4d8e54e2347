//! See `portcullis_surfaces::component`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::component(bytes));
