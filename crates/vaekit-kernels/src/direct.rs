//! Convolutions of any size and stride as one matrix product over gathered pixels.

use rayon::prelude::*;

use crate::bands::{Band, bands};
use crate::finish::{Finish, Tally};
use crate::gemm::{Init, Packed, Rows, multiply};
use crate::io::Io;
use crate::layout::{Block, LANES, Shape, blocks, pack_vector};
use crate::norm::{Moments, Partial};
use crate::simd::{Kernel, Level, Simd};
use crate::stage::{Pixel, with_pixel};
use crate::workspace::{Need, Scratch, Workspace, sized};

/// Output pixels of one product, for which the weight is read once. Of 512 channels the operand is 0.2 MB for one tap, which
/// stays in the second-level cache, and 2 MB for nine.
const STRIP: usize = 112;

/// How a convolution's window moves over its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps in a row, and rows of taps.
    pub size: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows of zeros above and columns of zeros to the left.
    pub before: usize,
    /// Rows of zeros below and columns of zeros to the right.
    pub after: usize,
}

impl Window {
    /// One tap.
    pub const POINT: Self = Self { size: 1, stride: 1, before: 0, after: 0 };
    /// Three by three taps, padded all around.
    pub const SAME: Self = Self { size: 3, stride: 1, before: 1, after: 1 };
    /// Stride 2, padded on the right and below only, as an AutoencoderKL's encoder halves a picture, rounding down.
    pub const HALVE_DOWN: Self = Self { size: 3, stride: 2, before: 0, after: 1 };
    /// Stride 2, padded all around, as a tiny autoencoder's encoder halves a picture, rounding up.
    pub const HALVE_UP: Self = Self { size: 3, stride: 2, before: 1, after: 1 };

    /// Outputs along a side of `input` pixels.
    pub const fn outputs(self, input: usize) -> usize {
        let padded = input + self.before + self.after;
        if padded < self.size { 0 } else { (padded - self.size) / self.stride + 1 }
    }
}

/// A convolution of any window.
pub struct Conv2d {
    level: Level,
    window: Window,
    inputs: usize,
    outputs: usize,
    weight: Packed,
    bias: Vec<Block>,
}

impl Conv2d {
    /// A convolution with `weight` `[outputs, inputs, size, size]` in row order and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit, or the window's size or stride is 0.
    pub fn new(level: Level, window: Window, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert!(window.size > 0 && window.stride > 0, "a window has a size and a stride");
        let (outputs, taps) = (bias.len(), window.size * window.size);
        assert!(inputs > 0 && outputs > 0, "a convolution has inputs and outputs");
        assert_eq!(weight.len(), outputs * inputs * taps, "weights of a convolution");
        // Tap by tap, as pixels are gathered, each with its channels in whole blocks but for the last.
        let k = (taps - 1) * blocks(inputs) * LANES + inputs;
        let tap_stride = blocks(inputs) * LANES;
        let weight = Packed::new(level, k, outputs, |row, column| {
            let (tap, input) = (row / tap_stride, row % tap_stride);
            if input < inputs { weight[(column * inputs + input) * taps + tap] } else { 0.0 }
        });
        Self { level, window, inputs, outputs, weight, bias: pack_vector(bias) }
    }

    /// How its window moves.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Bytes of weights held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.weight.blocks[..]) + size_of_val(&self.bias[..])
    }

    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        Shape::new(self.outputs, self.window.outputs(input.height), self.window.outputs(input.width))
    }

    /// What a run takes from a [`Workspace`].
    pub fn need(&self, input: Shape) -> Need {
        let output = self.output(input);
        let pixels = STRIP.min(output.pixels());
        let left = self.window.size * self.window.size * input.planes() * pixels;
        Need { left, products: output.planes() * pixels, ..Need::default() }
    }

    /// Convolves; `moments`, where given, become those of the output.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn run(&self, io: Io<'_>, out: &mut [Block], mut moments: Option<&mut Moments>, workspace: &Workspace) {
        assert_eq!(io.input.shape().channels, self.inputs, "channels of a convolution's input");
        let output = self.output(io.input.shape());
        io.check(output, out);
        let strips = output.pixels().div_ceil(STRIP);
        if let Some(moments) = &mut moments {
            moments.reset(output.planes(), strips, output.pixels());
        }
        if strips == 0 {
            return;
        }
        let line = Shape::new(output.channels, output.pixels(), 1);
        let strips = bands(line, out, STRIP, moments, 1);
        strips.into_par_iter().for_each(|mut strip| {
            self.strip(io, output, &mut strip, &mut workspace.scratch());
        });
    }

    /// Computes one strip of output pixels in row order, the first of which is `strip.row`.
    fn strip(&self, io: Io<'_>, output: Shape, strip: &mut Band<'_>, scratch: &mut Scratch) {
        let Scratch { left, products, .. } = scratch;
        let pixels = strip.planes[0].len();
        let in_place = self.window == Window::POINT && io.is_plain();
        let a = if in_place {
            let stride = io.input.shape().pixels();
            Rows { blocks: &io.input.blocks[strip.row..], stride, rows: pixels }
        } else {
            let planes = self.window.size * self.window.size * io.input.shape().planes();
            let left = sized(left, planes * pixels);
            let gather = Gather { window: self.window, io, width: output.width, first: strip.row, pixels, out: left };
            self.level.run(gather);
            Rows { blocks: left, stride: pixels, rows: pixels }
        };
        let products = sized(products, output.planes() * pixels);
        let mut planes: Vec<&mut [Block]> = products.chunks_mut(pixels).collect();
        multiply(self.level, a, self.weight.panels, &self.weight.blocks, Init::Zero, &mut planes);
        for (plane, products) in planes.into_iter().enumerate() {
            let residual = io.epilogue.residual.map(|r| &r.plane(plane)[strip.row..][..pixels]);
            let out = &mut *strip.planes[plane];
            let finish = Finish { bias: self.bias[plane], residual, relu: io.epilogue.relu, out };
            let partial = strip.partials.get_mut(plane).map(|p| &mut p[0]);
            self.level.run(Write { products, finish, partial });
        }
    }
}

/// Copies the pixels that each tap sees, with the prologue done and zeros outside of the picture.
struct Gather<'a, 'o> {
    window: Window,
    io: Io<'a>,
    /// Outputs in a row.
    width: usize,
    /// The first output.
    first: usize,
    pixels: usize,
    out: &'o mut [Block],
}

impl Kernel for Gather<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let planes = self.io.input.shape().planes();
        for tap in 0..self.window.size * self.window.size {
            for plane in 0..planes {
                with_pixel!(self.io.prologue, plane, |pixel| self.copy(s, tap, plane, pixel));
            }
        }
    }
}

impl Gather<'_, '_> {
    #[inline(always)]
    fn copy<S: Simd>(&mut self, s: S, tap: usize, plane: usize, pixel: impl Pixel) {
        let Window { size, stride, before, .. } = self.window;
        let Shape { height, width, .. } = self.io.input.shape();
        let from = self.io.input.plane(plane);
        let planes = self.io.input.shape().planes();
        let out = &mut self.out[(tap * planes + plane) * self.pixels..][..self.pixels];
        let (mut row, mut column) = (self.first / self.width, self.first % self.width);
        for to in out {
            let (y, x) = (row * stride + tap / size, column * stride + tap % size);
            let inside = (before..before + height).contains(&y) && (before..before + width).contains(&x);
            if inside {
                s.store(pixel.apply(s, s.load(&from[(y - before) * width + x - before])), to);
            } else {
                *to = Block::ZERO;
            }
            column += 1;
            if column == self.width {
                (row, column) = (row + 1, 0);
            }
        }
    }
}

/// Finishes one strip of one plane.
struct Write<'a, 'o> {
    products: &'a [Block],
    finish: Finish<'o>,
    partial: Option<&'a mut Partial>,
}

impl Kernel for Write<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let mut tally = Tally::new(s);
        for (i, product) in self.products.iter().enumerate() {
            let written = self.finish.write(s, s.load(product), i);
            tally.add(s, written);
        }
        if let Some(partial) = self.partial {
            tally.fold_into(s, partial);
        }
    }
}
