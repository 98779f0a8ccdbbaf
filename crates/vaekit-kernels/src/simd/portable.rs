//! Sixteen lanes as an array: what every processor can do, and as fast as the compiler makes it.

use super::Simd;
use crate::layout::{Block, LANES};

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Portable {
    #[inline(always)]
    fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
        std::array::from_fn(|i| f(a[i], b[i]))
    }
}

impl Simd for Portable {
    type V = [f32; LANES];
    type Wide = [f64; LANES];

    const ROWS: usize = 3;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::V {
        from.0
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut Block) {
        to.0 = v;
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        Self::zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V {
        Self::zip(m, x, |m, x| f32::from_bits(m.to_bits().max(x.abs().to_bits())))
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        // Adding 1.5 * 2^23 leaves no bits for a fraction: the sum is rounded to an integer.
        const SHIFT: f32 = 12_582_912.0;
        std::array::from_fn(|i| (v[i] + SHIFT) - SHIFT)
    }

    #[inline(always)]
    fn exp2_integral(self, n: Self::V) -> Self::V {
        // The sum's lowest bits hold n plus the exponent's bias, which the shift moves into the exponent.
        const SHIFT: f32 = 12_582_912.0 + 127.0;
        std::array::from_fn(|i| f32::from_bits((n[i] + SHIFT).to_bits() << 23))
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> Self::Wide {
        v.map(f64::from)
    }

    #[inline(always)]
    fn narrow(self, v: Self::Wide) -> Self::V {
        v.map(|lane| lane as f32)
    }

    #[inline(always)]
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide {
        a.map(|lane| lane * by)
    }

    #[inline(always)]
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide {
        std::array::from_fn(|i| a[i] * by + c[i])
    }
}
