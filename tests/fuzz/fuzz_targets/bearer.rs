//! See `portcullis_surfaces::bearer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::bearer(bytes));
