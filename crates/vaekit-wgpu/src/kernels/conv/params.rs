//! Where a convolution finds what it reads and writes.

use super::Conv;
use crate::layout::{LANES, Shape};

/// Sizes, strides in vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct ConvParams {
    /// The input's planes.
    pub planes: u32,
    /// The input's width, also from one row to the next.
    pub in_width: u32,
    /// The input's height.
    pub in_height: u32,
    /// Where the input begins.
    pub in_first: u32,
    /// From one plane of the input to the next.
    pub in_plane: u32,
    /// From one batch of the input to the next.
    pub in_batch: u32,
    /// Rows of zeros above the input.
    pub before: u32,
    /// Columns of outputs.
    pub out_width: u32,
    /// The first row of outputs.
    pub row: u32,
    /// The row after the last.
    pub rows_end: u32,
    /// The output's planes.
    pub out_planes: u32,
    /// Where the output begins.
    pub out_first: u32,
    /// From one row of outputs to the next.
    pub out_row: u32,
    /// From one plane of the output to the next.
    pub out_plane: u32,
    /// From one batch of the output to the next.
    pub out_batch: u32,
    /// Where the weights begin.
    pub weight_first: u32,
    /// From one output vector's weights to the next.
    pub weight_out: u32,
    /// From one input vector's weights to the next.
    pub weight_in: u32,
    /// From one batch's weights to the next.
    pub weight_batch: u32,
    /// Pixels of the image that the weights are, if they are.
    pub weight_pixels: u32,
    /// Workgroups along the channels of one batch.
    pub columns: u32,
}

impl ConvParams {
    /// Of a convolution with packed weights from an image to another, whose sides it does not check; `before` rows of zeros
    /// lie above, columns to the left.
    pub fn packed(conv: &Conv, from: Shape, to: Shape, before: usize) -> Self {
        let (planes, out_planes, lanes) =
            (from.planes() as u32, to.planes() as u32, conv.size * conv.size * LANES as u32);
        let outputs = if conv.upsample { from } else { to };
        ConvParams {
            planes,
            in_width: from.width as u32,
            in_height: from.height as u32,
            in_plane: from.pixels() as u32,
            before: before as u32,
            out_width: outputs.width as u32,
            rows_end: outputs.height as u32,
            out_planes,
            out_row: to.width as u32,
            out_plane: to.pixels() as u32,
            weight_first: out_planes,
            weight_in: lanes,
            weight_out: planes * lanes,
            weight_batch: out_planes * planes * lanes,
            columns: out_planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of an attention's scores: `count` queries from `first` on, of images of `planes`, with all keys.
    pub fn scores(conv: &Conv, planes: u32, queries: u32, [first, count]: [u32; 2], keys: u32) -> Self {
        let vectors = keys.div_ceil(LANES as u32);
        ConvParams {
            planes,
            in_width: count,
            in_height: 1,
            in_first: first,
            in_plane: queries,
            out_width: count,
            rows_end: 1,
            out_planes: vectors,
            out_plane: count,
            weight_out: LANES as u32,
            weight_in: keys,
            weight_pixels: keys,
            columns: vectors.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of Winograd's products: for each of 36 points, `tiles` vectors of each of the planes.
    pub fn points(conv: &Conv, planes: u32, out_planes: u32, tiles: u32) -> Self {
        ConvParams {
            planes,
            in_width: tiles,
            in_height: 1,
            in_plane: tiles,
            in_batch: planes * tiles,
            out_width: tiles,
            rows_end: 1,
            out_planes,
            out_plane: tiles,
            out_batch: out_planes * tiles,
            weight_in: LANES as u32,
            weight_out: planes * LANES as u32,
            weight_batch: out_planes * planes * LANES as u32,
            columns: out_planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of the sums of values that those queries' weights give.
    pub fn sums(conv: &Conv, planes: u32, queries: u32, [first, count]: [u32; 2], keys: u32) -> Self {
        ConvParams {
            planes: keys.div_ceil(LANES as u32),
            in_width: count,
            in_height: 1,
            in_plane: count,
            out_width: count,
            rows_end: 1,
            out_planes: planes,
            out_first: first,
            out_plane: queries,
            weight_out: keys,
            weight_in: LANES as u32,
            weight_pixels: keys,
            columns: planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }
}

/// Their names, in order.
pub(super) const NAMES: &[&str] = &[
    "planes",
    "in_width",
    "in_height",
    "in_first",
    "in_plane",
    "in_batch",
    "before",
    "out_width",
    "row",
    "rows_end",
    "out_planes",
    "out_first",
    "out_row",
    "out_plane",
    "out_batch",
    "weight_first",
    "weight_out",
    "weight_in",
    "weight_batch",
    "weight_pixels",
    "columns",
];
