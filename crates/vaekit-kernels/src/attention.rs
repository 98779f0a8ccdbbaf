//! Attention over pixels that never holds the matrix of scores.
//!
//! A strip of queries goes through the keys a chunk at a time: scores, their exponentials relative to the largest so
//! far, and the sum of values they weight, all rescaled when a larger score turns up (Milakov and Gimelshein, "Online
//! normalizer calculation for softmax", 2018; Dao et al., "FlashAttention", 2022).

use rayon::prelude::*;

use crate::bands::bands;
use crate::gemm::{Init, Panel, Panels, Rows, multiply};
use crate::layout::{Block, LANES, Shape, View, blocks};
use crate::math::exp;
use crate::simd::{Kernel, Level, Simd};
use crate::workspace::{Need, Scratch, Workspace, sized};

/// Queries that go through the keys together.
const QUERIES: usize = 112;

/// Keys of a chunk: a multiple of every panel's columns.
const KEYS: usize = 512;

/// One head of attention from every pixel of `q` to all pixels of `k` and `v`: `softmax(q k^T * scale) v`, written to
/// `out` in the shape of `q`. `packed` is memory to work in, [`attention_blocks`] long; what it holds is of no account.
///
/// # Panics
/// If `q`, `k`, `v` and `out` differ in channels, `k` and `v` in their sides, there are no keys, or `packed` has another
/// length.
pub fn attention(
    level: Level,
    scale: f32,
    [q, k, v]: [View<'_>; 3],
    out: &mut [Block],
    packed: &mut [Block],
    workspace: &Workspace,
) {
    let shape = q.shape();
    assert_eq!(k.shape(), v.shape(), "shapes of keys and values");
    assert_eq!(shape.channels, k.shape().channels, "channels of queries and keys");
    assert_eq!(out.len(), shape.blocks(), "blocks of an attention's output of {shape:?}");
    assert_eq!(packed.len(), attention_blocks(level, k.shape()), "blocks of an attention's keys and values");
    assert!(k.shape().pixels() > 0, "an attention has keys");
    if shape.pixels() == 0 {
        return;
    }
    let (keys, values) = packed.split_at_mut(key_panels(level, k.shape()).blocks());
    let head = Head { level, scale, q, keys: pack_keys(level, k, keys), values: pack_values(level, v, values) };
    let line = Shape::new(shape.channels, shape.pixels(), 1);
    bands(line, out, QUERIES, None, 1).into_par_iter().for_each(|mut strip| {
        head.strip(strip.row, &mut strip.planes, &mut workspace.scratch());
    });
}

/// Blocks that an attention to keys and values of this shape works in, besides its [`attention_need`].
pub fn attention_blocks(level: Level, keys: Shape) -> usize {
    let panels = value_panels(level, keys);
    let values = if lies_in_panels(panels) { 0 } else { panels.blocks() };
    key_panels(level, keys).blocks() + values
}

/// What an attention takes from a [`Workspace`].
pub fn attention_need() -> Need {
    Need { staged: QUERIES, products: KEYS / LANES * QUERIES, ..Need::default() }
}

/// A packed right operand.
#[derive(Clone, Copy)]
struct Right<'a> {
    panels: Panels,
    blocks: &'a [Block],
}

struct Head<'a> {
    level: Level,
    scale: f32,
    q: View<'a>,
    /// Channels by keys.
    keys: Right<'a>,
    /// Keys by channels.
    values: Right<'a>,
}

impl Head<'_> {
    /// Computes the queries from `first` on, as many as a plane of `out` is long.
    fn strip(&self, first: usize, out: &mut [&mut [Block]], scratch: &mut Scratch) {
        let Self { level, q, keys, values, .. } = *self;
        let rows = out[0].len();
        let queries = Rows { blocks: &q.blocks[first..], stride: q.shape().pixels(), rows };
        let running = sized(&mut scratch.staged, rows);
        running.fill(Block::ZERO);
        let mut largest = [f32::MIN; QUERIES];
        let scores = sized(&mut scratch.products, KEYS / LANES * rows);
        for key in (0..values.panels.k).step_by(KEYS) {
            let count = KEYS.min(values.panels.k - key);
            let chunk = Panels { columns: blocks(count), ..keys.panels };
            let b = &keys.blocks[keys.panels.start(key / LANES / keys.panels.width)..];
            let mut planes: Vec<&mut [Block]> = scores.chunks_exact_mut(rows).take(chunk.columns).collect();
            multiply(level, queries, chunk, b, Init::Zero, &mut planes);
            let mut mask = Block::ZERO;
            if !count.is_multiple_of(LANES) {
                mask.0[count % LANES..].fill(f32::NEG_INFINITY);
            }
            let (running, largest) = (&mut *running, &mut largest);
            level.run(Softmax { scale: self.scale, first: key == 0, mask, scores: planes, running, largest, out });
            let weights = Rows { blocks: scores, stride: rows, rows };
            for (p, out) in out.chunks_mut(values.panels.width).enumerate() {
                let b = &values.blocks[values.panels.start(p) + key * out.len()..][..count * out.len()];
                level.run(Panel { a: weights, b, init: Init::Accumulate, next: &[], out });
            }
        }
        level.run(Divide { by: running, out });
    }
}

/// Turns scores into weights `exp(score * scale - largest)`, brings what was summed before to the new largest score,
/// and adds the weights to the running sums, which are kept lane by lane.
struct Softmax<'a, 'o> {
    scale: f32,
    /// Whether nothing was summed before; what `out` holds is then unspecified.
    first: bool,
    /// Added to the last block of scores once they are scaled: minus infinity in lanes past the last key, so that
    /// they do not count whatever the scale.
    mask: Block,
    scores: Vec<&'a mut [Block]>,
    running: &'a mut [Block],
    largest: &'a mut [f32; QUERIES],
    out: &'a mut [&'o mut [Block]],
}

impl Kernel for Softmax<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (scale, mask) = (s.splat(self.scale), s.load(&self.mask));
        let Some((last, scores)) = self.scores.split_last_mut() else { return };
        for (row, running) in self.running.iter_mut().enumerate() {
            let before = self.largest[row];
            let mut lanes = s.max(s.splat(before), s.mul_add(s.load(&last[row]), scale, mask));
            for scores in &*scores {
                lanes = s.max(lanes, s.mul(s.load(&scores[row]), scale));
            }
            let largest = s.to_block(lanes).0.into_iter().fold(before, f32::max);
            self.largest[row] = largest;
            let shift = s.splat(-largest);
            let fade = exp(s, s.splat(before - largest));
            let mut sum = s.mul(s.load(running), fade);
            for scores in &mut *scores {
                let weight = exp(s, s.mul_add(s.load(&scores[row]), scale, shift));
                sum = s.add(sum, weight);
                s.store(weight, &mut scores[row]);
            }
            let weight = exp(s, s.mul_add(s.load(&last[row]), scale, s.add(shift, mask)));
            sum = s.add(sum, weight);
            s.store(weight, &mut last[row]);
            s.store(sum, running);
            for out in &mut *self.out {
                let faded = if self.first { s.zero() } else { s.mul(s.load(&out[row]), fade) };
                s.store(faded, &mut out[row]);
            }
        }
    }
}

/// Divides every row by its sum of weights.
struct Divide<'a, 'o> {
    by: &'a [Block],
    out: &'a mut [&'o mut [Block]],
}

impl Kernel for Divide<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (row, by) in self.by.iter().enumerate() {
            let total: f32 = by.0.iter().sum();
            let inverse = s.splat(1.0 / total);
            for out in &mut *self.out {
                let y = s.mul(s.load(&out[row]), inverse);
                s.store(y, &mut out[row]);
            }
        }
    }
}

fn key_panels(level: Level, keys: Shape) -> Panels {
    Panels::new(level, keys.channels, blocks(keys.pixels()))
}

fn value_panels(level: Level, values: Shape) -> Panels {
    Panels::new(level, values.pixels(), values.planes())
}

/// Whether an image's planes are panels as they are.
fn lies_in_panels(values: Panels) -> bool {
    values.width == 1
}

/// Channels by pixels: blocks of sixteen pixels of one channel.
fn pack_keys<'a>(level: Level, k: View<'_>, packed: &'a mut [Block]) -> Right<'a> {
    let (channels, pixels) = (k.shape().channels, k.shape().pixels());
    let panels = key_panels(level, k.shape());
    packed.par_chunks_mut(panels.width * channels).enumerate().for_each(|(p, out)| {
        let width = panels.width_of(p);
        for n in 0..width {
            let pixel = (p * panels.width + n) * LANES;
            let lanes = LANES.min(pixels - pixel);
            for c in 0..channels {
                let from = &k.plane(c / LANES)[pixel..][..lanes];
                let (to, rest) = out[c * width + n].0.split_at_mut(lanes);
                for (to, from) in to.iter_mut().zip(from) {
                    *to = from.0[c % LANES];
                }
                rest.fill(0.0);
            }
        }
    });
    Right { panels, blocks: packed }
}

/// Pixels by channels: blocks of sixteen channels of one pixel, as they are.
fn pack_values<'a>(level: Level, v: View<'a>, packed: &'a mut [Block]) -> Right<'a> {
    let panels = value_panels(level, v.shape());
    if lies_in_panels(panels) {
        return Right { panels, blocks: v.blocks };
    }
    packed.par_chunks_mut(panels.width * panels.k).enumerate().for_each(|(p, out)| {
        let width = panels.width_of(p);
        for n in 0..width {
            let plane = v.plane(p * panels.width + n);
            for (to, from) in out[n..].iter_mut().step_by(width).zip(plane) {
                *to = *from;
            }
        }
    });
    Right { panels, blocks: packed }
}
