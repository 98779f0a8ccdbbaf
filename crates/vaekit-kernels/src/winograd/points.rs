//! The interpolation points of a Winograd convolution and the matrix that takes filters to them.
//!
//! F(m, r) computes m outputs of a correlation with r taps from n = m + r - 1 inputs by n products:
//! `y = A^T [(G w) . (B^T d)]` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015). The matrices
//! follow from n - 1 finite points and infinity by Toom and Cook's construction; in two dimensions each acts on rows,
//! then on columns. `B^T` and `A^T` are code, in [`super::transform`].

/// The finite points of a tile of 6 inputs other than 0, which come in pairs of opposite sign so that even and odd
/// parts are shared: +A, -A, +B, -B.
///
/// Over normally distributed data the customary 1 and 2 have 2.2 times the error (root mean square 3.1e-6 against
/// 1.4e-6 for F(4, 3) over 256 channels), and of the pairs tried these are the best whose powers and products, as far
/// as the transforms need them, are exact in f32.
pub(super) const A: f32 = 0.625;
/// See [`A`].
pub(super) const B: f32 = 1.5;

/// A bound of the sums of magnitudes in a row of `B^T`.
pub(super) const INPUT_GAIN: f32 = 6.0;
/// A bound of the sums of magnitudes in a row of `A^T`.
pub(super) const OUTPUT_GAIN: f32 = 12.0;

/// Inputs of a tile, and so points, in one dimension.
pub(super) const N: usize = 6;

/// `G`, [n][r]: row p holds the powers of point p over the product of its distances to the other points.
pub(super) fn filter_matrix<const R: usize>() -> [[f64; R]; N] {
    let (a, b) = (f64::from(A), f64::from(B));
    let points = [0.0, a, -a, b, -b];
    let mut matrix = [[0.0; R]; N];
    for (row, &x) in matrix.iter_mut().zip(&points) {
        let distances: f64 = points.iter().filter(|&&y| y != x).map(|y| x - y).product();
        *row = std::array::from_fn(|k| x.powi(k as i32) / distances);
    }
    matrix[N - 1][R - 1] = 1.0;
    matrix
}
