//! Filters at the interpolation points: `G w G^T`, in f64, packed for the products.

use rayon::prelude::*;

use super::points::{N, filter_matrix};
use crate::gemm::Panels;
use crate::layout::{Block, LANES, blocks};
use crate::simd::{Kernel, Level, Simd};

/// The filters of a 3x3 convolution, `[outputs, inputs, 3, 3]` in row order.
pub(super) struct Filters {
    pub(super) weight: Vec<f32>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Which rows (or columns) of a 3x3 filter are added up to make the taps of a shorter one.
pub(super) type Fold<const R: usize> = [[f64; 3]; R];

/// Every tap for itself.
pub(super) const WHOLE: Fold<3> = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// The taps that even and odd positions of a picture enlarged twofold by nearest neighbours see: two of the three taps
/// fall on the same source pixel.
pub(super) const HALVES: [Fold<2>; 2] = [[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]];

impl Filters {
    /// The taps of the filters from channel `input` to sixteen output channels.
    #[inline(always)]
    fn taps(&self, output: usize, input: usize) -> [[[f64; LANES]; 3]; 3] {
        let mut taps = [[[0.0; LANES]; 3]; 3];
        let filters = self.weight.chunks_exact(9 * self.inputs).skip(output * LANES).take(LANES);
        for (lane, filters) in filters.enumerate() {
            for (tap, &w) in taps.as_flattened_mut().iter_mut().zip(&filters[9 * input..][..9]) {
                tap[lane] = f64::from(w);
            }
        }
        taps
    }

    /// The folded taps of the filters from channel `input` to the sixteen channels of block `output`.
    #[inline(always)]
    pub(super) fn folded<const R: usize>(&self, folds: &[Fold<R>; 2], output: usize, input: usize) -> [[Block; R]; R] {
        let folded = sandwich(&folds[0], &self.taps(output, input), &folds[1]);
        folded.map(|row| row.map(|tap| Block(tap.map(|w| w as f32))))
    }

    /// How `transform` packs the filters of one point.
    pub(super) fn panels(&self, level: Level) -> Panels {
        Panels::new(level, self.inputs, blocks(self.outputs))
    }

    /// The folded filters at the N * N points. Panel p of columns starts at `N * N * panels.start(p)` and holds its
    /// points one after another, each as [`Panels`] describes.
    pub(super) fn transform<const R: usize>(&self, level: Level, folds: &[Fold<R>; 2], out: &mut Vec<Block>) {
        let panels = self.panels(level);
        out.resize(N * N * panels.blocks(), Block::ZERO);
        let matrices = folds.map(|fold| compose(&filter_matrix(), &fold));
        let chunks = out.par_chunks_mut(N * N * panels.width * panels.k).enumerate();
        chunks.for_each(|(p, out)| {
            let (first, width) = (p * panels.width, panels.width_of(p));
            level.run(Transform { filters: self, matrices: &matrices, first, width, out });
        });
    }
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
    fn run<S: Simd>(self, _: S) {
        let inputs = self.filters.inputs;
        for input in 0..inputs {
            for n in 0..self.width {
                let u = sandwich(&self.matrices[0], &self.filters.taps(self.first + n, input), &self.matrices[1]);
                for (point, u) in u.as_flattened().iter().enumerate() {
                    let block = &mut self.out[(point * inputs + input) * self.width + n];
                    for (to, &u) in block.0.iter_mut().zip(u) {
                        *to = u as f32;
                    }
                }
            }
        }
    }
}

/// `matrix * fold`.
fn compose<const R: usize>(matrix: &[[f64; R]; N], fold: &Fold<R>) -> [[f64; 3]; N] {
    matrix.map(|row| std::array::from_fn(|j| row.iter().zip(fold).map(|(m, f)| m * f[j]).sum()))
}

/// `left * taps * right^T`, on sixteen lanes.
#[inline(always)]
fn sandwich<const P: usize>(
    left: &[[f64; 3]; P],
    taps: &[[[f64; LANES]; 3]; 3],
    right: &[[f64; 3]; P],
) -> [[[f64; LANES]; P]; P] {
    let mut product = [[[0.0; LANES]; P]; P];
    for i in 0..P {
        let mut row = [[0.0; LANES]; 3];
        for j in 0..3 {
            for lane in 0..LANES {
                row[j][lane] =
                    left[i][0] * taps[0][j][lane] + left[i][1] * taps[1][j][lane] + left[i][2] * taps[2][j][lane];
            }
        }
        for j in 0..P {
            for lane in 0..LANES {
                product[i][j][lane] =
                    right[j][0] * row[0][lane] + right[j][1] * row[1][lane] + right[j][2] * row[2][lane];
            }
        }
    }
    product
}
