//! Inputs to probe and to verify with: seeded, and the same bits on every machine.

use ndarray::{Array4, s};
use vaekit::{Domain, Half, LatentError, Latents, VaeConfig};

/// What a raw latent of unit scaled variance is multiplied with where the scaling is not known: that of SDXL, 1 / 0.13025,
/// the largest of the common VAEs.
const UNKNOWN_SCALE: f32 = 7.7;

/// SplitMix64 (Steele, Lea and Flood 2014), and normal values as sums of twelve uniform ones (Irwin and Hall): integer
/// arithmetic alone, so that no platform's logarithm or sine has a say.
#[derive(Clone, Debug)]
pub struct Noise {
    state: u64,
}

impl Noise {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Noise { state: seed }
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Mean 0, variance 1, at most 6 in magnitude.
    pub fn normal(&mut self) -> f32 {
        let words = [self.bits(), self.bits(), self.bits()];
        let sum: u64 = words.iter().flat_map(|word| [0, 16, 32, 48].map(|shift| (word >> shift) & 0xffff)).sum();
        // Each of the twelve is uniform over 0..=65535, with mean 32767.5.
        (sum as f32 - 12.0 * 32767.5) / 65536.0
    }
}

/// Channels of a half's input.
pub(crate) fn channels(config: &VaeConfig, half: Half) -> usize {
    match half {
        Half::Encoder => 3,
        Half::Decoder => config.latents.channels,
    }
}

/// Pixels a latent's side stands for, bounded so that a broken config asks for no huge image: DC-AE has the largest, 128.
pub(crate) fn factor(config: &VaeConfig) -> usize {
    config.latents.downsample_factor.clamp(1, 128)
}

/// An input to verify a graph with: batch 2 and odd sides, 5 by 7 in latents.
///
/// For the decoder native latents `[2, C, 5, 7]`, normal with unit scaled variance; for the encoder images
/// `[2, 3, 5f, 7f]` in [-1, 1], smooth with some noise.
///
/// # Errors
/// [`LatentError`] if the config's scaling does not fit its channels.
pub fn verification_input(config: &VaeConfig, half: Half, seed: u64) -> Result<Array4<f32>, LatentError> {
    let mut noise = Noise::new(seed);
    match half {
        Half::Encoder => {
            let (h, w) = (5 * factor(config), 7 * factor(config));
            let slopes: [f32; 6] = std::array::from_fn(|_| noise.uniform());
            Ok(Array4::from_shape_fn((2, 3, h, w), |(n, c, y, x)| {
                let (y, x) = (y as f32 / h as f32 - 0.5, x as f32 / w as f32 - 0.5);
                let smooth = slopes[c] * x + slopes[c + 3] * y + (n as f32 - 0.5) * x * y;
                (smooth + 0.3 * noise.uniform()).clamp(-1.0, 1.0)
            }))
        }
        Half::Decoder => {
            // Packed latents need even sides: make them so, and cut.
            let scaled = Array4::from_shape_simple_fn((2, config.latents.channels, 6, 8), || noise.normal());
            Ok(native(config, scaled)?.slice(s![.., .., ..5, ..7]).to_owned())
        }
    }
}

/// Scaled latents as the decoder takes them.
pub(crate) fn native(config: &VaeConfig, scaled: Array4<f32>) -> Result<Array4<f32>, LatentError> {
    let latents = &config.latents;
    if latents.native == Domain::Raw && latents.scaling.is_none() {
        return Ok(scaled * UNKNOWN_SCALE);
    }
    latents.to_native(Latents { data: scaled, domain: Domain::Scaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of the authors' splitmix64.c for seed 0.
    #[test]
    fn splitmix64() {
        let mut noise = Noise::new(0);
        assert_eq!([noise.bits(), noise.bits()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn moments() {
        let mut noise = Noise::new(7);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mut check = |draw: fn(&mut Noise) -> f32, variance: f64| {
            let values: Vec<f64> = (0..100_000).map(|_| draw(&mut noise).into()).collect();
            let squares: Vec<f64> = values.iter().map(|value| value * value).collect();
            assert!(mean(&values).abs() < 0.01);
            assert!((mean(&squares) - variance).abs() < 0.02);
        };
        check(Noise::uniform, 1.0 / 3.0);
        check(Noise::normal, 1.0);
    }
}
