//! See `portcullis_surfaces::proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::proxy(bytes));
