//! How activations lie in memory: sixteen channels of a pixel side by side.
//!
//! A picture of C channels is `ceil(C / 16)` planes, each `height * width` [`Block`]s in row order; block b of pixel
//! (y, x) holds channels `16 b .. 16 b + 16`, and lanes past the last channel are 0. One block is a cache line and one
//! AVX-512 register, so that every transform works on whole channels' vectors without a shuffle, and a plane range is
//! at once the left operand of a matrix product (see `gemm.rs`).

use std::ops::{Deref, DerefMut};

use rayon::prelude::*;

/// Channels in a [`Block`].
pub const LANES: usize = 16;

/// Sixteen channels of one pixel: one cache line.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct Block(pub [f32; LANES]);

impl Block {
    /// All lanes 0.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// The two halves, each aligned to 32 bytes.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn halves(&self) -> [&[f32; 8]; 2] {
        let (low, high) = self.0.split_first_chunk::<8>().expect("a block has sixteen lanes");
        [low, high.first_chunk().expect("a block has sixteen lanes")]
    }

    /// The two halves, each aligned to 32 bytes.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn halves_mut(&mut self) -> [&mut [f32; 8]; 2] {
        let (low, high) = self.0.split_first_chunk_mut::<8>().expect("a block has sixteen lanes");
        [low, high.first_chunk_mut().expect("a block has sixteen lanes")]
    }
}

/// Memory for blocks, zero at first.
///
/// It comes from the system page by page as it is written, by whichever thread does, where a `Vec<Block>` would be filled
/// with zeros by one thread before it is used: its alignment keeps allocators from handing out fresh zero pages as they are.
#[derive(Default)]
pub struct Blocks {
    floats: Vec<f32>,
    /// The first float that lies on a block's alignment.
    start: usize,
    len: usize,
}

impl Blocks {
    /// Room for `len` blocks; nothing if there is not so much memory.
    pub fn new(len: usize) -> Option<Self> {
        let floats = len.checked_mul(LANES)?.checked_add(LANES)?;
        let floats: Vec<f32> = bytemuck::allocation::try_zeroed_vec(floats).ok()?;
        let start = floats.as_ptr().align_offset(align_of::<Block>());
        Some(Self { floats, start, len })
    }
}

impl Deref for Blocks {
    type Target = [Block];

    fn deref(&self) -> &[Block] {
        // Of no floats there is none on a block's alignment.
        if self.len == 0 {
            return &[];
        }
        bytemuck::cast_slice(&self.floats[self.start..][..self.len * LANES])
    }
}

impl DerefMut for Blocks {
    fn deref_mut(&mut self) -> &mut [Block] {
        if self.len == 0 {
            return &mut [];
        }
        bytemuck::cast_slice_mut(&mut self.floats[self.start..][..self.len * LANES])
    }
}

/// The number of blocks that hold `channels` channels.
pub const fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// Channels, height and width of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels, at least 1.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels in a row.
    pub width: usize,
}

impl Shape {
    /// A shape of `channels` by `height` by `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// Pixels of one plane.
    pub const fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Planes of blocks.
    pub const fn planes(self) -> usize {
        blocks(self.channels)
    }

    /// Blocks in all planes.
    pub const fn blocks(self) -> usize {
        self.planes() * self.pixels()
    }
}

/// A borrowed picture in blocks.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub(crate) shape: Shape,
    pub(crate) blocks: &'a [Block],
}

impl<'a> View<'a> {
    /// Sees `blocks` as a picture of `shape`.
    ///
    /// # Panics
    /// If `blocks` is not `shape.blocks()` long.
    pub fn new(shape: Shape, blocks: &'a [Block]) -> Self {
        assert_eq!(blocks.len(), shape.blocks(), "blocks of a picture of {shape:?}");
        Self { shape, blocks }
    }

    /// Channels, height and width.
    pub fn shape(self) -> Shape {
        self.shape
    }

    /// The plane of channels `16 b .. 16 b + 16`.
    #[inline]
    pub fn plane(self, b: usize) -> &'a [Block] {
        let pixels = self.shape.pixels();
        &self.blocks[b * pixels..][..pixels]
    }
}

/// Pixels that a thread packs or unpacks at a time, of all channels of a plane: an image of three has one plane.
const PIXELS: usize = 4096;

/// Packs `planar`, `[channels, height, width]` in row order, into blocks.
///
/// # Panics
/// If a length does not fit `shape`.
pub fn pack(shape: Shape, planar: &[f32], out: &mut [Block]) {
    let pixels = shape.pixels();
    assert_eq!(planar.len(), shape.channels * pixels, "values of a picture of {shape:?}");
    assert_eq!(out.len(), shape.blocks(), "blocks of a picture of {shape:?}");
    if pixels == 0 {
        return;
    }
    let planes = out.par_chunks_mut(pixels).zip(planar.par_chunks(LANES * pixels));
    planes.for_each(|(plane, channels)| {
        plane.par_chunks_mut(PIXELS).enumerate().for_each(|(range, blocks)| {
            for (i, block) in (range * PIXELS..).zip(blocks) {
                *block = Block::ZERO;
                for (lane, channel) in block.0.iter_mut().zip(channels.chunks_exact(pixels)) {
                    *lane = channel[i];
                }
            }
        });
    });
}

/// Unpacks a picture into `planar`, `[channels, height, width]` in row order.
///
/// # Panics
/// If `planar` is not `channels * height * width` long.
pub fn unpack(view: View<'_>, planar: &mut [f32]) {
    let shape = view.shape;
    let pixels = shape.pixels();
    assert_eq!(planar.len(), shape.channels * pixels, "values of a picture of {shape:?}");
    if pixels == 0 {
        return;
    }
    planar.par_chunks_mut(LANES * pixels).enumerate().for_each(|(plane, channels)| {
        let mut ranges: Vec<Vec<&mut [f32]>> = Vec::new();
        ranges.resize_with(pixels.div_ceil(PIXELS), Vec::new);
        for channel in channels.chunks_mut(pixels) {
            ranges.iter_mut().zip(channel.chunks_mut(PIXELS)).for_each(|(range, values)| range.push(values));
        }
        ranges.into_par_iter().zip(view.plane(plane).par_chunks(PIXELS)).for_each(|(mut channels, blocks)| {
            for (i, block) in blocks.iter().enumerate() {
                channels.iter_mut().zip(block.0).for_each(|(channel, value)| channel[i] = value);
            }
        });
    });
}

/// Per-channel values as blocks, lanes past the end 0.
pub(crate) fn pack_vector(values: &[f32]) -> Vec<Block> {
    let block = |chunk: &[f32]| {
        let mut block = Block::ZERO;
        block.0[..chunk.len()].copy_from_slice(chunk);
        block
    };
    values.chunks(LANES).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_blocks_are_an_empty_slice() {
        for mut blocks in [Blocks::default(), Blocks::new(0).expect("nothing is always there")] {
            assert!(blocks.is_empty() && blocks.iter_mut().next().is_none());
        }
        assert_eq!(Blocks::new(3).expect("three blocks")[..], [Block::ZERO; 3]);
    }

    #[test]
    fn packing_and_unpacking_are_inverse() {
        for (channels, height, width) in [(1, 1, 1), (3, 71, 119), (16, 5, 3), (35, 64, 65), (4, 0, 9)] {
            let shape = Shape::new(channels, height, width);
            let planar: Vec<f32> = (0..channels * shape.pixels()).map(|i| i as f32).collect();
            let mut packed = vec![Block([f32::NAN; LANES]); shape.blocks()];
            pack(shape, &planar, &mut packed);
            for (i, block) in packed.iter().enumerate() {
                let (plane, pixel) = (i / shape.pixels(), i % shape.pixels());
                let channel = |lane| (plane * LANES + lane < channels).then_some(plane * LANES + lane);
                let value = |lane| channel(lane).map_or(0.0, |c| planar[c * shape.pixels() + pixel]);
                assert_eq!(block.0, std::array::from_fn(value), "{shape:?} {i}");
            }
            let mut unpacked = vec![f32::NAN; planar.len()];
            unpack(View::new(shape, &packed), &mut unpacked);
            assert_eq!(unpacked, planar, "{shape:?}");
        }
    }
}
