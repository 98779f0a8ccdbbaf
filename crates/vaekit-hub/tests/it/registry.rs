//! The built-in registry against what the checkpoint reader knows.

use vaekit::Scaling;
use vaekit_checkpoint::scaling::PRESETS;
use vaekit_hub::{Family, Registry};

#[test]
fn each_scaling_is_the_checkpoint_readers() {
    let registry = Registry::builtin();
    for entry in registry.entries() {
        let Some(scaling_factor) = entry.scaling_factor else {
            // FLUX.2's statistics are in the checkpoint; Wan and Qwen-Image have statistics alone, and vaekit does not run them.
            let elsewhere = [Family::KlFlux2, Family::Taef2, Family::KlWan, Family::KlQwenImage];
            assert!(elsewhere.contains(&entry.family), "{} has no scaling", entry.name);
            continue;
        };
        let scaling = match (&entry.latents_mean, &entry.latents_std) {
            (Some(mean), Some(std)) => Scaling::PerChannel { mean: mean.clone(), std: std.clone(), scaling_factor },
            _ => Scaling::Affine { scaling_factor, shift_factor: entry.shift_factor.unwrap_or(0.0) },
        };
        let known =
            PRESETS.iter().any(|preset| preset.channels == entry.latent_channels && preset.scaling() == scaling);
        assert!(known, "{}: {scaling}", entry.name);
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
