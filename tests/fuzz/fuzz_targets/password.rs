//! See `portcullis_surfaces::password`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::password(bytes));
