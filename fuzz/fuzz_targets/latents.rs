//! Files of latents: .safetensors, .latent, .npy, .npz.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaekit_latents::{ReadOptions, read};

fuzz_target!(|bytes: &[u8]| {
    let _ = read("fuzzed", bytes, &ReadOptions::default());
    let _ = read("fuzzed", bytes, &ReadOptions { token_size: Some((64, 64)), ..ReadOptions::default() });
});
