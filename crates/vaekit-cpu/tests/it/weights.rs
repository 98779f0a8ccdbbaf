//! Weights and inputs, kind and unkind.

use std::collections::HashMap;

use vaekit::{Half, VaeConfig, Weights, WeightsError, arch};
use vaekit_reference::Noise;

/// What weights look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// As initialised: variance 1 / fan-in.
    Random,
    /// One in a hundred is thirty times as large, as after training.
    HeavyTails,
    /// All of one sign, so that sums do not cancel and activations lie far from zero.
    Offset,
    /// Neighbouring taps cancel: small sums of large terms.
    Cancelling,
}

pub(crate) struct Made(HashMap<String, Vec<f32>>);

pub(crate) fn weights(config: &VaeConfig, kind: Kind, seed: u64) -> Made {
    let mut noise = Noise::new(seed);
    let mut made = HashMap::new();
    for (name, shape) in Half::BOTH.into_iter().flat_map(|half| arch::tensors(config, half)) {
        let count = shape.iter().product::<usize>();
        let fan_in: usize = shape.iter().skip(1).product();
        let values = match (name.ends_with(".weight"), shape.len()) {
            // Of a normalisation.
            (true, 1) => (0..count).map(|_| 1.0 + 0.2 * noise.normal()).collect(),
            (false, _) => (0..count).map(|_| 0.1 * noise.normal()).collect(),
            (true, _) => (0..count).map(|i| value(kind, i, &mut noise) / (fan_in as f32).sqrt()).collect(),
        };
        made.insert(name, values);
    }
    Made(made)
}

fn value(kind: Kind, i: usize, noise: &mut Noise) -> f32 {
    let x = noise.normal();
    match kind {
        Kind::Random => x,
        Kind::HeavyTails if noise.uniform().abs() < 0.01 => 30.0 * x,
        Kind::HeavyTails => x,
        Kind::Offset => x.abs(),
        Kind::Cancelling => (if i.is_multiple_of(2) { 8.0 } else { -8.0 }) + x,
    }
}

impl Weights for Made {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        Ok(self.0[name].clone())
    }
}
