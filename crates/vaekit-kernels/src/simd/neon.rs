//! NEON, which every 64-bit ARM has: four registers for sixteen lanes.

use std::arch::aarch64::*;

use super::Simd;
use crate::layout::Block;

/// Every aarch64 target of this program has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neon(());

impl Neon {
    pub(super) const fn new() -> Self {
        const { assert!(cfg!(target_feature = "neon")) };
        Self(())
    }
}

/// Applies an intrinsic to each quarter.
macro_rules! quarters {
    ($f:path, $($v:expr),+) => {
        // SAFETY: the token exists only in programs built for processors with NEON.
        unsafe { [$f($($v[0]),+), $f($($v[1]),+), $f($($v[2]),+), $f($($v[3]),+)] }
    };
}

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's.
    unsafe { vfmaq_f32(c, a, b) }
}

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn max_magnitude(m: float32x4_t, x: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's.
    unsafe {
        let magnitude = vreinterpretq_u32_f32(vabsq_f32(x));
        vreinterpretq_f32_u32(vmaxq_u32(vreinterpretq_u32_f32(m), magnitude))
    }
}

/// # Safety
/// The processor has NEON.
#[inline(always)]
unsafe fn exp2_integral(n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller's.
    unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
}

impl Simd for Neon {
    type V = [float32x4_t; 4];
    type Wide = [float64x2_t; 8];

    const ROWS: usize = 6;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token exists only in programs built for processors with NEON.
        unsafe { [vdupq_n_f32(x); 4] }
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::V {
        let at = from.0.as_ptr();
        // SAFETY: as in `splat`, and a block is sixteen f32.
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))] }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut Block) {
        let at = to.0.as_mut_ptr();
        // SAFETY: as in `splat`, and a block is sixteen f32, borrowed mutably.
        unsafe {
            vst1q_f32(at, v[0]);
            vst1q_f32(at.add(4), v[1]);
            vst1q_f32(at.add(8), v[2]);
            vst1q_f32(at.add(12), v[3]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vdivq_f32, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quarters!(mul_add, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vmaxq_f32, a, b)
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(vminq_f32, a, b)
    }

    #[inline(always)]
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V {
        quarters!(max_magnitude, m, x)
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        quarters!(vrndnq_f32, v)
    }

    #[inline(always)]
    fn exp2_integral(self, n: Self::V) -> Self::V {
        quarters!(exp2_integral, n)
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> Self::Wide {
        // SAFETY: the token exists only in programs built for processors with NEON.
        std::array::from_fn(|i| unsafe {
            if i % 2 == 0 { vcvt_f64_f32(vget_low_f32(v[i / 2])) } else { vcvt_high_f64_f32(v[i / 2]) }
        })
    }

    #[inline(always)]
    fn narrow(self, v: Self::Wide) -> Self::V {
        // SAFETY: as above.
        std::array::from_fn(|i| unsafe { vcvt_high_f32_f64(vcvt_f32_f64(v[2 * i]), v[2 * i + 1]) })
    }

    #[inline(always)]
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide {
        // SAFETY: as above.
        a.map(|pair| unsafe { vmulq_n_f64(pair, by) })
    }

    #[inline(always)]
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide {
        // SAFETY: as above.
        std::array::from_fn(|i| unsafe { vfmaq_n_f64(c[i], a[i], by) })
    }
}
