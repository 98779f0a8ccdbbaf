//! Damaged and hostile bytes: an error or a VAE, never a panic.

use std::fs;

use proptest::prelude::*;
use serde_json::json;
use vaekit::{Weights, from_config_json};
use vaekit_checkpoint::{CanonicalVae, Options, Source, StateDict};

use crate::write::{safetensors, tensors, torch_zip};

fn survive(name: &str, bytes: Vec<u8>) {
    let options = Options { allow_unknown_scaling: true, ..Options::default() };
    if let Ok(vae) = CanonicalVae::open(vec![Source::new(name, bytes.clone())], &options) {
        for (name, _) in vae.tensors().iter().take(4) {
            let _ = vae.read_f32(name);
        }
    }
    if let Ok(state) = StateDict::open(Source::new(name, bytes)) {
        for tensor in state.tensors().iter().take(4) {
            let _ = state.read_f32(&tensor.name);
        }
    }
}

/// Small files of each format, and where their headers lie.
fn files() -> Vec<Vec<u8>> {
    let config = json!({ "_class_name": "AutoencoderKL", "block_out_channels": [2], "norm_num_groups": 2, "latent_channels": 1 });
    let tensors = tensors(&from_config_json(&config).unwrap());
    let pickle = torch_zip(&tensors, false);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/bad/malicious.ckpt");
    let mut legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.".to_vec();
    legacy.extend(crate::write::PickleWriter::state_dict(&[crate::write::Pickled::new("a", "0", 0, &[1], &[1])]));
    legacy.extend(b"\x80\x02](X\x01\0\0\x000e.\x01\0\0\0\0\0\0\0\0\0\0\0");
    vec![safetensors(&tensors, &[]), pickle, torch_zip(&tensors, true), legacy, fs::read(fixture).unwrap()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutations(which in 0usize..5, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = files().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive("model.bin", bytes);
    }

    #[test]
    fn truncations(which in 0usize..5, at in any::<prop::sample::Index>()) {
        let mut bytes = files().swap_remove(which);
        bytes.truncate(at.index(bytes.len()));
        survive("model.bin", bytes);
    }

    #[test]
    fn pickles(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = vaekit_checkpoint::pickle::Pickle::read(&[b"\x80\x02".to_vec(), body].concat(), 0);
    }

    #[test]
    fn configs(text in "\\{(\"[a-z_]{1,20}\": ?(-?[0-9]{1,12}|null|\\[[0-9,]{0,9}\\]),?){0,4}\\}") {
        if let Ok(json) = serde_json::from_str(&text) {
            let _ = from_config_json(&json);
        }
    }
}
