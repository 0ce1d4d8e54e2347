//! See `portcullis_surfaces::note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::note(bytes));
