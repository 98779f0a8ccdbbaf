//! A convolution as plain loops.

use super::{Conv, ConvParams, Weights};
use crate::kernels::{Prologue, apply, relu};
use crate::layout::LANES;

impl Conv {
    pub(in crate::kernels) fn twin(&self, p: &ConvParams, arrays: &[&[f32]], out: &mut [f32]) {
        let mut arrays = arrays.iter().copied();
        let mut next = |is_there: bool| if is_there { arrays.next().unwrap_or_default() } else { &[] };
        let (input, weights) = (next(true), next(true));
        let (scales, residual) = (next(self.prologue != Prologue::Plain), next(self.residual));
        let weight = |batch: u32, to: usize, from: usize, tap: u32| {
            let at = |plane: usize, other: usize, lane: usize| {
                let (out, inner) = (plane as u32 * p.weight_out, other as u32 * p.weight_in);
                let vector = p.weight_first + batch * p.weight_batch + out + inner + lane as u32;
                vector as usize * LANES
            };
            let pixel = |pixel: usize| pixel < p.weight_pixels as usize;
            match self.weights {
                Weights::Packed | Weights::Points => {
                    weights[at(to / LANES, from / LANES, tap as usize * LANES + from % LANES) + to % LANES]
                }
                Weights::Keys(_) if pixel(to) => weights[at(to / LANES, from / LANES, to % LANES) + from % LANES],
                Weights::Values(_) if pixel(from) => weights[at(to / LANES, from / LANES, from % LANES) + to % LANES],
                Weights::Keys(_) | Weights::Values(_) => 0.0,
            }
        };
        let outputs = (0..self.batches()).flat_map(|batch| {
            let channels = 0..p.out_planes as usize * LANES;
            channels.flat_map(move |to| {
                (p.row..p.rows_end).flat_map(move |row| (0..p.out_width).map(move |column| (batch, to, row, column)))
            })
        });
        for (batch, to, row, column) in outputs {
            let (above, left) = if self.upsample { (1 - batch / 2, 1 - batch % 2) } else { (p.before, p.before) };
            let mut sum = 0.0;
            for tap in 0..self.size * self.size {
                let (y, x) = (row * self.stride + tap / self.size, column * self.stride + tap % self.size);
                let (Some(y), Some(x)) = (y.checked_sub(above), x.checked_sub(left)) else { continue };
                if y >= p.in_height || x >= p.in_width {
                    continue;
                }
                for from in 0..p.planes as usize * LANES {
                    let plane = (from / LANES) as u32 * p.in_plane;
                    let vector = p.in_first + batch * p.in_batch + plane + y * p.in_width + x;
                    let value = input[vector as usize * LANES + from % LANES];
                    let value = apply(self.prologue, scales, p.planes as usize, from, value);
                    sum += weight(batch, to, from, tap) * value;
                }
            }
            let plane = p.out_first + (to / LANES) as u32 * p.out_plane;
            let vector = if self.upsample {
                plane + (2 * row + batch / 2) * p.out_row + 2 * column + batch % 2
            } else {
                plane + batch * p.out_batch + row * p.out_row + column
            };
            let at = vector as usize * LANES + to % LANES;
            if self.weights == Weights::Packed {
                sum += weights[to];
            }
            if self.residual {
                sum += residual[at];
            }
            out[at] = self.output.round(if self.relu { relu(sum) } else { sum });
        }
    }
}
