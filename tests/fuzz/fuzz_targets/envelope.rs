//! See `portcullis_surfaces::envelope`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::envelope(bytes));
