//! See `portcullis_surfaces::authzen`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::authzen(bytes));
