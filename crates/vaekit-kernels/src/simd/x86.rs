//! AVX-512 (one register for sixteen lanes) and AVX2 with FMA (two).

use std::arch::x86_64::*;

use super::{Kernel, Simd};
use crate::layout::Block;

/// Proof that the processor has AVX-512F, AVX2 and FMA: only [`Self::detect`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let there =
            is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        there.then_some(Self(()))
    }

    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx2,fma")]
        fn compiled<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: the token proves the features.
        unsafe { compiled(self, kernel) }
    }
}

/// Calls an intrinsic that needs no more than what the token proves.
macro_rules! proven {
    ($call:expr) => {
        // SAFETY: the token `self` exists only on a processor with the intrinsic's instruction set, and pointers come
        // from references to whole blocks.
        unsafe { $call }
    };
}

impl Simd for Avx512 {
    type V = __m512;
    type Wide = [__m512d; 2];

    const ROWS: usize = 14;
    const COLUMNS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        proven!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::V {
        proven!(_mm512_load_ps(from.0.as_ptr()))
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut Block) {
        proven!(_mm512_store_ps(to.0.as_mut_ptr(), v))
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn reciprocal(self, x: Self::V) -> Self::V {
        // An estimate of 14 bits and one step of Newton's, which leave the divider out of it.
        proven!({
            let estimate = _mm512_rcp14_ps(x);
            let error = _mm512_fnmadd_ps(x, estimate, _mm512_set1_ps(1.0));
            _mm512_fmadd_ps(estimate, error, estimate)
        })
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        proven!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V {
        proven!({
            let magnitude = _mm512_castps_si512(_mm512_abs_ps(x));
            _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(m), magnitude))
        })
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        proven!(_mm_prefetch::<_MM_HINT_T1>(block.0.as_ptr().cast()))
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        proven!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v))
    }

    #[inline(always)]
    fn exp2_integral(self, n: Self::V) -> Self::V {
        proven!(_mm512_scalef_ps(_mm512_set1_ps(1.0), n))
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> Self::Wide {
        proven!({
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
            [_mm512_cvtps_pd(_mm512_castps512_ps256(v)), _mm512_cvtps_pd(high)]
        })
    }

    #[inline(always)]
    fn narrow(self, v: Self::Wide) -> Self::V {
        proven!({
            let [low, high] = v.map(|half| _mm256_castps_pd(_mm512_cvtpd_ps(half)));
            _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high))
        })
    }

    #[inline(always)]
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide {
        proven!(a.map(|half| _mm512_mul_pd(half, _mm512_set1_pd(by))))
    }

    #[inline(always)]
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide {
        proven!([0, 1].map(|half| _mm512_fmadd_pd(a[half], _mm512_set1_pd(by), c[half])))
    }
}

/// Proof that the processor has AVX2 and FMA: only [`Self::detect`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        there.then_some(Self(()))
    }

    #[inline]
    pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn compiled<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: the token proves the features.
        unsafe { compiled(self, kernel) }
    }
}

impl Simd for Avx2 {
    type V = [__m256; 2];
    type Wide = [__m256d; 4];

    const ROWS: usize = 6;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        proven!([_mm256_set1_ps(x); 2])
    }

    #[inline(always)]
    fn load(self, from: &Block) -> Self::V {
        let [low, high] = from.halves();
        proven!([_mm256_load_ps(low.as_ptr()), _mm256_load_ps(high.as_ptr())])
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut Block) {
        let [low, high] = to.halves_mut();
        proven!({
            _mm256_store_ps(low.as_mut_ptr(), v[0]);
            _mm256_store_ps(high.as_mut_ptr(), v[1]);
        })
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        proven!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }

    #[inline(always)]
    fn max_magnitude(self, m: Self::V, x: Self::V) -> Self::V {
        #[inline(always)]
        fn half(_: Avx2, m: __m256, x: __m256) -> __m256 {
            proven!({
                let magnitude = _mm256_castps_si256(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x));
                _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(m), magnitude))
            })
        }
        [half(self, m[0], x[0]), half(self, m[1], x[1])]
    }

    #[inline(always)]
    fn prefetch(self, block: &Block) {
        proven!(_mm_prefetch::<_MM_HINT_T1>(block.0.as_ptr().cast()))
    }

    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        proven!([_mm256_round_ps::<NEAREST>(v[0]), _mm256_round_ps::<NEAREST>(v[1])])
    }

    #[inline(always)]
    fn exp2_integral(self, n: Self::V) -> Self::V {
        #[inline(always)]
        fn half(_: Avx2, n: __m256) -> __m256 {
            proven!({
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            })
        }
        [half(self, n[0]), half(self, n[1])]
    }

    #[inline(always)]
    fn widen(self, v: Self::V) -> Self::Wide {
        proven!({
            let [[a, b], [c, d]] = v.map(|half| {
                [_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half)].map(|q| _mm256_cvtps_pd(q))
            });
            [a, b, c, d]
        })
    }

    #[inline(always)]
    fn narrow(self, v: Self::Wide) -> Self::V {
        proven!({
            let [a, b, c, d] = v.map(|quarter| _mm256_cvtpd_ps(quarter));
            [_mm256_set_m128(b, a), _mm256_set_m128(d, c)]
        })
    }

    #[inline(always)]
    fn scale(self, a: Self::Wide, by: f64) -> Self::Wide {
        proven!(a.map(|quarter| _mm256_mul_pd(quarter, _mm256_set1_pd(by))))
    }

    #[inline(always)]
    fn scale_add(self, a: Self::Wide, by: f64, c: Self::Wide) -> Self::Wide {
        proven!([0, 1, 2, 3].map(|quarter| _mm256_fmadd_pd(a[quarter], _mm256_set1_pd(by), c[quarter])))
    }
}
