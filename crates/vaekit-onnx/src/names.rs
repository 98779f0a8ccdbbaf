//! The names of inputs, outputs and axes: those that Hugging Face's Optimum exports.

use vaekit::{Half, VaeConfig};

/// An image, or what a decoder makes of latents: `[N, 3, H, W]`.
pub const SAMPLE: &str = "sample";
/// Latents: `[N, C, h, w]`.
pub const LATENT_SAMPLE: &str = "latent_sample";
/// Moments, mean and then log variance: `[N, 2C, h, w]`.
pub const LATENT_PARAMETERS: &str = "latent_parameters";

/// Name of a half's input.
pub(crate) fn input(half: Half) -> &'static str {
    match half {
        Half::Encoder => SAMPLE,
        Half::Decoder => LATENT_SAMPLE,
    }
}

/// Name of a half's output.
pub(crate) fn output(config: &VaeConfig, half: Half) -> &'static str {
    match half {
        Half::Encoder if config.has_posterior() => LATENT_PARAMETERS,
        Half::Encoder => LATENT_SAMPLE,
        Half::Decoder => SAMPLE,
    }
}

/// Channels of a half's input and output.
pub(crate) fn channels(config: &VaeConfig, half: Half) -> (usize, usize) {
    match half {
        Half::Encoder => (3, config.encoder_out_channels()),
        Half::Decoder => (config.latents.channels, 3),
    }
}

pub(crate) const BATCH: &str = "batch";
pub(crate) const IMAGE_SIDES: [&str; 2] = ["height", "width"];
pub(crate) const LATENT_SIDES: [&str; 2] = ["latent_height", "latent_width"];

/// Names of the spatial axes of a half's input and output.
pub(crate) fn sides(half: Half) -> ([&'static str; 2], [&'static str; 2]) {
    match half {
        Half::Encoder => (IMAGE_SIDES, LATENT_SIDES),
        Half::Decoder => (LATENT_SIDES, IMAGE_SIDES),
    }
}
