//! Filters at the interpolation points: `G w G^T`, in f64, packed for the products.

use rayon::prelude::*;

use super::points::{INPUT_GAIN, N, OUTPUT_GAIN, filter_matrix};
use crate::gemm::Panels;
use crate::layout::{Block, LANES, blocks};
use crate::simd::{Kernel, Level, Simd};

/// The filters of a 3x3 convolution.
pub(super) struct Filters {
    /// `[planes, inputs, 9]`, each a block of sixteen outputs.
    weight: Vec<Block>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// The largest magnitude of inputs with which no intermediate value can overflow; less than 0 if the filters hold a
    /// value that is not finite.
    pub(super) limit: f32,
}

/// Which rows (or columns) of a 3x3 filter are added up to make the taps of a shorter one.
pub(super) type Fold<const R: usize> = [[f64; 3]; R];

/// Every tap for itself.
pub(super) const WHOLE: Fold<3> = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// The taps that even and odd positions of a picture enlarged twofold by nearest neighbours see: two of the three taps
/// fall on the same source pixel.
pub(super) const HALVES: [Fold<2>; 2] = [[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]];

impl Filters {
    /// `weight` is `[outputs, inputs, 3, 3]` in row order.
    pub(super) fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut blocked = vec![Block::ZERO; blocks(outputs) * inputs * 9];
        let planes = blocked.par_chunks_mut(inputs * 9).zip(weight.par_chunks(LANES * inputs * 9));
        planes.for_each(|(plane, weight)| {
            for (lane, filters) in weight.chunks_exact(inputs * 9).enumerate() {
                for (block, &w) in plane.iter_mut().zip(filters) {
                    block.0[lane] = w;
                }
            }
        });
        Self { weight: blocked, inputs, outputs, limit: limit(weight, inputs) }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.weight[..])
    }

    /// The taps of the filters from channel `input` to the sixteen channels of block `output`.
    #[inline(always)]
    fn taps<S: Simd>(&self, s: S, output: usize, input: usize) -> [[S::Wide; 3]; 3] {
        let taps = &self.weight[(output * self.inputs + input) * 9..][..9];
        std::array::from_fn(|i| std::array::from_fn(|j| s.widen(s.load(&taps[3 * i + j]))))
    }

    /// The folded taps of the filters from channel `input` to the sixteen channels of block `output`.
    #[inline(always)]
    pub(super) fn folded<S: Simd, const R: usize>(
        &self,
        s: S,
        folds: &[Fold<R>; 2],
        output: usize,
        input: usize,
    ) -> [[S::V; R]; R] {
        sandwich(s, &folds[0], &self.taps(s, output, input), &folds[1])
    }

    /// How `transform` packs the filters of one point.
    pub(super) fn panels(&self, level: Level) -> Panels {
        Panels::new(level, self.inputs, blocks(self.outputs))
    }

    /// The folded filters at the N * N points. Panel p of columns starts at `N * N * panels.start(p)` and holds its
    /// points one after another, each as [`Panels`] describes.
    pub(super) fn transform<const R: usize>(&self, level: Level, folds: &[Fold<R>; 2], out: &mut Vec<Block>) {
        let panels = self.panels(level);
        let len = N * N * panels.blocks();
        out.reserve_exact(len.saturating_sub(out.len()));
        out.resize(len, Block::ZERO);
        let matrices = folds.map(|fold| compose(&filter_matrix(), &fold));
        let chunks = out.par_chunks_mut(N * N * panels.width * panels.k).enumerate();
        chunks.for_each(|(p, out)| {
            let (first, width) = (p * panels.width, panels.width_of(p));
            level.run(Transform { filters: self, matrices: &matrices, first, width, out });
        });
    }
}

fn limit(weight: &[f32], inputs: usize) -> f32 {
    if !weight.par_iter().all(|w| w.is_finite()) {
        return -1.0;
    }
    let largest = weight.par_iter().map(|w| w.abs()).reduce(|| 1.0, f32::max);
    // The magnitudes in a row of G add up to less than 1.5, and a folded tap is at most four of the filter's.
    let filter = 9.0 * 4.0 * largest * inputs as f32;
    f32::MAX / ((INPUT_GAIN * OUTPUT_GAIN).powi(2) * filter)
}

struct Transform<'a> {
    filters: &'a Filters,
    matrices: &'a [[[f64; 3]; N]; 2],
    first: usize,
    width: usize,
    out: &'a mut [Block],
}

impl Kernel for Transform<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inputs = self.filters.inputs;
        for input in 0..inputs {
            for n in 0..self.width {
                let taps = self.filters.taps(s, self.first + n, input);
                let u = sandwich(s, &self.matrices[0], &taps, &self.matrices[1]);
                for (point, &u) in u.as_flattened().iter().enumerate() {
                    s.store(u, &mut self.out[(point * inputs + input) * self.width + n]);
                }
            }
        }
    }
}

/// `matrix * fold`.
fn compose<const R: usize>(matrix: &[[f64; R]; N], fold: &Fold<R>) -> [[f64; 3]; N] {
    matrix.map(|row| std::array::from_fn(|j| row.iter().zip(fold).map(|(m, f)| m * f[j]).sum()))
}

/// `left * taps * right^T`, on sixteen lanes. On vectors by hand: a compiler left to itself vectorises over the points
/// and scatters.
#[inline(always)]
fn sandwich<S: Simd, const P: usize>(
    s: S,
    left: &[[f64; 3]; P],
    taps: &[[S::Wide; 3]; 3],
    right: &[[f64; 3]; P],
) -> [[S::V; P]; P] {
    let sum = |m: &[f64; 3], t: [S::Wide; 3]| s.scale_add(t[0], m[0], s.scale_add(t[1], m[1], s.scale(t[2], m[2])));
    let mut product = [[s.zero(); P]; P];
    for i in 0..P {
        let mut row = [taps[0][0]; 3];
        for j in 0..3 {
            row[j] = sum(&left[i], [taps[0][j], taps[1][j], taps[2][j]]);
        }
        for j in 0..P {
            product[i][j] = s.narrow(sum(&right[j], row));
        }
    }
    product
}
