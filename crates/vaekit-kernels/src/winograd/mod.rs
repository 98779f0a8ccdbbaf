//! Convolutions of stride 1 by Winograd's minimal filtering, a block of tiles at a time.
//!
//! A block is some rows and columns of tiles. Its pixels are staged channel by channel (padding and prologue), taken to
//! the interpolation points, multiplied there with the filters, and taken back to outputs, which are finished and
//! written. Filters are read once for each block, and each point's operands are read while they are in the second-level
//! cache. All points' together are larger: for 512 channels in and out 128 tiles x 36 points x 32 planes x 64 bytes are
//! 9.4 MB of operands and as much of products, for each thread. That is the most they take; nothing grows with the picture.

mod block;
mod filter;
mod points;
mod transform;

use rayon::prelude::*;

use self::block::{BlockOfTiles, stride};
use self::filter::{Filters, Fold, HALVES, WHOLE};
use self::points::N;
use crate::bands::{Band, bands};
use crate::gemm::Panels;
use crate::io::Io;
use crate::layout::{Block, Shape, pack_vector};
use crate::norm::Moments;
use crate::simd::Level;
use crate::workspace::{Need, Workspace};

/// Tiles in a block, unless the picture is smaller. More of them read the filters less often, fewer need less memory:
/// filters that exceed the second-level cache many times over are worth the larger blocks.
const fn tiles(filters: usize) -> usize {
    const LARGE: usize = 16 << 20;
    if filters * size_of::<Block>() > LARGE { 128 } else { 64 }
}

/// Tiles side by side in a block, at most: the rest of them are below each other, so that fewer border pixels are
/// staged twice.
const COLUMNS: usize = 16;

/// Rows and columns of tiles in a block, of a picture of so many, where `filters` are the blocks of transformed filters.
fn block_of([rows, columns]: [usize; 2], filters: usize, threads: usize) -> [usize; 2] {
    let columns = columns.div_ceil(columns.div_ceil(COLUMNS));
    [(tiles(filters) / columns).clamp(1, rows.div_ceil(threads)), columns]
}

/// A 3x3 convolution of stride 1, padded by 1 with zeros.
pub struct Conv3x3(Layer);

/// Nearest-neighbour enlargement by 2 and the 3x3 convolution that follows it, padded by 1 with zeros, in one.
///
/// The enlarged picture is never made: the outputs of each parity of row and column are a convolution of 2x2 taps over
/// the source, and F(5, 2) computes 25 of them by 36 products where the enlarged picture would need 100.
pub struct Upsample2xConv3x3(Layer);

impl Conv3x3 {
    const FOLDS: [[Fold<3>; 2]; 1] = [[WHOLE; 2]];

    /// A convolution with `weight` `[outputs, inputs, 3, 3]` in row order and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(level: Level, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self(Layer::new(level, weight, bias, inputs))
    }

    /// Transforms the filters now and keeps them, in four times the memory of the weight; else each run does it anew.
    pub fn keep_transformed(&mut self) {
        self.0.keep(&Self::FOLDS);
    }

    /// Bytes of weights held.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        Shape { channels: self.0.filters.outputs, ..input }
    }

    /// What a run takes from a [`Workspace`] on so many threads.
    pub fn need(&self, input: Shape, threads: usize) -> Need {
        self.0.need::<4, 3>(input, threads)
    }

    /// Convolves; `moments`, where given, become those of the output.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn run(&self, io: Io<'_>, out: &mut [Block], moments: Option<&mut Moments>, workspace: &Workspace) {
        let [folds] = Self::FOLDS;
        let mut memory = workspace.filters();
        let u = self.0.transformed(0, &folds, &mut memory);
        let pass = Pass { folds, u, origin: [-1; 2], step: 1, phase: [0; 2] };
        Run::new(&self.0, io, 1, workspace).pass::<4, 3>(&pass, out, moments, true);
    }
}

impl Upsample2xConv3x3 {
    /// Those of even rows and columns, even rows and odd columns, and so on.
    const FOLDS: [[Fold<2>; 2]; 4] =
        [[HALVES[0], HALVES[0]], [HALVES[0], HALVES[1]], [HALVES[1], HALVES[0]], [HALVES[1], HALVES[1]]];

    /// An enlargement and a convolution with `weight` `[outputs, inputs, 3, 3]` in row order and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(level: Level, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self(Layer::new(level, weight, bias, inputs))
    }

    /// Transforms the filters now and keeps them, in sixteen times the memory of the weight; else each run does it anew.
    pub fn keep_transformed(&mut self) {
        self.0.keep(&Self::FOLDS);
    }

    /// Bytes of weights held.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        Shape::new(self.0.filters.outputs, 2 * input.height, 2 * input.width)
    }

    /// What a run takes from a [`Workspace`] on so many threads.
    pub fn need(&self, input: Shape, threads: usize) -> Need {
        self.0.need::<5, 2>(input, threads)
    }

    /// Enlarges and convolves; `moments`, where given, become those of the output.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn run(&self, io: Io<'_>, out: &mut [Block], mut moments: Option<&mut Moments>, workspace: &Workspace) {
        let run = Run::new(&self.0, io, 2, workspace);
        let mut memory = workspace.filters();
        for (parity, folds) in Self::FOLDS.into_iter().enumerate() {
            let u = self.0.transformed(parity, &folds, &mut memory);
            let phase = [parity / 2, parity % 2];
            let pass = Pass { folds, u, origin: phase.map(|p| p as isize - 1), step: 2, phase };
            run.pass::<5, 2>(&pass, out, moments.as_deref_mut(), parity == 0);
        }
    }
}

/// Weights and biases.
struct Layer {
    level: Level,
    filters: Filters,
    bias: Vec<Block>,
    /// The transformed filters of each pass, where they are kept.
    resident: Vec<Vec<Block>>,
}

impl Layer {
    fn new(level: Level, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        assert!(inputs > 0 && !bias.is_empty(), "a convolution has inputs and outputs");
        assert_eq!(weight.len(), bias.len() * inputs * 9, "weights of a 3x3 convolution");
        let filters = Filters::new(weight, inputs, bias.len());
        Self { level, filters, bias: pack_vector(bias), resident: Vec::new() }
    }

    fn keep<const R: usize>(&mut self, folds: &[[Fold<R>; 2]]) {
        let transformed = |folds| {
            let mut u = Vec::new();
            self.filters.transform(self.level, folds, &mut u);
            u
        };
        self.resident = folds.iter().map(transformed).collect();
    }

    /// The filters of a pass, in `memory` unless they are kept.
    fn transformed<'a, const R: usize>(
        &'a self,
        pass: usize,
        folds: &[Fold<R>; 2],
        memory: &'a mut Vec<Block>,
    ) -> &'a [Block] {
        match self.resident.get(pass) {
            Some(u) => u,
            None => {
                self.filters.transform(self.level, folds, memory);
                memory
            }
        }
    }

    fn bytes(&self) -> usize {
        self.filters.bytes() + self.resident.iter().chain([&self.bias]).map(|u| size_of_val(&u[..])).sum::<usize>()
    }

    fn need<const M: usize, const R: usize>(&self, input: Shape, threads: usize) -> Need {
        let filters = N * N * self.filters.panels(self.level).blocks();
        let tiles = [input.height.div_ceil(M), input.width.div_ceil(M)];
        if tiles.contains(&0) {
            return Need::default();
        }
        let [rows, columns] = block_of(tiles, filters, threads);
        let at_points = |planes| N * N * stride(planes, rows * columns);
        Need {
            staged: (rows * M + R - 1) * (columns * M + R - 1),
            left: at_points(input.planes()),
            products: at_points(self.bias.len()),
            filters: if self.resident.is_empty() { filters } else { 0 },
        }
    }
}

/// A correlation with R by R taps over the whole input, which writes every `step`-th row and column of the output.
struct Pass<'a, const R: usize> {
    folds: [Fold<R>; 2],
    /// The transformed filters.
    u: &'a [Block],
    /// Where the first tap lies from the position it contributes to, down and to the right.
    origin: [isize; 2],
    step: usize,
    /// The output's first row and column.
    phase: [usize; 2],
}

/// What all passes of a run share.
struct Run<'a> {
    layer: &'a Layer,
    panels: Panels,
    io: Io<'a>,
    output: Shape,
    workspace: &'a Workspace,
}

impl<'a> Run<'a> {
    fn new(layer: &'a Layer, io: Io<'a>, step: usize, workspace: &'a Workspace) -> Self {
        let input = io.input.shape();
        let output = Shape::new(layer.filters.outputs, step * input.height, step * input.width);
        assert_eq!(input.channels, layer.filters.inputs, "channels of a convolution's input");
        Self { layer, panels: layer.filters.panels(layer.level), io, output, workspace }
    }

    /// Runs one pass; the `first` one also empties the moments.
    fn pass<const M: usize, const R: usize>(
        &self,
        pass: &Pass<'_, R>,
        out: &mut [Block],
        mut moments: Option<&mut Moments>,
        first: bool,
    ) {
        const { assert!(N == M + R - 1) };
        self.io.check(self.output, out);
        let input = self.io.input.shape();
        let (tile_rows, tile_columns) = (input.height.div_ceil(M), input.width.div_ceil(M));
        if let (Some(moments), true) = (&mut moments, first) {
            moments.reset(self.output.planes(), tile_rows, self.output.pixels());
        }
        if tile_rows * tile_columns == 0 {
            return;
        }
        let threads = rayon::current_num_threads();
        let [rows, columns] = block_of([tile_rows, tile_columns], pass.u.len(), threads);
        let bands = bands(self.output, out, rows * M * pass.step, moments, rows);
        let split = bands.len() < threads;
        let work = |mut band: Band<'_>| {
            let mut scratch = self.workspace.scratch();
            let first_row = band.row / (M * pass.step);
            for column in (0..tile_columns).step_by(columns) {
                let tiles = BlockOfTiles::<M, R> {
                    run: self,
                    pass,
                    row: first_row,
                    column,
                    rows: rows.min(tile_rows - first_row),
                    columns: columns.min(tile_columns - column),
                    split,
                };
                tiles.convolve(&mut band, &mut scratch);
            }
        };
        bands.into_par_iter().with_max_len(1).for_each(work);
    }
}
