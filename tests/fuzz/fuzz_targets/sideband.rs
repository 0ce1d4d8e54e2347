//! See `portcullis_surfaces::sideband`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| portcullis_surfaces::sideband(bytes));
