//! How large each activation gets, for the fp16 plan.

use std::collections::BTreeMap;

use ndarray::{Array4, Axis, s};
use vaekit::{Half, VaeConfig, Weights};

use crate::inputs::{self, Noise};
use crate::{Reference, ReferenceError};

/// Pixels on the side of a probing image, about.
const SIDE: usize = 96;
/// Seed of the probing noise.
const SEED: u64 = 0x5eed;

/// Runs one half in f32 on probing inputs and gives the largest magnitude of each activation over all of them, under the
/// names of [`Observer`](crate::Observer); NaN or infinite where an activation is. `progress` is told how many of how many
/// inputs are done.
///
/// The inputs are seeded and about 96 by 96 pixels (12 by 12 latents at factor 8):
/// - for the encoder white noise, colour gradients, a checkerboard of black and white, black, and white;
/// - for the decoder normal latents of 1 and of 2.5 times unit scaled variance, latents of which each quarter holds its own
///   constants of ±3 in scaled terms, and, where the VAE has an encoder, what it makes of the gradients and the checkerboard.
///
/// Probing is no bound: leave headroom for pictures that reach further.
///
/// # Errors
/// [`ReferenceError`].
pub fn probe_ranges(
    config: &VaeConfig,
    weights: &dyn Weights,
    half: Half,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<BTreeMap<String, f32>, ReferenceError> {
    let reference = Reference::<f32>::new(config, weights);
    let inputs = match half {
        Half::Encoder => images(config).to_vec(),
        Half::Decoder => latents(config, &reference)?,
    };
    let mut ranges = BTreeMap::new();
    for (done, input) in inputs.iter().enumerate() {
        progress(done, inputs.len());
        reference.observe(half, input.view(), &mut |name, max_abs| {
            let range = ranges.entry(name.to_owned()).or_insert(0.0);
            *range = crate::real::larger(*range, max_abs);
        })?;
    }
    progress(inputs.len(), inputs.len());
    Ok(ranges)
}

/// Noise, gradients, checkerboard, black, white: `[1, 3, S, S]`.
fn images(config: &VaeConfig) -> [Array4<f32>; 5] {
    let factor = inputs::factor(config);
    // Packed latents need even sides.
    let side = (SIDE / factor).next_multiple_of(2).max(2) * factor;
    let image = |f: &mut dyn FnMut(usize, usize, usize) -> f32| {
        Array4::from_shape_fn((1, 3, side, side), |(_, channel, y, x)| f(channel, y, x))
    };
    let mut noise = Noise::new(SEED);
    let ramp = |i: usize| 2.0 * i as f32 / (side - 1) as f32 - 1.0;
    [
        image(&mut |_, _, _| noise.uniform()),
        image(&mut |channel, y, x| [ramp(x), ramp(y), -ramp(x)][channel]),
        image(&mut |_, y, x| if (y / 4 + x / 4) % 2 == 0 { 1.0 } else { -1.0 }),
        image(&mut |_, _, _| -1.0),
        image(&mut |_, _, _| 1.0),
    ]
}

fn latents(config: &VaeConfig, reference: &Reference<'_, f32>) -> Result<Vec<Array4<f32>>, ReferenceError> {
    let images = images(config);
    let side = images[0].len_of(Axis(2)) / inputs::factor(config);
    let shape = (1, config.latents.channels, side, side);
    let mut noise = Noise::new(SEED);
    let normal = Array4::from_shape_simple_fn(shape, || noise.normal());
    let wild = &normal * 2.5;
    let mut quarters = Array4::zeros(shape);
    for mut quarter in quarters.exact_chunks_mut((1, 1, side / 2, side / 2)) {
        quarter.fill(if noise.uniform() < 0.0 { -3.0 } else { 3.0 });
    }
    let mut latents = [normal, wild, quarters]
        .map(|scaled| inputs::native(config, scaled))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    if config.has(Half::Encoder) {
        for image in &images[1..3] {
            let encoded = reference.encode(image.view())?;
            latents.push(if config.has_posterior() {
                encoded.slice(s![.., ..config.latents.channels, .., ..]).to_owned()
            } else {
                encoded
            });
        }
    }
    Ok(latents)
}
