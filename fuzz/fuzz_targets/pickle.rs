//! Pickles alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = vaekit_checkpoint::pickle::Pickle::read(&bytes.to_vec(), 0);
});
