//! Convolutions of stride 1 by Winograd's minimal filtering, a block of tiles at a time.
//!
//! A block is some rows and columns of tiles. Its pixels are staged channel by channel (padding and prologue), taken to
//! the interpolation points, multiplied there with the filters, and taken back to outputs, which are finished and
//! written. A block's operands and products stay in the second-level cache or little more; filters are read once for
//! each block. Nothing grows with the picture.

mod block;
mod filter;
mod points;
mod transform;

use rayon::prelude::*;

use self::block::BlockOfTiles;
use self::filter::{Filters, Fold, HALVES, WHOLE};
use self::points::N;
use crate::bands::{Band, bands};
use crate::gemm::Panels;
use crate::io::Io;
use crate::layout::{Block, Shape, pack_vector};
use crate::norm::Moments;
use crate::simd::Level;
use crate::workspace::Workspace;

/// Tiles in a block, unless the picture is smaller. More of them read the filters less often, fewer need less memory:
/// filters that exceed the second-level cache many times over are worth the larger blocks, of about 10 MB.
const fn tiles(filters: usize) -> usize {
    const LARGE: usize = 16 << 20;
    if filters * size_of::<Block>() > LARGE { 128 } else { 64 }
}

/// Tiles side by side in a block, at most: the rest of them are below each other, so that fewer border pixels are
/// staged twice.
const COLUMNS: usize = 16;

/// A 3x3 convolution of stride 1, padded by 1 with zeros.
pub struct Conv3x3 {
    level: Level,
    filters: Filters,
    bias: Vec<Block>,
    resident: Option<Vec<Block>>,
}

/// Nearest-neighbour enlargement by 2 and the 3x3 convolution that follows it, padded by 1 with zeros, in one.
///
/// The enlarged picture is never made: the outputs of each parity of row and column are a convolution of 2x2 taps over
/// the source, and F(5, 2) computes 25 of them by 36 products where the enlarged picture would need 100.
pub struct Upsample2xConv3x3 {
    level: Level,
    filters: Filters,
    bias: Vec<Block>,
    resident: Option<[Vec<Block>; 4]>,
}

impl Conv3x3 {
    /// A convolution with `weight` `[outputs, inputs, 3, 3]` in row order and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(level: Level, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self { level, filters: filters(weight, bias, inputs), bias: pack_vector(bias), resident: None }
    }

    /// Transforms the filters now and keeps them, in four times the memory of the weight; else each run does it anew.
    pub fn keep_transformed(&mut self) {
        let mut u = Vec::new();
        self.filters.transform(self.level, &[WHOLE; 2], &mut u);
        self.resident = Some(u);
    }

    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        Shape { channels: self.filters.outputs, ..input }
    }

    /// Convolves; `moments`, where given, become those of the output.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn run(&self, io: Io<'_>, out: &mut [Block], moments: Option<&mut Moments>, workspace: &Workspace) {
        let mut transformed;
        let u = match &self.resident {
            Some(u) => u,
            None => {
                transformed = workspace.filters();
                self.filters.transform(self.level, &[WHOLE; 2], &mut transformed);
                &*transformed
            }
        };
        let pass = Pass { folds: [WHOLE; 2], u, origin: [-1; 2], step: 1, phase: [0; 2] };
        let run = Run::new(self.level, &self.filters, &self.bias, io, 1, workspace);
        run.pass::<4, 3>(&pass, out, moments, true);
    }
}

impl Upsample2xConv3x3 {
    /// An enlargement and a convolution with `weight` `[outputs, inputs, 3, 3]` in row order and `bias` `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(level: Level, weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        Self { level, filters: filters(weight, bias, inputs), bias: pack_vector(bias), resident: None }
    }

    /// Transforms the filters now and keeps them, in sixteen times the memory of the weight; else each run does it anew.
    pub fn keep_transformed(&mut self) {
        let transformed = |parity: usize| {
            let mut u = Vec::new();
            self.filters.transform(self.level, &Self::folds(parity), &mut u);
            u
        };
        self.resident = Some(std::array::from_fn(transformed));
    }

    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        Shape::new(self.filters.outputs, 2 * input.height, 2 * input.width)
    }

    /// Enlarges and convolves; `moments`, where given, become those of the output.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn run(&self, io: Io<'_>, out: &mut [Block], mut moments: Option<&mut Moments>, workspace: &Workspace) {
        let run = Run::new(self.level, &self.filters, &self.bias, io, 2, workspace);
        for parity in 0..4 {
            let folds = Self::folds(parity);
            let mut transformed;
            let u = match &self.resident {
                Some(u) => &u[parity],
                None => {
                    transformed = workspace.filters();
                    self.filters.transform(self.level, &folds, &mut transformed);
                    &*transformed
                }
            };
            let phase = [parity / 2, parity % 2];
            let pass = Pass { folds, u, origin: phase.map(|p| p as isize - 1), step: 2, phase };
            run.pass::<5, 2>(&pass, out, moments.as_deref_mut(), parity == 0);
        }
    }

    fn folds(parity: usize) -> [Fold<2>; 2] {
        [HALVES[parity / 2], HALVES[parity % 2]]
    }
}

fn filters(weight: &[f32], bias: &[f32], inputs: usize) -> Filters {
    assert!(inputs > 0 && !bias.is_empty(), "a convolution has inputs and outputs");
    assert_eq!(weight.len(), bias.len() * inputs * 9, "weights of a 3x3 convolution");
    Filters::new(weight, inputs, bias.len())
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
    level: Level,
    filters: &'a Filters,
    panels: Panels,
    bias: &'a [Block],
    io: Io<'a>,
    output: Shape,
    /// The largest magnitude of inputs with which no intermediate value can overflow.
    limit: f32,
    workspace: &'a Workspace,
}

impl<'a> Run<'a> {
    fn new(
        level: Level,
        filters: &'a Filters,
        bias: &'a [Block],
        io: Io<'a>,
        step: usize,
        workspace: &'a Workspace,
    ) -> Self {
        let input = io.input.shape();
        let output = Shape::new(filters.outputs, step * input.height, step * input.width);
        assert_eq!(input.channels, filters.inputs, "channels of a convolution's input");
        let panels = filters.panels(level);
        Self { level, filters, panels, bias, io, output, limit: filters.limit, workspace }
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
        let columns = tile_columns.div_ceil(tile_columns.div_ceil(COLUMNS));
        let share = tile_rows.div_ceil(rayon::current_num_threads());
        let rows = (tiles(pass.u.len()) / columns).clamp(1, share);
        let bands = bands(self.output, out, rows * M * pass.step, moments, rows);
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
                };
                tiles.convolve(&mut band, &mut scratch);
            }
        };
        bands.into_par_iter().with_max_len(1).for_each(work);
    }
}
