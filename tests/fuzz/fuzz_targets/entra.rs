//! See `portcullis_surfaces::entra`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::entra(bytes));
