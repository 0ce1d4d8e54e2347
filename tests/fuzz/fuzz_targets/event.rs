//! See `portcullis_surfaces::event`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::event(bytes));
