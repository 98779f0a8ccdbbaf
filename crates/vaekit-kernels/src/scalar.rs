//! Every kernel once more, as plainly as its definition reads, in f64 and over planar pictures
//! `[channels, height, width]` in row order. The tests hold the kernels against these.

use crate::direct::Window;
use crate::layout::Shape;

/// A convolution with `weight` `[outputs, inputs, size, size]` and `bias` `[outputs]`.
pub fn conv2d(window: Window, shape: Shape, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let Window { size, stride, before, .. } = window;
    let (height, width) = (window.outputs(shape.height), window.outputs(shape.width));
    let mut out = Vec::with_capacity(bias.len() * height * width);
    for (filters, &bias) in weight.chunks_exact(shape.channels * size * size).zip(bias) {
        for y in 0..height {
            for column in 0..width {
                let mut sum = f64::from(bias);
                for (plane, filter) in x.chunks_exact(shape.pixels().max(1)).zip(filters.chunks_exact(size * size)) {
                    for (tap, &w) in filter.iter().enumerate() {
                        let (y, x) = (y * stride + tap / size, column * stride + tap % size);
                        if (before..before + shape.height).contains(&y) && (before..before + shape.width).contains(&x) {
                            sum += f64::from(w) * f64::from(plane[(y - before) * shape.width + x - before]);
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// A 3x3 convolution of stride 1, padded by 1.
pub fn conv3x3(shape: Shape, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    conv2d(Window::SAME, shape, x, weight, bias)
}

/// Every pixel four times.
pub fn upsample2x(shape: Shape, x: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(4 * x.len());
    for plane in x.chunks_exact(shape.pixels().max(1)) {
        for i in 0..4 * shape.pixels() {
            let (y, x) = (i / (2 * shape.width), i % (2 * shape.width));
            out.push(plane[y / 2 * shape.width + x / 2]);
        }
    }
    out
}

/// Nearest-neighbour enlargement by 2 and a 3x3 convolution.
pub fn upsample2x_conv3x3(shape: Shape, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let larger = Shape::new(shape.channels, 2 * shape.height, 2 * shape.width);
    conv3x3(larger, &upsample2x(shape, x), weight, bias)
}

/// Group normalisation, see [`crate::GroupNorm`].
pub fn group_norm(groups: usize, epsilon: f32, weight: &[f32], bias: &[f32], shape: Shape, x: &[f32]) -> Vec<f64> {
    let of_group = shape.channels / groups * shape.pixels();
    let mut out = Vec::with_capacity(x.len());
    for group in x.chunks_exact(of_group) {
        let count = of_group as f64;
        let mean = group.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = group.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        out.extend(group.iter().map(|&v| (f64::from(v) - mean) / (variance + f64::from(epsilon)).sqrt()));
    }
    for (c, plane) in out.chunks_exact_mut(shape.pixels().max(1)).enumerate() {
        for v in plane {
            *v = *v * f64::from(weight[c]) + f64::from(bias[c]);
        }
    }
    out
}

/// `x / (1 + exp(-x))`.
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// One head of attention over pixels, `softmax(q^T k * scale) v^T` for each pixel of q; all are `[channels, pixels]`.
pub fn attention(channels: usize, scale: f32, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let (queries, keys) = (q.len() / channels, k.len() / channels);
    let mut out = vec![0.0; q.len()];
    for i in 0..queries {
        let score = |j: usize| -> f64 {
            let products = (0..channels).map(|c| f64::from(q[c * queries + i]) * f64::from(k[c * keys + j]));
            products.sum::<f64>() * f64::from(scale)
        };
        let scores: Vec<f64> = (0..keys).map(score).collect();
        let largest = scores.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        for c in 0..channels {
            let values = v[c * keys..][..keys].iter();
            out[c * queries + i] = values.zip(&weights).map(|(&v, w)| f64::from(v) * w).sum::<f64>() / total;
        }
    }
    out
}
