//! The fuzz targets on the fixtures, and on damaged copies of them: what fuzzing would find first is found in every test run,
//! and a target that no longer compiles too.

use std::fs;
use std::path::PathBuf;

use vaekit::Half;
use vaekit_tests::fixtures::{FIXTURES, folder, root};

use crate::tiles::converted;

#[expect(unreachable_pub, reason = "it is also a library of its own")]
#[path = "../../fuzz/targets.rs"]
mod targets;

/// Damaged copies of each file.
const COPIES: usize = 100;
/// Headers, and zip's directory, lie at a file's ends.
const ENDS: usize = 4096;

/// Runs a target on files, and on copies with a few bytes changed, or cut off.
fn attack(target: fn(&[u8]), files: impl IntoIterator<Item = PathBuf>) {
    let mut state = 1u64;
    let mut random = |below: usize| {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    for file in files {
        let bytes = fs::read(&file).unwrap();
        target(&bytes);
        for _ in 0..COPIES {
            let mut damaged = bytes.clone();
            for _ in 0..=random(3) {
                let near = random(ENDS.min(bytes.len()));
                let at = if random(2) == 0 { near } else { bytes.len().saturating_sub(near + 1) };
                match damaged.get_mut(at) {
                    Some(byte) => *byte = random(256) as u8,
                    None => damaged.push(random(256) as u8),
                }
            }
            if random(8) == 0 {
                damaged.truncate(random(bytes.len()));
            }
            target(&damaged);
        }
    }
}

#[test]
fn checkpoints() {
    let bad = ["malicious.ckpt", "missing-tensor.safetensors"].map(|name| folder("bad").join(name));
    let good = FIXTURES.iter().flat_map(|fixture| fixture.paths());
    attack(targets::checkpoint, good.chain(bad.clone()));
    attack(targets::pickle, bad);
}

#[test]
fn models() {
    let (_temporary, model) = converted(&folder("kl-diffusers").join("diffusion_pytorch_model.safetensors"));
    let decoder = model.model(Half::Decoder).unwrap().path.clone();
    attack(targets::ops, [decoder.clone()]);
    attack(targets::model_folder, [decoder, model.path().join("vaekit.json")]);
}

#[test]
fn texts() {
    let configs = FIXTURES.iter().map(|fixture| folder(fixture.name).join("config.json"));
    attack(targets::config_json, configs.filter(|config| config.exists()));
    attack(targets::registry, [root().join("models").join("registry.toml")]);
}

#[test]
fn latents() {
    attack(targets::latents, FIXTURES.iter().map(|fixture| folder(fixture.name).join("expect.safetensors")));
}
