//! WebAssembly's 128-bit SIMD: four registers for sixteen lanes. A module built with `+relaxed-simd` fuses multiply-adds
//! where the engine's processor can; without it they are rounded twice.

use std::arch::wasm32::*;

use super::Simd;
use crate::layout::Block;

/// The name of the level.
pub(super) const NAME: &str = if cfg!(target_feature = "relaxed-simd") { "relaxed-simd" } else { "simd128" };

/// The instructions are part of the module: where they are missing, it does not load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wasm;

/// Applies an intrinsic to each quarter.
macro_rules! quarters {
    ($f:path, $($v:expr),+) => {
        [$f($($v[0]),+), $f($($v[1]),+), $f($($v[2]),+), $f($($v[3]),+)]
    };
}

#[inline(always)]
fn mul_add(a: v128, b: v128, c: v128) -> v128 {
    #[cfg(target_feature = "relaxed-simd")]
    return f32x4_relaxed_madd(a, b, c);
    #[cfg(not(target_feature = "relaxed-simd"))]
    f32x4_add(f32x4_mul(a, b), c)
}

#[inline(always)]
fn max_magnitude(m: v128, x: v128) -> v128 {
    u32x4_max(m, f32x4_abs(x))
}

#[inline(always)]
fn exp2_integral(n: v128) -> v128 {
    i32x4_shl(i32x4_add(i32x4_trunc_sat_f32x4(n), i32x4_splat(127)), 23)
}

impl Simd for Wasm {
    type V = [v128; 4];
    type Wide = [v128; 8];

    // Eight sums, four columns and a broadcast: what x86-64's sixteen registers hold without spilling, which costs more than
    // the additional loads. With three rows a product took twice as long.
    const ROWS: usize = 2;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::V {
        let at = from.0.as_ptr().cast::<v128>();
        // SAFETY: a block is sixteen f32, four times the 16 bytes that are read, and WebAssembly asks for no alignment.
        unsafe { [v128_load(at), v128_load(at.add(1)), v128_load(at.add(2)), v128_load(at.add(3))] }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut Block) {
        let at = to.0.as_mut_ptr().cast::<v128>();
        // SAFETY: a block is sixteen f32, four times the 16 bytes that are written, and is borrowed mutably.
        unsafe {
            v128_store(at, v[0]);
            v128_store(at.add(1), v[1]);
            v128_store(at.add(2), v[2]);
            v128_store(at.add(3), v[3]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(f32x4_add, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(f32x4_sub, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(f32x4_mul, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(f32x4_div, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quarters!(mul_add, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // b < a ? a : b, one instruction of most processors.
        quarters!(f32x4_pmax, b, a)
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        // a < b ? a : b.
        quarters!(f32x4_pmin, b, a)
    }

    #[inline(always)]
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V {
        quarters!(max_magnitude, m, x)
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        quarters!(f32x4_nearest, v)
    }

    #[inline(always)]
    fn exp2_integral(self, n: Self::V) -> Self::V {
        quarters!(exp2_integral, n)
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> Self::Wide {
        std::array::from_fn(|i| {
            let quarter = v[i / 2];
            let pair = if i % 2 == 0 { quarter } else { i32x4_shuffle::<2, 3, 2, 3>(quarter, quarter) };
            f64x2_promote_low_f32x4(pair)
        })
    }

    #[inline(always)]
    fn narrow(self, v: Self::Wide) -> Self::V {
        std::array::from_fn(|i| {
            let [low, high] = [0, 1].map(|j| f32x4_demote_f64x2_zero(v[2 * i + j]));
            i32x4_shuffle::<0, 1, 4, 5>(low, high)
        })
    }

    #[inline(always)]
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide {
        a.map(|pair| f64x2_mul(pair, f64x2_splat(by)))
    }

    #[inline(always)]
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide {
        std::array::from_fn(|i| f64x2_add(f64x2_mul(a[i], f64x2_splat(by)), c[i]))
    }
}
