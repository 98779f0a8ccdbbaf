//! Reading a rectangle of a picture that may reach beyond its edges, with the prologue done once for each pixel.

use crate::layout::{Block, LANES, View};
use crate::math::silu;
use crate::norm::Prologue;
use crate::simd::{Kernel, Simd};

/// Copies `rows` by `columns` pixels from (`y`, `x`) on of plane `plane`, as the prologue makes them and with zeros
/// outside of the picture. Returns the largest magnitude copied in each lane, a NaN counting as larger than everything.
pub(crate) struct Stage<'a> {
    pub(crate) picture: View<'a>,
    pub(crate) plane: usize,
    pub(crate) prologue: Prologue<'a>,
    pub(crate) y: isize,
    pub(crate) x: isize,
    pub(crate) columns: usize,
    pub(crate) out: &'a mut [Block],
}

impl Kernel for Stage<'_> {
    type Output = Block;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Block {
        with_pixel!(self.prologue, self.plane, |pixel| self.copy(s, pixel))
    }
}

impl Stage<'_> {
    #[inline(always)]
    fn copy<S: Simd>(self, s: S, pixel: impl Pixel) -> Block {
        let (height, width) = (self.picture.shape().height as isize, self.picture.shape().width as isize);
        let plane = self.picture.plane(self.plane);
        let columns = self.columns as isize;
        let left = (-self.x).clamp(0, columns);
        let inside = (width - self.x).clamp(left, columns);
        let mut largest = s.zero();
        for (row, out) in self.out.chunks_exact_mut(self.columns).enumerate() {
            let y = self.y + row as isize;
            if y < 0 || y >= height || left == inside {
                out.fill(Block::ZERO);
                continue;
            }
            let (before, rest) = out.split_at_mut(left as usize);
            let (middle, after) = rest.split_at_mut((inside - left) as usize);
            before.fill(Block::ZERO);
            after.fill(Block::ZERO);
            let from = &plane[(y * width + self.x + left) as usize..][..middle.len()];
            for (to, from) in middle.iter_mut().zip(from) {
                let v = pixel.apply(s, s.load(from));
                largest = s.max_magnitude(largest, v);
                s.store(v, to);
            }
        }
        s.to_block(largest)
    }
}

/// A prologue with one plane's numbers at hand.
pub(crate) trait Pixel {
    fn apply<S: Simd>(&self, s: S, x: S::V) -> S::V;
}

pub(crate) struct Plain;

impl Pixel for Plain {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: S, x: S::V) -> S::V {
        x
    }
}

pub(crate) struct Scaled(pub(crate) Block, pub(crate) Block);

impl Pixel for Scaled {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, x: S::V) -> S::V {
        s.mul_add(x, s.load(&self.0), s.load(&self.1))
    }
}

pub(crate) struct ScaledSilu(pub(crate) Block, pub(crate) Block);

impl Pixel for ScaledSilu {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, x: S::V) -> S::V {
        silu(s, s.mul_add(x, s.load(&self.0), s.load(&self.1)))
    }
}

/// Runs code that is generic over a [`Pixel`] with the one of a [`Prologue`]: a macro, because a closure would not be
/// compiled for the caller's instruction set.
macro_rules! with_pixel {
    ($prologue:expr, $plane:expr, |$pixel:ident| $body:expr) => {{
        let plane = $plane;
        match $prologue {
            $crate::norm::Prologue::Identity => {
                let $pixel = $crate::stage::Plain;
                $body
            }
            $crate::norm::Prologue::Affine(affine) => {
                let $pixel = $crate::stage::Scaled(affine.scale[plane], affine.shift[plane]);
                $body
            }
            $crate::norm::Prologue::AffineSilu(affine) => {
                let $pixel = $crate::stage::ScaledSilu(affine.scale[plane], affine.shift[plane]);
                $body
            }
        }
    }};
}
pub(crate) use with_pixel;

/// The larger of two blocks of magnitudes, lane by lane, see [`Stage`].
pub(crate) fn larger(a: Block, b: Block) -> Block {
    Block(std::array::from_fn::<f32, LANES, _>(|i| f32::from_bits(a.0[i].to_bits().max(b.0[i].to_bits()))))
}
