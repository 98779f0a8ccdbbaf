//! What each fuzz target does with its bytes. `tests/it/fuzz.rs` does the same with the fixtures and with damaged copies.

use std::io::Cursor;

use vaekit_checkpoint::pickle::Pickle;
use vaekit_checkpoint::{CanonicalVae, Options, Source, StateDict};
use vaekit_cpu::CpuSession;
use vaekit_hub::Registry;
use vaekit_latents::ReadOptions;
use vaekit_onnx::{Manifest, ModelInfo};

/// Checkpoints of any format, sniffed by content: safetensors, zip, legacy stream; and the VAE inferred from their tensors.
pub fn checkpoint(bytes: &[u8]) {
    let source = Source::new("fuzzed", bytes.to_vec());
    if let Ok(state) = StateDict::open(source.clone()) {
        for tensor in state.tensors().iter().take(8) {
            let _ = state.read_f32(&tensor.name);
        }
    }
    let _ = CanonicalVae::open(vec![source], &Options { allow_unknown_scaling: true, ..Options::default() });
}

/// Pickles alone.
pub fn pickle(bytes: &[u8]) {
    let _ = Pickle::read(&bytes.to_vec(), 0);
}

/// diffusers' config.json, and the layers it describes.
pub fn config_json(bytes: &[u8]) {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    if let Ok(config) = vaekit::from_config_json(&json) {
        let _ = vaekit::Half::BOTH.map(|half| vaekit::arch::layers(&config, half));
    }
}

/// Files of latents: .safetensors, .latent, .npy, .npz.
pub fn latents(bytes: &[u8]) {
    let _ = vaekit_latents::read("fuzzed", bytes, &ReadOptions::default());
    let tokens = ReadOptions { token_size: Some((64, 64)), ..ReadOptions::default() };
    let _ = vaekit_latents::read("fuzzed", bytes, &tokens);
}

/// What a model folder is read from: ONNX files and manifests.
pub fn model_folder(bytes: &[u8]) {
    let _ = ModelInfo::read(Cursor::new(bytes));
    let _ = Manifest::from_json(bytes);
}

/// A model.onnx as operations, and their fusing.
pub fn ops(bytes: &[u8]) {
    let one = vaekit_cpu::Options { threads: std::num::NonZero::new(1), ..vaekit_cpu::Options::default() };
    if let Ok(session) = CpuSession::open(Cursor::new(bytes), &one) {
        let _ = session.steps([4, 3, 5]);
    }
}

/// A registry of VAEs, as users write their own.
pub fn registry(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(registry) = Registry::parse(text) {
        let registry = Registry::builtin().with_users(registry);
        for entry in registry.entries() {
            assert!(registry.find(&entry.name).is_ok());
        }
    }
}
