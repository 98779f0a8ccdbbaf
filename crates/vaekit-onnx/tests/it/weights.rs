//! Weights that follow from a tensor's name.

use std::collections::HashMap;

use vaekit::arch::tensors;
use vaekit::{Half, VaeConfig, Weights, WeightsError};

/// Weights in (-1, 1) that depend on nothing but a tensor's name, with some values replaced.
pub(crate) struct Seeded {
    lengths: HashMap<String, usize>,
    /// The first value of these tensors.
    pub(crate) first: HashMap<String, f32>,
}

impl Seeded {
    /// For the tensors of a config.
    pub(crate) fn new(config: &VaeConfig) -> Self {
        let tensors = Half::BOTH.into_iter().flat_map(|half| tensors(config, half));
        Seeded { lengths: tensors.map(|(name, shape)| (name, shape.iter().product())).collect(), first: HashMap::new() }
    }
}

impl Weights for Seeded {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let missing = || WeightsError { name: name.into(), reason: "not there".into() };
        let length = *self.lengths.get(name).ok_or_else(missing)?;
        // FNV-1a of the name, then xorshift64.
        let mut state = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        let mut values: Vec<f32> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .take(length)
        .collect();
        if let Some(&first) = self.first.get(name) {
            values[0] = first;
        }
        Ok(values)
    }
}
