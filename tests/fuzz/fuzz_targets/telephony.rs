//! See `portcullis_surfaces::telephony`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::telephony(bytes));
