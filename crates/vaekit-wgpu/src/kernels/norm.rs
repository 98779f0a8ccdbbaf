//! Group normalisation's statistics, split over the pixels: no workgroup waits for a whole group.
//!
//! [`Moments`] takes mean and sum of squared deviations of pieces of each plane, in two passes so that nothing cancels;
//! [`Merge`] merges those of a group (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
//! sample variances", 1979) and gives a scale and a shift for each channel, which whatever reads the image applies.
//! There are no atomics, so that two runs agree to the bit.

use std::ops::Range;

use super::text::{self, Elements};
use crate::layout::{LANES, Shape, Storage};

/// Threads of a workgroup.
const THREADS: u32 = 64;

/// Statistics of pieces; a workgroup for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moments {
    /// Of the image.
    pub input: Storage,
}

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct MomentsParams {
    /// Pixels of a plane that count: those of a region.
    pub pixels: u32,
    /// Pixels of a piece.
    pub chunk: u32,
    /// Pieces of a plane.
    pub chunks: u32,
    /// Planes.
    pub planes: u32,
    /// From one plane to the next.
    pub plane: u32,
    /// From one row to the next.
    pub width: u32,
    /// Columns of the region.
    pub columns: u32,
    /// Where the region begins.
    pub first: u32,
}

impl MomentsParams {
    /// Of all of an image.
    pub fn whole(shape: Shape) -> Self {
        Self::region(shape, &[0..shape.height, 0..shape.width])
    }

    /// Of some rows and columns of an image; pieces are as large as those of all of it.
    pub fn region(shape: Shape, [rows, columns]: &[Range<usize>; 2]) -> Self {
        let (plane, width) = (shape.pixels() as u32, shape.width as u32);
        let chunk = chunk(plane);
        let pixels = (rows.len() * columns.len()) as u32;
        let first = (rows.start * shape.width + columns.start) as u32;
        let (planes, columns) = (shape.planes() as u32, columns.len().max(1) as u32);
        MomentsParams { pixels, chunk, chunks: pixels.div_ceil(chunk), planes, plane, width, columns, first }
    }

    /// The pixel of a plane that is the region's `i`th.
    fn at(&self, i: u32) -> u32 {
        self.first + i / self.columns * self.width + i % self.columns
    }
}

const PARAMS: &[&str] = &["pixels", "chunk", "chunks", "planes", "plane", "width", "columns", "first"];

/// Pixels of a piece of a plane of so many pixels: at most 256 pieces, of at least 1024 pixels.
fn chunk(pixels: u32) -> u32 {
    pixels.div_ceil(256).max(1024).next_multiple_of(THREADS)
}

impl Moments {
    /// Workgroups of a dispatch.
    pub fn grid(params: &MomentsParams) -> [u32; 3] {
        [params.chunks, params.planes, 1]
    }

    fn arrays(self) -> [(&'static str, Elements); 2] {
        [("input", Elements::Vectors(self.input)), ("output", Elements::Vectors(Storage::F32))]
    }

    pub(super) fn bindings(self) -> Vec<Storage> {
        text::storages(&self.arrays())
    }

    pub(super) fn wgsl(self) -> String {
        text::head(PARAMS, &self.arrays())
            + &format!(
                "fn place(i: u32) -> u32 {{ return p.first + i / p.columns * p.width + i % p.columns; }}\n\
                 var<workgroup> sums: array<vec4<f32>, {THREADS}>;\n\
                 fn total(local: u32, x: vec4<f32>) -> vec4<f32> {{\n\
                 \x20 workgroupBarrier();\n  sums[local] = x;\n\
                 \x20 for (var half = {}u; half > 0u; half /= 2u) {{\n\
                 \x20   workgroupBarrier();\n\
                 \x20   if (local < half) {{ sums[local] += sums[local + half]; }}\n  }}\n\
                 \x20 workgroupBarrier();\n  return sums[0];\n}}\n\
                 @compute @workgroup_size({THREADS})\n\
                 fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
                 \x20 let first = group.x * p.chunk;\n  let end = min(first + p.chunk, p.pixels);\n\
                 \x20 let plane = group.y * p.plane;\n  let count = f32(end - first);\n\
                 \x20 var sum = vec4<f32>();\n\
                 \x20 for (var i = first + local; i < end; i += {THREADS}u) {{ sum += load_input(plane + place(i)); }}\n\
                 \x20 let mean = total(local, sum) / count;\n\
                 \x20 var squares = vec4<f32>();\n\
                 \x20 for (var i = first + local; i < end; i += {THREADS}u) {{\n\
                 \x20   let d = load_input(plane + place(i)) - mean;\n    squares += d * d;\n  }}\n\
                 \x20 let deviations = total(local, squares);\n\
                 \x20 if (local == 0u) {{\n    let at = (group.y * p.chunks + group.x) * 2u;\n\
                 \x20   store_output(at, mean);\n    store_output(at + 1u, deviations);\n  }}\n}}\n",
                THREADS / 2
            )
    }

    pub(super) fn twin(self, p: &MomentsParams, arrays: &[&[f32]], out: &mut [f32]) {
        for (plane, piece) in (0..p.planes).flat_map(|plane| (0..p.chunks).map(move |piece| (plane, piece))) {
            let (first, end) = (piece * p.chunk, ((piece + 1) * p.chunk).min(p.pixels));
            for lane in 0..LANES {
                let values =
                    || (first..end).map(|i| f64::from(arrays[0][(plane * p.plane + p.at(i)) as usize * LANES + lane]));
                let mean = values().sum::<f64>() / f64::from(end - first);
                let deviations: f64 = values().map(|x| (x - mean).powi(2)).sum();
                let at = (plane * p.chunks + piece) as usize * 2 * LANES + lane;
                (out[at], out[at + LANES]) = (mean as f32, deviations as f32);
            }
        }
    }
}

/// Scales and shifts; a workgroup for each group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Merge;

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct MergeParams {
    /// Of the moments.
    pub moments: MomentsParams,
    /// Channels.
    pub channels: u32,
    /// Channels of a group.
    pub group: u32,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Merge {
    /// Workgroups of a dispatch.
    pub fn grid(params: &MergeParams) -> [u32; 3] {
        [params.channels / params.group.max(1), 1, 1]
    }

    /// The moments, the normalisation's weights and then its biases, and what comes of them.
    pub(super) fn bindings(self) -> Vec<Storage> {
        vec![Storage::F32; 3]
    }

    pub(super) fn wgsl(self) -> String {
        // Channels are written one by one, since a group need not be whole vectors.
        let arrays = ["moments", "constants", "scales"].map(|name| (name, Elements::Lanes));
        text::head(&[PARAMS, &["channels", "group", "epsilon_bits"]].concat(), &arrays)
            + &format!(
                "var<workgroup> merged: array<vec3<f32>, {THREADS}>;\n\
                 // Count, mean, sum of squared deviations.\n\
                 fn merge(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {{\n\
                 \x20 if (b.x == 0.0) {{ return a; }}\n  if (a.x == 0.0) {{ return b; }}\n\
                 \x20 let count = a.x + b.x;\n  let delta = b.y - a.y;\n\
                 \x20 return vec3<f32>(count, a.y + delta * (b.x / count), a.z + b.z + delta * delta * (a.x / count) * b.x);\n}}\n\
                 @compute @workgroup_size({THREADS})\n\
                 fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
                 \x20 let first = group.x * p.group;\n\
                 \x20 var sum = vec3<f32>();\n\
                 \x20 for (var i = local; i < p.group * p.chunks; i += {THREADS}u) {{\n\
                 \x20   let channel = first + i / p.chunks;\n    let piece = i % p.chunks;\n\
                 \x20   let count = min(p.chunk, p.pixels - piece * p.chunk);\n\
                 \x20   let at = ((channel / 4u * p.chunks + piece) * 2u) * 4u + channel % 4u;\n\
                 \x20   sum = merge(sum, vec3<f32>(f32(count), moments[at], moments[at + 4u]));\n  }}\n\
                 \x20 merged[local] = sum;\n\
                 \x20 for (var half = {}u; half > 0u; half /= 2u) {{\n\
                 \x20   workgroupBarrier();\n\
                 \x20   if (local < half) {{ merged[local] = merge(merged[local], merged[local + half]); }}\n  }}\n\
                 \x20 workgroupBarrier();\n\
                 \x20 let all = merged[0];\n\
                 \x20 let factor = 1.0 / sqrt(all.z / all.x + bitcast<f32>(p.epsilon_bits));\n\
                 \x20 let lanes = p.planes * 4u;\n\
                 \x20 for (var i = local; i < p.group; i += {THREADS}u) {{\n\
                 \x20   let scale = constants[first + i] * factor;\n\
                 \x20   scales[first + i] = scale;\n\
                 \x20   scales[lanes + first + i] = constants[lanes + first + i] - all.y * scale;\n  }}\n\
                 \x20 // Lanes past the last channel stay zero.\n\
                 \x20 let past = p.channels + local;\n\
                 \x20 if (group.x == 0u && past < lanes) {{\n    scales[past] = 0.0;\n    scales[lanes + past] = 0.0;\n  }}\n}}\n",
                THREADS / 2
            )
    }

    pub(super) fn twin(self, p: &MergeParams, arrays: &[&[f32]], out: &mut [f32]) {
        let (moments, constants, lanes) = (arrays[0], arrays[1], p.moments.planes as usize * LANES);
        out[..2 * lanes].fill(0.0);
        for first in (0..p.channels).step_by(p.group as usize) {
            let pieces = (first..first + p.group).flat_map(|channel| (0..p.moments.chunks).map(move |i| (channel, i)));
            let (mut count, mut mean, mut deviations) = (0.0, 0.0, 0.0);
            for (channel, piece) in pieces {
                let at = (channel / 4 * p.moments.chunks + piece) as usize * 2 * LANES + channel as usize % LANES;
                let n = f64::from(p.moments.chunk.min(p.moments.pixels - piece * p.moments.chunk));
                let delta = f64::from(moments[at]) - mean;
                deviations += f64::from(moments[at + LANES]) + delta * delta * count * n / (count + n);
                mean += delta * n / (count + n);
                count += n;
            }
            for channel in first as usize..(first + p.group) as usize {
                let scale = f64::from(constants[channel]) / (deviations / count + f64::from(p.epsilon)).sqrt();
                out[channel] = scale as f32;
                out[lanes + channel] = (f64::from(constants[lanes + channel]) - mean * scale) as f32;
            }
        }
    }
}
