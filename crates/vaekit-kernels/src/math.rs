//! exp and SiLU on sixteen lanes.

use crate::simd::Simd;

/// exp(x), its relative error below 2e-7 (2 units in the last place).
///
/// Below -87 it stays at exp(-87), about 1.6e-38, and above 88 at exp(88); NaN stays NaN. x is split into a multiple of
/// ln 2 and a rest of at most ln 2 / 2, over which the polynomial of Cephes' `expf.c` is accurate to the last place.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-87.0), x);
    let x = s.min(s.splat(88.0), x);
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first (355/512) with so few bits that n times it is exact.
    let r = s.mul_add(n, s.splat(-0.693_359_4), x);
    let r = s.mul_add(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.987_569_1e-4);
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = s.mul_add(p, r, s.splat(c));
    }
    let p = s.mul_add(p, s.mul(r, r), s.add(r, s.splat(1.0)));
    s.mul(p, s.exp2_integral(n))
}

/// SiLU, `x / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    let raised = s.add(s.splat(1.0), exp(s, s.sub(s.zero(), x)));
    s.mul(x, s.reciprocal(raised))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Block, LANES};
    use crate::simd::{Kernel, Level};

    struct Apply(Block);

    impl Kernel for Apply {
        type Output = (Block, Block);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            let x = s.load(&self.0);
            (s.to_block(exp(s, x)), s.to_block(silu(s, x)))
        }
    }

    #[test]
    fn exp_and_silu_are_accurate_to_the_last_places() {
        for level in Level::available() {
            for i in 0..175_000 / LANES {
                let x = Block(std::array::from_fn(|lane| (i * LANES + lane) as f32 * 1e-3 - 87.0));
                let (exps, silus) = level.run(Apply(x));
                for ((&x, &e), &y) in x.0.iter().zip(&exps.0).zip(&silus.0) {
                    let x = f64::from(x);
                    assert!((f64::from(e) / x.exp() - 1.0).abs() < 2e-7, "exp({x}) = {e} at {}", level.name());
                    let exact = x / (1.0 + (-x).exp());
                    assert!((f64::from(y) - exact).abs() <= 4e-7 * exact.abs() + 1e-37, "silu({x}) = {y}");
                }
            }
        }
    }

    #[test]
    fn unkind_values() {
        for level in Level::available() {
            let mut x = Block::ZERO;
            x.0[..5].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30]);
            let (exps, silus) = level.run(Apply(x));
            assert!(exps.0[0].is_nan() && silus.0[0].is_nan());
            assert!(exps.0[1] > 1e38 && exps.0[2] < 2e-38 && exps.0[5] == 1.0);
            assert_eq!(silus.0[1], f32::INFINITY);
            assert_eq!((silus.0[4], silus.0[5]), (1e30, 0.0));
        }
    }
}
