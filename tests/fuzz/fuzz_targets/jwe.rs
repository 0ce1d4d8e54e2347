//! See `portcullis_surfaces::jwe`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::jwe(bytes));
