//! What happens to a sum before it is written: bias, residual, ReLU, and the sums for the next normalisation.

use crate::layout::{Block, View};
use crate::norm::Partial;
use crate::simd::Simd;

/// What is done to a convolution's output as it is written, so that no pass of its own is needed: first the residual
/// is added, then ReLU is applied.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// A picture of the output's shape.
    pub residual: Option<View<'a>>,
    /// max(0, y), which keeps NaN.
    pub relu: bool,
}

/// Writes outputs into the rows of one plane.
pub(crate) struct Finish<'a> {
    pub(crate) bias: Block,
    /// The residual's rows, those of `out`.
    pub(crate) residual: Option<&'a [Block]>,
    pub(crate) relu: bool,
    pub(crate) out: &'a mut [Block],
}

impl Finish<'_> {
    /// Finishes `y` and writes it to `index`; returns what was written.
    #[inline(always)]
    pub(crate) fn write<S: Simd>(&mut self, s: S, y: S::V, index: usize) -> S::V {
        let mut y = s.add(y, s.load(&self.bias));
        if let Some(residual) = self.residual {
            y = s.add(y, s.load(&residual[index]));
        }
        if self.relu {
            y = s.max(s.zero(), y);
        }
        s.store(y, &mut self.out[index]);
        y
    }
}

/// Sums of a few outputs around the first of them.
pub(crate) struct Tally<S: Simd> {
    pivot: S::V,
    distances: S::V,
    squares: S::V,
    count: usize,
}

impl<S: Simd> Tally<S> {
    #[inline(always)]
    pub(crate) fn new(s: S) -> Self {
        Self { pivot: s.zero(), distances: s.zero(), squares: s.zero(), count: 0 }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, s: S, y: S::V) {
        if self.count == 0 {
            self.pivot = y;
        }
        let d = s.sub(y, self.pivot);
        self.distances = s.add(self.distances, d);
        self.squares = s.mul_add(d, d, self.squares);
        self.count += 1;
    }

    #[inline(always)]
    pub(crate) fn fold_into(self, s: S, partial: &mut Partial) {
        let [pivot, distances, squares] = [self.pivot, self.distances, self.squares].map(|v| s.to_block(v));
        partial.add(&pivot, &distances, &squares, self.count as f64);
    }
}
