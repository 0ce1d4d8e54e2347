//! See `portcullis_surfaces::saml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::saml(bytes));
