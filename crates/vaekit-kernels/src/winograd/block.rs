//! One block of tiles, from pixels to pixels.

use rayon::prelude::*;

use super::filter::Filters;
use super::points::N;
use super::transform::{input_tile, output_tile};
use super::{Pass, Run};
use crate::bands::Band;
use crate::finish::{Finish, Tally};
use crate::gemm::{Init, Panel, Rows};
use crate::layout::{Block, LANES};
use crate::norm::Partial;
use crate::simd::{Kernel, Simd};
use crate::stage::{Stage, larger};
use crate::workspace::{Scratch, sized};

/// Blocks between one point's operands, or products, and the next one's: odd, lest a tile's lie in the same set of every
/// cache.
pub(super) fn stride(planes: usize, tiles: usize) -> usize {
    (planes * tiles) | 1
}

/// Tiles `row..row + rows` by `column..column + columns` of a pass.
#[derive(Clone, Copy)]
pub(super) struct BlockOfTiles<'a, const M: usize, const R: usize> {
    pub(super) run: &'a Run<'a>,
    pub(super) pass: &'a Pass<'a, R>,
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Whether its points are shared out: there are fewer blocks at a time than threads.
    pub(super) split: bool,
}

impl<const M: usize, const R: usize> BlockOfTiles<'_, M, R> {
    pub(super) fn convolve(&self, band: &mut Band<'_>, scratch: &mut Scratch) {
        if self.take_to_points(scratch) {
            self.multiply(band, scratch);
        } else if self.rows > 1 {
            // Each row of tiles for itself, since how many are in a block depends on the number of threads.
            let (rows, width) = (M * self.pass.step, self.run.output.width);
            for row in 0..self.rows {
                let mut part = band.part(row * rows..(row + 1) * rows, width, row..row + 1);
                Self { row: self.row + row, rows: 1, ..*self }.convolve(&mut part, scratch);
            }
        } else {
            self.directly(band, scratch);
        }
    }

    fn tiles(&self) -> usize {
        self.rows * self.columns
    }

    fn stride(&self, planes: usize) -> usize {
        stride(planes, self.tiles())
    }

    /// The staged width.
    fn width(&self) -> usize {
        self.columns * M + R - 1
    }

    /// Stages the pixels of one plane that the block needs; returns the largest magnitudes.
    fn stage(&self, plane: usize, staged: &mut Vec<Block>) -> Block {
        let Run { layer, io, .. } = self.run;
        layer.level.run(Stage {
            picture: io.input,
            plane,
            prologue: io.prologue,
            y: (self.row * M) as isize + self.pass.origin[0],
            x: (self.column * M) as isize + self.pass.origin[1],
            columns: self.width(),
            out: sized(staged, (self.rows * M + R - 1) * self.width()),
        })
    }

    /// Takes the pixels of all planes to the points; false if a value is too large for that.
    fn take_to_points(&self, scratch: &mut Scratch) -> bool {
        let planes = self.run.io.input.shape().planes();
        let stride = self.stride(planes);
        let left = sized(&mut scratch.left, N * N * stride);
        let mut largest = Block::ZERO;
        for plane in 0..planes {
            largest = larger(largest, self.stage(plane, &mut scratch.staged));
            self.run.layer.level.run(ToPoints::<M> {
                staged: &scratch.staged,
                width: self.width(),
                rows: self.rows,
                columns: self.columns,
                left: &mut left[plane * self.tiles()..],
                stride,
            });
        }
        largest.0.iter().all(|&x| x <= self.run.layer.filters.limit)
    }

    /// Multiplies at every point, all panels of the filters one after another while the point's left operand is in the
    /// second-level cache, and takes the products back.
    fn multiply(&self, band: &mut Band<'_>, scratch: &mut Scratch) {
        let Run { layer, panels, io, output, .. } = *self.run;
        let tiles = self.tiles();
        let left_stride = self.stride(io.input.shape().planes());
        let stride = self.stride(output.planes());
        let Scratch { left, products, .. } = scratch;
        let products = sized(products, N * N * stride);
        let product = |(point, products): (usize, &mut [Block])| {
            let a = Rows { blocks: &left[point * left_stride..], stride: tiles, rows: tiles };
            let mut products = products.chunks_exact_mut(tiles);
            for p in 0..panels.count() {
                let width = panels.width_of(p);
                let next = match (p + 1 < panels.count(), point + 1 < N * N) {
                    (true, _) => self.filter(p + 1, point),
                    (false, true) => self.filter(0, point + 1),
                    (false, false) => &[],
                };
                let mut column = || products.next().unwrap_or_default();
                let mut out = [column(), if width == 2 { column() } else { &mut [] }];
                layer.level.run(Panel { a, b: self.filter(p, point), init: Init::Zero, next, out: &mut out[..width] });
            }
        };
        if self.split {
            products.par_chunks_exact_mut(stride).enumerate().for_each(product);
        } else {
            products.chunks_exact_mut(stride).enumerate().for_each(product);
        }
        for plane in 0..output.planes() {
            let products = &scratch.products[plane * tiles..];
            self.finish(band, plane, Products::<M> { products, stride });
        }
    }

    /// Panel `p` of the filters at `point`.
    fn filter(&self, p: usize, point: usize) -> &[Block] {
        let panels = self.run.panels;
        let len = panels.k * panels.width_of(p);
        &self.pass.u[N * N * panels.start(p) + point * len..][..len]
    }

    /// Convolves without a transform. Where a value is not finite, or so large that a transform might overflow, this
    /// confines it to the outputs that it reaches.
    fn directly(&self, band: &mut Band<'_>, scratch: &mut Scratch) {
        let Scratch { staged, products, .. } = scratch;
        for plane in 0..self.run.output.planes() {
            let sums = sized(products, self.tiles() * M * M);
            sums.fill(Block::ZERO);
            for input_plane in 0..self.run.io.input.shape().planes() {
                self.stage(input_plane, staged);
                self.run.layer.level.run(Direct {
                    tiles: self,
                    filters: &self.run.layer.filters,
                    staged,
                    input_plane,
                    plane,
                    sums: &mut *sums,
                });
            }
            self.finish(band, plane, Sums::<M> { sums });
        }
    }

    fn finish<F: Tiles<M>>(&self, band: &mut Band<'_>, plane: usize, tiles: F) {
        let Run { layer, io, output, .. } = self.run;
        let partials = match &mut band.partials[..] {
            [] => &mut [],
            partials => &mut *partials[plane],
        };
        let out = &mut *band.planes[plane];
        let residual = io.epilogue.residual.map(|r| &r.plane(plane)[band.row * output.width..][..out.len()]);
        let finish = Finish { bias: layer.bias[plane], residual, relu: io.epilogue.relu, out };
        layer.level.run(Write { block: self, tiles, finish, partials });
    }
}

/// `B^T d B` of every tile of one staged plane.
struct ToPoints<'a, const M: usize> {
    staged: &'a [Block],
    width: usize,
    rows: usize,
    columns: usize,
    left: &'a mut [Block],
    stride: usize,
}

impl<const M: usize> Kernel for ToPoints<'_, M> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in 0..self.rows {
            for column in 0..self.columns {
                let tile = &self.staged[row * M * self.width + column * M..];
                let mut d = [[s.zero(); N]; N];
                for i in 0..N {
                    let line: &[Block; N] = tile[i * self.width..].first_chunk().expect("a staged tile");
                    for j in 0..N {
                        d[i][j] = s.load(&line[j]);
                    }
                }
                let d = input_tile(s, d);
                let left = &mut self.left[row * self.columns + column..];
                for i in 0..N {
                    for j in 0..N {
                        s.store(d[i][j], &mut left[(i * N + j) * self.stride]);
                    }
                }
            }
        }
    }
}

/// Where outputs come from, tile by tile, before they are finished.
trait Tiles<const M: usize> {
    fn tile<S: Simd>(&self, s: S, tile: usize) -> [[S::V; M]; M];
}

/// Products at the points.
struct Products<'a, const M: usize> {
    products: &'a [Block],
    stride: usize,
}

impl<const M: usize> Tiles<M> for Products<'_, M> {
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, tile: usize) -> [[S::V; M]; M] {
        let products = &self.products[tile..];
        let mut m = [[s.zero(); N]; N];
        for i in 0..N {
            for j in 0..N {
                m[i][j] = s.load(&products[(i * N + j) * self.stride]);
            }
        }
        output_tile(s, m)
    }
}

/// Sums of a direct convolution.
struct Sums<'a, const M: usize> {
    sums: &'a [Block],
}

impl<const M: usize> Tiles<M> for Sums<'_, M> {
    #[inline(always)]
    fn tile<S: Simd>(&self, s: S, tile: usize) -> [[S::V; M]; M] {
        let sums = &self.sums[tile * M * M..];
        let mut y = [[s.zero(); M]; M];
        for i in 0..M {
            for j in 0..M {
                y[i][j] = s.load(&sums[i * M + j]);
            }
        }
        y
    }
}

/// Finishes the tiles of one output plane and writes those of their outputs that lie in the picture.
struct Write<'a, 'o, F, const M: usize, const R: usize> {
    block: &'a BlockOfTiles<'a, M, R>,
    tiles: F,
    finish: Finish<'o>,
    partials: &'a mut [Partial],
}

impl<F: Tiles<M>, const M: usize, const R: usize> Kernel for Write<'_, '_, F, M, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Pass { step, phase, .. } = *self.block.pass;
        let (input, width) = (self.block.run.io.input.shape(), self.block.run.output.width);
        for row in 0..self.block.rows {
            let rows = M.min(input.height - (self.block.row + row) * M);
            for column in 0..self.block.columns {
                let x = (self.block.column + column) * M;
                let columns = M.min(input.width - x);
                let y = self.tiles.tile(s, row * self.block.columns + column);
                let mut tally = Tally::new(s);
                for (i, y) in y.iter().enumerate().take(rows) {
                    let line = ((row * M + i) * step + phase[0]) * width + phase[1];
                    for (j, &y) in y.iter().enumerate().take(columns) {
                        let written = self.finish.write(s, y, line + (x + j) * step);
                        tally.add(s, written);
                    }
                }
                if let Some(partial) = self.partials.get_mut(row) {
                    tally.fold_into(s, partial);
                }
            }
        }
    }
}

/// Adds one input plane's share to a block's sums for one output plane.
struct Direct<'a, const M: usize, const R: usize> {
    tiles: &'a BlockOfTiles<'a, M, R>,
    filters: &'a Filters,
    staged: &'a [Block],
    input_plane: usize,
    plane: usize,
    sums: &'a mut [Block],
}

impl<const M: usize, const R: usize> Kernel for Direct<'_, M, R> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BlockOfTiles { rows, columns, pass, .. } = *self.tiles;
        let width = self.tiles.width();
        for lane in 0..LANES.min(self.filters.inputs - self.input_plane * LANES) {
            let taps = self.filters.folded(s, &pass.folds, self.plane, self.input_plane * LANES + lane);
            for tile in 0..rows * columns {
                let corner = &self.staged[tile / columns * M * width + tile % columns * M..];
                for (at, sum) in self.sums[tile * M * M..][..M * M].iter_mut().enumerate() {
                    let mut y = s.load(sum);
                    for (tap, &w) in taps.as_flattened().iter().enumerate() {
                        let x = &corner[(at / M + tap / R) * width + at % M + tap % R];
                        y = s.mul_add(s.splat(x.0[lane]), w, y);
                    }
                    s.store(y, sum);
                }
            }
        }
    }
}
