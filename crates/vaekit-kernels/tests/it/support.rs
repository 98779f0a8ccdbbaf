//! Made-up numbers and comparisons.

use vaekit_kernels::layout::{Block, Shape, View, pack, unpack};

/// Numbers of mean 0 and variance 1, in a bell, the same for the same seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<f32> {
    // SplitMix64 (Steele et al., 2014); twelve uniform numbers add up to a variance of 1 (Irwin and Hall).
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

/// A weight whose outputs have the variance of its inputs.
pub(crate) fn weight(seed: u64, outputs: usize, fan_in: usize) -> Vec<f32> {
    let scale = 1.0 / (fan_in as f32).sqrt();
    noise(seed, outputs * fan_in).iter().map(|w| w * scale).collect()
}

/// A picture in blocks, from planar values.
pub(crate) struct Picture {
    pub(crate) shape: Shape,
    pub(crate) blocks: Vec<Block>,
}

impl Picture {
    pub(crate) fn new(shape: Shape, planar: &[f32]) -> Self {
        let mut blocks = vec![Block::ZERO; shape.blocks()];
        pack(shape, planar, &mut blocks);
        Self { shape, blocks }
    }

    /// A picture to be written to, full of what must not survive.
    pub(crate) fn unwritten(shape: Shape) -> Self {
        Self { shape, blocks: vec![Block([f32::NAN; 16]); shape.blocks()] }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View::new(self.shape, &self.blocks)
    }

    pub(crate) fn planar(&self) -> Vec<f32> {
        let mut planar = vec![0.0; self.shape.channels * self.shape.pixels()];
        unpack(self.view(), &mut planar);
        planar
    }
}

/// Asserts that `found` is within `tolerance * (1 + |expected|)` of `expected` everywhere, and not finite where that
/// is not.
#[track_caller]
pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of values");
    let wrong = |(f, e): (&f32, &f64)| {
        let far = (f64::from(*f) - e).abs() > tolerance * (1.0 + e.abs());
        if e.is_finite() { far || !f.is_finite() } else { f.is_finite() }
    };
    let count = found.iter().zip(expected).filter(|&p| wrong(p)).count();
    if let Some(first) = found.iter().zip(expected).position(wrong) {
        let largest = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
        let (f, e, n) = (found[first], expected[first], found.len());
        panic!("{what}: {count} of {n} values differ by up to {largest:e}; the first, {first}: {f}, expected {e}");
    }
}
