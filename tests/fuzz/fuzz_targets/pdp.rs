//! See `portcullis_surfaces::pdp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::pdp(bytes));
