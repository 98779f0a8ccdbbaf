//! Checkpoints of any format, sniffed by content: safetensors, zip, legacy stream; and the VAE inferred from their tensors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vaekit_checkpoint::{CanonicalVae, Options, Source, StateDict};

fuzz_target!(|bytes: &[u8]| {
    let source = Source::new("fuzzed", bytes.to_vec());
    if let Ok(state) = StateDict::open(source.clone()) {
        for tensor in state.tensors().iter().take(8) {
            let _ = state.read_f32(&tensor.name);
        }
    }
    let _ = CanonicalVae::open(vec![source], &Options { allow_unknown_scaling: true, ..Options::default() });
});
