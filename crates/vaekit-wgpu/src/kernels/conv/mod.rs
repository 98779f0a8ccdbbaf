//! Convolutions with register tiles: each thread keeps four pixels of up to four vectors of channels.
//!
//! A workgroup stages a tile of the input, with the pixels around it, and the weights of its output channels in workgroup
//! memory, a few vectors of input channels at a time. A product of matrices is a convolution of one tap, whose weights may
//! be an image themselves (an attention's keys or values); batches are what Winograd's points and an enlargement's four
//! parities are. Accumulators are named variables: an indexed array is kept in memory by some compilers.

mod params;
mod twin;
mod wgsl;

use super::text::{self, Arrays, Elements};
use super::{POINTS, Prologue};
use crate::layout::{LANES, Storage};
use crate::plan::Capabilities;

pub use params::ConvParams;

/// A convolution's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Taps along a side.
    pub size: u32,
    /// Input pixels from one output to the next.
    pub stride: u32,
    /// Whether batches are the four parities of an output twice as large, see [`fold_upsample`](super::fold_upsample).
    pub upsample: bool,
    /// How a workgroup shares the work.
    pub tile: Tile,
    /// What the weights are.
    pub weights: Weights,
    /// On the input as it is read.
    pub prologue: Prologue,
    /// Whether an image of the output's shape is added.
    pub residual: bool,
    /// Whether negative values become 0 at the end.
    pub relu: bool,
    /// Of the input.
    pub input: Storage,
    /// Of the output and what is added to it.
    pub output: Storage,
}

/// What a convolution's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    /// Biases, then weights, see [`pack_weights`](super::pack_weights); in f32.
    Packed,
    /// As packed, without biases: of Winograd's points.
    Points,
    /// An image whose pixels are the output's channels: `out[j] = sum over c of in[c] w[c][j]`.
    Keys(Storage),
    /// An image whose pixels are the input's channels: `out[c] = sum over j of in[j] w[c][j]`.
    Values(Storage),
}

/// How a workgroup shares the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 64 pixels by 64 channels.
    Wide,
    /// 128 pixels by 32 channels.
    Medium,
    /// 256 pixels by 16 channels.
    Slim,
    /// 256 pixels by 4 channels.
    Narrow,
    /// 64 pixels by 4 channels without workgroup memory: slow, and as simple as a kernel can be.
    Plain,
}

/// A tile in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSize {
    /// Output pixels across.
    pub width: u32,
    /// Output pixels down.
    pub height: u32,
    /// Output pixels of a thread, side by side.
    pub pixels: u32,
    /// Output vectors of a thread.
    pub vectors: u32,
    /// Threads side by side along the channels.
    pub columns: u32,
    /// Input vectors that are staged together.
    pub depth: u32,
}

impl TileSize {
    /// Threads of a workgroup.
    pub fn threads(self) -> u32 {
        self.width / self.pixels * self.height * self.columns
    }

    /// Output vectors of a workgroup.
    pub fn planes(self) -> u32 {
        self.vectors * self.columns
    }
}

impl Conv {
    /// For people.
    pub(in crate::kernels) fn name(&self) -> &'static str {
        match (self.weights, self.size, self.upsample, self.stride) {
            (Weights::Keys(_) | Weights::Values(_), ..) => "product",
            (Weights::Points, ..) => "product of points",
            (Weights::Packed, _, true, _) => "upsample 2x and conv 3x3",
            (Weights::Packed, 1, ..) => "conv 1x1",
            (Weights::Packed, _, _, 1) => "conv 3x3",
            (Weights::Packed, ..) => "conv 3x3 stride 2",
        }
    }

    /// The tile in numbers.
    pub fn tile_size(&self) -> TileSize {
        let tile = |width, height, vectors, columns| {
            // One tap does not need its neighbours: rows of pixels are one row, and more planes fit.
            let depth = match (self.size, width * height) {
                (1, ..=128) => 4,
                (1, _) => 2,
                _ => 1,
            };
            let (width, height) = if self.size == 1 { (width * height, 1) } else { (width, height) };
            TileSize { width, height, pixels: 4, vectors, columns, depth }
        };
        match self.tile {
            Tile::Wide => tile(8, 8, 4, 4),
            Tile::Medium => tile(8, 16, 4, 2),
            Tile::Slim => tile(16, 16, 4, 1),
            Tile::Narrow => tile(16, 16, 1, 1),
            Tile::Plain if self.size == 1 => {
                TileSize { width: 64, height: 1, pixels: 1, vectors: 1, columns: 1, depth: 1 }
            }
            Tile::Plain => TileSize { width: 8, height: 8, pixels: 1, vectors: 1, columns: 1, depth: 1 },
        }
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        if self.tile == Tile::Plain {
            return 0;
        }
        let (across, down) = self.staged();
        let tile = self.tile_size();
        let vectors = across * down + self.size * self.size * tile.planes() * LANES as u32;
        vectors * tile.depth * 16
    }

    /// Input pixels of a tile, across and down.
    fn staged(&self) -> (u32, u32) {
        let tile = self.tile_size();
        ((tile.width - 1) * self.stride + self.size, (tile.height - 1) * self.stride + self.size)
    }

    /// Whether a device has the threads and the memory that a workgroup takes.
    pub fn fits(&self, capabilities: &Capabilities) -> bool {
        self.workgroup_bytes() <= capabilities.workgroup_bytes
            && self.tile_size().threads() <= capabilities.workgroup_threads
    }

    /// Batches: Winograd's points, or an enlargement's four parities.
    pub fn batches(&self) -> u32 {
        match self.weights {
            Weights::Points => POINTS as u32,
            _ if self.upsample => 4,
            _ => 1,
        }
    }

    /// Workgroups of a dispatch.
    pub fn grid(&self, params: &ConvParams) -> [u32; 3] {
        let tile = self.tile_size();
        let rows = params.rows_end.saturating_sub(params.row);
        [params.out_width.div_ceil(tile.width), rows.div_ceil(tile.height), params.columns * self.batches()]
    }

    fn arrays(&self) -> Arrays {
        let weights = match self.weights {
            Weights::Packed | Weights::Points => Storage::F32,
            Weights::Keys(storage) | Weights::Values(storage) => storage,
        };
        let mut arrays = vec![("input", Elements::Vectors(self.input)), ("weights", Elements::Vectors(weights))];
        if self.prologue != Prologue::Plain {
            arrays.push(("scales", Elements::Vectors(Storage::F32)));
        }
        if self.residual {
            arrays.push(("residual", Elements::Vectors(self.output)));
        }
        arrays.push(("output", Elements::Vectors(self.output)));
        arrays
    }

    pub(in crate::kernels) fn bindings(&self) -> Vec<Storage> {
        text::storages(&self.arrays())
    }
}
