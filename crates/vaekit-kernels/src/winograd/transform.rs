//! `B^T d B` and `A^T m A`: a tile's inputs to products' operands, and products to outputs. Rows of opposite points
//! share their even and odd parts.

use super::points::{A, B, N};
use crate::simd::Simd;

/// `B^T d` of N values in one dimension.
#[inline(always)]
fn inputs<S: Simd>(s: S, d: [S::V; N]) -> [S::V; N] {
    let (square_a, square_b) = (s.splat(-A * A), s.splat(-B * B));
    let (sum, product) = (s.splat(-A * A - B * B), s.splat(A * A * B * B));
    let even_a = s.mul_add(square_b, d[2], d[4]);
    let even_b = s.mul_add(square_a, d[2], d[4]);
    let odd_a = s.mul(s.splat(A), s.mul_add(square_b, d[1], d[3]));
    let odd_b = s.mul(s.splat(B), s.mul_add(square_a, d[1], d[3]));
    [
        s.mul_add(product, d[0], s.mul_add(sum, d[2], d[4])),
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        s.mul_add(product, d[1], s.mul_add(sum, d[3], d[5])),
    ]
}

/// `A^T m` of N values in one dimension.
#[inline(always)]
fn outputs<S: Simd, const M: usize>(s: S, m: [S::V; N]) -> [S::V; M] {
    let mut y = [s.zero(); M];
    let first = [s.add(m[1], m[2]), s.sub(m[1], m[2])];
    let second = [s.add(m[3], m[4]), s.sub(m[3], m[4])];
    y[0] = s.add(first[0], second[0]);
    for i in 1..M {
        let (a, b) = (s.splat(A.powi(i as i32)), s.splat(B.powi(i as i32)));
        y[i] = s.mul_add(a, first[i % 2], s.mul(b, second[i % 2]));
    }
    y[0] = s.add(y[0], m[0]);
    y[M - 1] = s.add(y[M - 1], m[N - 1]);
    y
}

/// `B^T d B`.
#[inline(always)]
pub(super) fn input_tile<S: Simd>(s: S, d: [[S::V; N]; N]) -> [[S::V; N]; N] {
    let mut rows = [[s.zero(); N]; N];
    for i in 0..N {
        rows[i] = inputs(s, d[i]);
    }
    let mut t = [[s.zero(); N]; N];
    for j in 0..N {
        let mut column = [s.zero(); N];
        for i in 0..N {
            column[i] = rows[i][j];
        }
        let column = inputs(s, column);
        for i in 0..N {
            t[i][j] = column[i];
        }
    }
    t
}

/// `A^T m A`.
#[inline(always)]
pub(super) fn output_tile<S: Simd, const M: usize>(s: S, m: [[S::V; N]; N]) -> [[S::V; M]; M] {
    let mut rows = [[s.zero(); M]; N];
    for i in 0..N {
        rows[i] = outputs(s, m[i]);
    }
    let mut y = [[s.zero(); M]; M];
    for j in 0..M {
        let mut column = [s.zero(); N];
        for i in 0..N {
            column[i] = rows[i][j];
        }
        let column: [S::V; M] = outputs(s, column);
        for i in 0..M {
            y[i][j] = column[i];
        }
    }
    y
}
