//! See `portcullis_surfaces::generic`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::generic(bytes));
