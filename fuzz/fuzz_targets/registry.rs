#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| vaekit_fuzz::registry(bytes));
