//! Group normalisation: sums of channels, gathered while they are written, become a scale and a shift per channel.

use std::ops::Range;

use rayon::prelude::*;

use crate::layout::{Block, LANES, Shape, View, blocks, pack_vector};
use crate::simd::{Kernel, Level, Simd};
use crate::stage::Stage;

/// Sums and sums of squares of sixteen channels over some pixels, in f64.
///
/// A square of an f32 is exact in f64 and millions of them sum with an error near 1e-13, so that the variance is right
/// to f32's precision even where the mean is a thousand times the deviation.
#[derive(Clone, Copy)]
pub(crate) struct Partial {
    sums: [f64; LANES],
    squares: [f64; LANES],
}

impl Partial {
    const ZERO: Self = Self { sums: [0.0; LANES], squares: [0.0; LANES] };

    /// Adds `count` values of every channel, given as the sums of their distances to `pivot` and of the distances'
    /// squares, which are small and so lose nothing in f32.
    #[inline(always)]
    pub(crate) fn add(&mut self, pivot: &Block, distances: &Block, squares: &Block, count: f64) {
        for lane in 0..LANES {
            let (p, d, q) = (f64::from(pivot.0[lane]), f64::from(distances.0[lane]), f64::from(squares.0[lane]));
            self.sums[lane] += count * p + d;
            self.squares[lane] += p * (count * p + 2.0 * d) + q;
        }
    }
}

/// Sums of the channels of one picture, to normalise it by.
///
/// They are kept in parts that depend on the picture's shape only and are added up in order, so that the result does
/// not depend on the number of threads.
#[derive(Default)]
pub struct Moments {
    partials: Vec<Partial>,
    parts: usize,
    pixels: usize,
}

impl Moments {
    /// Nothing summed yet; what is handed to a convolution that shall fill it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sums the channels of `x` in a pass of its own.
    pub fn of(level: Level, x: View<'_>) -> Self {
        const PIXELS: usize = 4096;
        let mut moments = Self::new();
        let pixels = x.shape().pixels();
        let parts = pixels.div_ceil(PIXELS);
        moments.reset(x.shape().planes(), parts, pixels);
        moments.partials.par_iter_mut().enumerate().for_each(|(i, partial)| {
            let plane = x.plane(i / parts);
            let start = i % parts * PIXELS;
            level.run(Sum { blocks: &plane[start..(start + PIXELS).min(pixels)], partial });
        });
        moments
    }

    /// Sums the channels of some rows and columns of `x` in a pass of its own.
    ///
    /// # Panics
    /// If `x` has less rows or columns.
    pub fn of_region(level: Level, x: View<'_>, rows: Range<usize>, columns: Range<usize>) -> Self {
        let mut moments = Self::new();
        let parts = rows.len();
        moments.reset(x.shape().planes(), parts, parts * columns.len());
        moments.partials.par_iter_mut().enumerate().for_each(|(i, partial)| {
            let start = (rows.start + i % parts) * x.shape().width;
            let blocks = &x.plane(i / parts)[start + columns.start..start + columns.end];
            level.run(Sum { blocks, partial });
        });
        moments
    }

    /// Empties the sums and makes `parts` of them for each plane of blocks.
    pub(crate) fn reset(&mut self, planes: usize, parts: usize, pixels: usize) {
        (self.parts, self.pixels) = (parts, pixels);
        self.partials.clear();
        self.partials.resize(planes * parts, Partial::ZERO);
    }

    /// The parts of each plane of blocks.
    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [Partial]> {
        self.partials.chunks_mut(self.parts.max(1))
    }

    /// Sum and sum of squares of channel `c`.
    fn channel(&self, c: usize) -> (f64, f64) {
        let partials = &self.partials[c / LANES * self.parts..][..self.parts];
        partials.iter().fold((0.0, 0.0), |(sum, squares), p| (sum + p.sums[c % LANES], squares + p.squares[c % LANES]))
    }
}

/// Adds up blocks, a few at a time around a pivot, see [`Partial::add`].
struct Sum<'a> {
    blocks: &'a [Block],
    partial: &'a mut Partial,
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for run in self.blocks.chunks(32) {
            let pivot = s.load(&run[0]);
            let (mut distances, mut squares) = (s.zero(), s.zero());
            for block in run {
                let d = s.sub(s.load(block), pivot);
                distances = s.add(distances, d);
                squares = s.mul_add(d, d, squares);
            }
            self.partial.add(&run[0], &s.to_block(distances), &s.to_block(squares), run.len() as f64);
        }
    }
}

/// A scale and a shift for every channel: `x * scale + shift`.
pub struct Affine {
    channels: usize,
    pub(crate) scale: Vec<Block>,
    pub(crate) shift: Vec<Block>,
}

impl Affine {
    /// One scale and one shift for each channel.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(scale: &[f32], shift: &[f32]) -> Self {
        assert_eq!(scale.len(), shift.len(), "scales and shifts");
        Self { channels: scale.len(), scale: pack_vector(scale), shift: pack_vector(shift) }
    }
}

/// How many values a group of channels has, their sum and that of their squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GroupSums {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

/// Group normalisation with a weight and a bias for every channel.
pub struct GroupNorm {
    groups: usize,
    epsilon: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl GroupNorm {
    /// Normalises each of `groups` equal ranges of channels to mean 0 and variance 1, the variance being biased and
    /// raised by `epsilon` as `torch.nn.GroupNorm` does it, then applies `weight` and `bias`, one for each channel.
    ///
    /// # Panics
    /// If `groups` does not divide the number of channels, or `weight` and `bias` differ in length.
    pub fn new(groups: usize, epsilon: f32, weight: &[f32], bias: &[f32]) -> Self {
        assert!(groups > 0 && weight.len().is_multiple_of(groups), "{} channels in {groups} groups", weight.len());
        assert_eq!(weight.len(), bias.len(), "weights and biases of a group normalisation");
        Self { groups, epsilon: f64::from(epsilon), weight: weight.to_vec(), bias: bias.to_vec() }
    }

    /// The sums of each group of the picture whose channels were summed.
    ///
    /// # Panics
    /// If `moments` were taken over another number of channels.
    pub fn groups(&self, moments: &Moments) -> Vec<GroupSums> {
        let channels = self.weight.len();
        assert_eq!(blocks(channels) * moments.parts, moments.partials.len(), "moments of {channels} channels");
        let of_group = channels / self.groups;
        let count = (of_group * moments.pixels) as f64;
        let of = |group: usize| {
            let members = group * of_group..(group + 1) * of_group;
            let (sum, squares) = members.map(|c| moments.channel(c)).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            GroupSums { count, sum, squares }
        };
        (0..self.groups).map(of).collect()
    }

    /// The scale and shift that normalise the picture whose channels were summed.
    ///
    /// # Panics
    /// If `moments` were taken over another number of channels.
    pub fn affine(&self, moments: &Moments) -> Affine {
        self.affine_of(&self.groups(moments))
    }

    /// The scale and shift that normalise a picture of these groups.
    ///
    /// # Panics
    /// If there are more groups or fewer.
    pub fn affine_of(&self, groups: &[GroupSums]) -> Affine {
        assert_eq!(groups.len(), self.groups, "groups of a normalisation");
        let channels = self.weight.len();
        let of_group = channels / self.groups;
        let (mut scale, mut shift) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for (group, &GroupSums { count, sum, squares }) in groups.iter().enumerate() {
            let members = group * of_group..(group + 1) * of_group;
            let mean = sum / count;
            let variance = (squares / count - mean * mean).max(0.0);
            let inverse = 1.0 / (variance + self.epsilon).sqrt();
            for c in members {
                let s = f64::from(self.weight[c]) * inverse;
                scale.push(s as f32);
                shift.push((f64::from(self.bias[c]) - mean * s) as f32);
            }
        }
        Affine::new(&scale, &shift)
    }
}

/// What is done to a picture as it is read, so that no pass of its own is needed.
#[derive(Clone, Copy)]
pub enum Prologue<'a> {
    /// Nothing.
    Identity,
    /// `x * scale + shift`.
    Affine(&'a Affine),
    /// `silu(x * scale + shift)`: group normalisation and SiLU.
    AffineSilu(&'a Affine),
}

impl Prologue<'_> {
    /// Does the same in a pass of its own.
    ///
    /// # Panics
    /// If `out` is not as long as `x`, or the scales are of another number of channels.
    pub fn apply(self, level: Level, x: View<'_>, out: &mut [Block]) {
        const PIXELS: usize = 4096;
        let shape = x.shape();
        assert_eq!(out.len(), shape.blocks(), "blocks of a picture of {shape:?}");
        self.check(shape);
        let row = View::new(Shape::new(shape.channels, 1, shape.pixels()), x.blocks);
        for (plane, out) in out.chunks_mut(shape.pixels().max(1)).enumerate() {
            out.par_chunks_mut(PIXELS).enumerate().for_each(|(i, out)| {
                let (x, columns) = ((i * PIXELS) as isize, out.len());
                level.run(Stage { picture: row, plane, prologue: self, y: 0, x, columns, out });
            });
        }
    }

    /// Panics unless there is a scale for every channel of `input`.
    pub(crate) fn check(self, input: Shape) {
        if let Self::Affine(affine) | Self::AffineSilu(affine) = self {
            assert_eq!(affine.channels, input.channels, "channels of a scale and shift");
        }
    }
}
