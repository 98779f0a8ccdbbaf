//! The built-in registry against what the checkpoint reader knows.

use std::path::Path;

use vaekit::Scaling;
use vaekit_checkpoint::scaling::PRESETS;
use vaekit_checkpoint::{CanonicalVae, Options, Source};
use vaekit_hub::{Entry, Family, Registry};

/// The scaling that the registry says, if it does.
fn scaling(entry: &Entry) -> Option<Scaling> {
    let scaling_factor = entry.scaling_factor?;
    Some(match (&entry.latents_mean, &entry.latents_std) {
        (Some(mean), Some(std)) => Scaling::PerChannel { mean: mean.clone(), std: std.clone(), scaling_factor },
        _ => Scaling::Affine { scaling_factor, shift_factor: entry.shift_factor.unwrap_or(0.0) },
    })
}

#[test]
fn each_scaling_is_the_checkpoint_readers() {
    let registry = Registry::builtin();
    for entry in registry.entries() {
        let Some(scaling) = scaling(entry) else {
            // FLUX.2's statistics are in the checkpoint; Wan and Qwen-Image have statistics alone, and vaekit does not run them.
            let elsewhere = [Family::KlFlux2, Family::Taef2, Family::KlWan, Family::KlQwenImage];
            assert!(elsewhere.contains(&entry.family), "{} has no scaling", entry.name);
            continue;
        };
        let known =
            PRESETS.iter().any(|preset| preset.channels == entry.latent_channels && preset.scaling() == scaling);
        assert!(known, "{}: {scaling}", entry.name);
    }
}

/// What the checkpoint reader learns of a file with this name and hash alone, whose network is any with so many channels.
fn learned(name: &str, sha256: Option<&str>, channels: usize) -> Option<Scaling> {
    let fixture = match channels {
        4 => "kl-ldm-f16/model.safetensors",
        16 => "flux1-like/diffusion_pytorch_model.safetensors",
        _ => panic!("no fixture has {channels} channels"),
    };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    let mut source = Source::new(name, std::fs::read(fixtures.join(fixture)).unwrap());
    source.sha256 = sha256.map(str::to_owned);
    let options = Options { allow_unknown_scaling: true, ..Options::default() };
    CanonicalVae::open(vec![source], &options).unwrap().config().latents.scaling.clone()
}

/// What is fetched is opened as any checkpoint: the registry's scaling of vaekit's own entries goes no further.
#[test]
fn the_checkpoint_reader_learns_the_scaling_of_each_fetched_vae() {
    for entry in Registry::builtin().entries().iter().filter(|entry| entry.family.runs()) {
        // Without one, the statistics are among the weights.
        let Some(expected) = scaling(entry) else { continue };
        let has_config = entry.files.iter().any(|file| !file.is_weights());
        for file in entry.files.iter().filter(|file| file.is_weights()) {
            let name = file.path.as_str().rsplit('/').next().unwrap();
            let found = match &file.sha256 {
                // A name can be changed, so that the hash has to do.
                Some(hash) => learned("any.safetensors", Some(hash.as_str()), entry.latent_channels),
                None if has_config => continue,
                None => learned(name, None, entry.latent_channels),
            };
            assert_eq!(found.as_ref(), Some(&expected), "{} of {}", file.path, entry.name);
        }
        for copy in &entry.copies {
            let Some(hash) = &copy.sha256 else { continue };
            let found = learned("any.safetensors", Some(hash.as_str()), entry.latent_channels);
            assert_eq!(found.as_ref(), Some(&expected), "{} of {}", copy.path, entry.name);
        }
    }
}

#[test]
fn no_size_is_less_than_the_weights_need() {
    // Elements of each network, counted on built models, at 2 bytes where half precision is published, else at 4.
    let least = |family, channels| match (family, channels) {
        (Family::Kl, 4) => 83_653_863 * 2,
        (Family::Kl, 16) => 83_819_683 * 2,
        (Family::KlFlux2, 32) => 62_373_348 * 4,
        (Family::Tiny, 4) => 2_445_063 * 4,
        (Family::Tiny, 16) => 2_458_899 * 4,
        _ => 0,
    };
    for entry in Registry::builtin().entries() {
        for file in entry.files.iter().filter(|file| file.is_weights()) {
            let least = least(entry.family, entry.latent_channels);
            assert!(file.size.is_none_or(|size| size > least), "{}", entry.name);
        }
    }
}
