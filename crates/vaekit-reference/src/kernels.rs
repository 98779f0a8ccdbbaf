//! The operations of the networks, channels last. Work is cut by shapes alone, never by the number of threads, so that
//! the same sums are taken in the same order everywhere.

use rayon::prelude::*;

use crate::map::{Map, max_abs};
use crate::matmul::{Matrix, add_product};
use crate::real::{Real, larger};

/// Output positions of a convolution that a task computes at a time, at most: with 512 channels and a 3x3 kernel their
/// receptive fields take 4.5 MiB in f32.
const STRIP: usize = 256;
/// Positions whose statistics a task collects.
const ROWS: usize = 512;
/// Attention scores a task holds at a time, at most (unless one row is longer).
const SCORES: usize = 1 << 18;

/// A square window that moves over the picture, with zeros around.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Zeros above and on the left.
    pub(crate) before: usize,
    /// Zeros below and on the right.
    pub(crate) after: usize,
}

impl Window {
    /// A 1x1 convolution.
    pub(crate) const POINT: Window = Window { kernel: 1, stride: 1, before: 0, after: 0 };
    /// `Conv2d(3, padding=1)`.
    pub(crate) const SAME: Window = Window { kernel: 3, stride: 1, before: 1, after: 1 };
    /// `Conv2d(3, stride=2, padding=1)`: AutoencoderTiny's downsampling.
    pub(crate) const HALF_UP: Window = Window { kernel: 3, stride: 2, before: 1, after: 1 };
    /// `F.pad(x, (0, 1, 0, 1))`, then `Conv2d(3, stride=2)`: AutoencoderKL's downsampling.
    pub(crate) const HALF_DOWN: Window = Window { kernel: 3, stride: 2, before: 0, after: 1 };

    fn output(self, side: usize) -> Result<usize, &'static str> {
        let free =
            (side + self.before + self.after).checked_sub(self.kernel).ok_or("it is too small for the kernel")?;
        Ok(free / self.stride + 1)
    }
}

/// PyTorch's `[out, in, k, k]` as `[k, k, in, out]`, which [`convolve`] takes.
pub(crate) fn kernel_matrix<T: Real>(weight: &[f32], out_channels: usize, in_channels: usize) -> Vec<T> {
    let taps = weight.len() / (out_channels * in_channels);
    let mut matrix = vec![T::ZERO; weight.len()];
    matrix.par_chunks_mut(out_channels).enumerate().for_each(|(row, to)| {
        let (tap, channel) = (row / in_channels, row % in_channels);
        let from = weight[channel * taps + tap..].iter().step_by(in_channels * taps);
        to.iter_mut().zip(from).for_each(|(to, &from)| *to = from.into());
    });
    matrix
}

/// A convolution with weights `[k, k, in, out]` and a bias `[out]`: each strip of outputs is the product of its receptive
/// fields, laid out as rows, and the weights.
pub(crate) fn convolve<T: Real>(x: &Map<T>, weights: &[T], bias: &[T], window: Window) -> Result<Map<T>, &'static str> {
    let out_channels = bias.len();
    let mut y = Map::zeros(x.n, window.output(x.h)?, window.output(x.w)?, out_channels)?;
    let (h, w) = (y.h, y.w);
    let field = window.kernel * window.kernel * x.c;
    let weights = Matrix::new(weights, field, out_channels);
    let strip = (x.n * h * w / 8).clamp(16, STRIP);
    y.data.par_chunks_mut(strip * out_channels).enumerate().for_each_init(Vec::new, |fields, (index, out)| {
        out.chunks_exact_mut(out_channels).for_each(|out| out.copy_from_slice(bias));
        let start = index * strip;
        let positions = start..start + out.len() / out_channels;
        if window.kernel == 1 {
            let rows = &x.data[positions.start * x.c..positions.end * x.c];
            return add_product(out, Matrix::new(rows, positions.len(), field), weights);
        }
        fields.resize(positions.len() * field, T::ZERO);
        for (position, field) in positions.clone().zip(fields.chunks_exact_mut(field)) {
            gather(x, [position / (h * w), position / w % h, position % w], window, field);
        }
        add_product(out, Matrix::new(fields, positions.len(), field), weights);
    });
    Ok(y)
}

/// The receptive field `[k, k, in]` of output position `[n, y, x]`.
fn gather<T: Real>(map: &Map<T>, [n, y, x]: [usize; 3], window: Window, field: &mut [T]) {
    let Window { kernel, stride, before, .. } = window;
    let left = (x * stride).saturating_sub(before);
    // Columns of the window that lie in the picture.
    let from = before.saturating_sub(x * stride);
    let to = kernel.min(map.w + before - x * stride);
    for (ky, row) in field.chunks_exact_mut(kernel * map.c).enumerate() {
        let Some(y) = (y * stride + ky).checked_sub(before).filter(|&y| y < map.h) else {
            row.fill(T::ZERO);
            continue;
        };
        let start = ((n * map.h + y) * map.w + left) * map.c;
        row[..from * map.c].fill(T::ZERO);
        row[from * map.c..to * map.c].copy_from_slice(&map.data[start..start + (to - from) * map.c]);
        row[to * map.c..].fill(T::ZERO);
    }
}

/// PyTorch's `GroupNorm` in place: biased variance over a group's channels and all positions, statistics in f64.
pub(crate) fn group_norm<T: Real>(
    x: &mut Map<T>,
    groups: usize,
    epsilon: f64,
    weight: &[T],
    bias: &[T],
) -> Result<(), &'static str> {
    if groups == 0 || !x.c.is_multiple_of(groups) {
        return Err("its channels do not divide into the config's groups");
    }
    let (c, per_image) = (x.c, x.values_per_image());
    let count = (per_image / groups) as f64;
    for image in x.data.chunks_exact_mut(per_image) {
        let mean = group_means(&channel_sums(image, c, |_, value| value), groups, count);
        let variance =
            group_means(&channel_sums(image, c, |channel, value| (value - mean[channel]).powi(2)), groups, count);
        let affine: Vec<[f64; 3]> =
            (0..c).map(|i| [mean[i], weight[i].into() / (variance[i] + epsilon).sqrt(), bias[i].into()]).collect();
        image.par_chunks_mut(ROWS * c).flat_map_iter(|rows| rows.chunks_exact_mut(c)).for_each(|row| {
            for (value, [mean, factor, offset]) in row.iter_mut().zip(&affine) {
                *value = T::from_f64(((*value).into() - mean) * factor + offset);
            }
        });
    }
    Ok(())
}

/// The sum over all positions of `term(channel, value)`, for each channel.
fn channel_sums<T: Real>(image: &[T], channels: usize, term: impl Fn(usize, f64) -> f64 + Sync) -> Vec<f64> {
    let partial: Vec<Vec<f64>> = image
        .par_chunks(ROWS * channels)
        .map(|rows| {
            let mut sums = vec![0.0; channels];
            for row in rows.chunks_exact(channels) {
                sums.iter_mut().zip(row).enumerate().for_each(|(i, (sum, &value))| *sum += term(i, value.into()));
            }
            sums
        })
        .collect();
    (0..channels).map(|channel| partial.iter().map(|sums| sums[channel]).sum()).collect()
}

/// For each channel, its group's sum divided by `count`.
fn group_means(sums: &[f64], groups: usize, count: f64) -> Vec<f64> {
    let size = sums.len() / groups;
    sums.chunks_exact(size).flat_map(|group| std::iter::repeat_n(group.iter().sum::<f64>() / count, size)).collect()
}

/// `softmax(q k^T / sqrt(C)) v` over the positions of each image, a few rows of scores at a time, and the largest
/// magnitude of the scores.
pub(crate) fn attend<T: Real>(q: &Map<T>, k: &Map<T>, v: &Map<T>) -> Result<(Map<T>, T), &'static str> {
    let (c, positions, per_image) = (q.c, q.h * q.w, q.values_per_image());
    let scale = T::from_f64((c as f64).sqrt().recip());
    let block = (SCORES / positions).clamp(1, 64) * c;
    let mut out = Map::zeros(q.n, q.h, q.w, c)?;
    let images = out.data.chunks_exact_mut(per_image).zip(q.data.chunks_exact(per_image));
    let keys_and_values = k.data.chunks_exact(per_image).zip(v.data.chunks_exact(per_image));
    let mut largest = T::ZERO;
    for ((out, q), (k, v)) in images.zip(keys_and_values) {
        let (k, v) = (Matrix::new(k, positions, c), Matrix::new(v, positions, c));
        let attend = |(out, q): (&mut [T], &[T])| {
            let rows = q.len() / c;
            let mut scores = vec![T::ZERO; rows * positions];
            add_product(&mut scores, Matrix::new(q, rows, c), k.transposed());
            scores.iter_mut().for_each(|score| *score *= scale);
            let max = max_abs(&scores);
            scores.chunks_exact_mut(positions).for_each(softmax);
            add_product(out, Matrix::new(&scores, rows, positions), v);
            max
        };
        let max = out.par_chunks_mut(block).zip(q.par_chunks(block)).map(attend).reduce(|| T::ZERO, larger);
        largest = larger(largest, max);
    }
    Ok((out, largest))
}

fn softmax<T: Real>(row: &mut [T]) {
    let max = row.iter().fold(row[0], |max, &score| larger(max, score));
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = (*score - max).exp();
        sum += (*score).into();
    }
    let factor = T::from_f64(1.0 / sum);
    row.iter_mut().for_each(|score| *score *= factor);
}

/// Nearest neighbour, twice the size.
pub(crate) fn upsample<T: Real>(x: &Map<T>) -> Result<Map<T>, &'static str> {
    let mut y = Map::zeros(x.n, 2 * x.h, 2 * x.w, x.c)?;
    let row = x.w * x.c;
    y.data.par_chunks_exact_mut(2 * row).enumerate().for_each(|(index, out)| {
        let from = &x.data[index / 2 * row..][..row];
        for (pair, pixel) in out.chunks_exact_mut(2 * x.c).zip(from.chunks_exact(x.c)) {
            pair[..x.c].copy_from_slice(pixel);
            pair[x.c..].copy_from_slice(pixel);
        }
    });
    Ok(y)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Noise;

    fn random<T: Real>(noise: &mut Noise, len: usize) -> Vec<T> {
        (0..len).map(|_| noise.uniform().into()).collect()
    }

    fn map<T: Real>(noise: &mut Noise, [n, h, w, c]: [usize; 4]) -> Map<T> {
        Map { n, h, w, c, data: random(noise, n * h * w * c) }
    }

    #[track_caller]
    fn check_close<T: Real>(found: &[T], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let found: f64 = found.into();
            assert!((found - expected).abs() <= tolerance, "at {i}: {found}, expected {expected}");
        }
    }

    /// PyTorch's definition, with weights `[out, in, k, k]`: one output value at a time.
    fn naive_convolution(x: &Map<f64>, weight: &[f32], bias: &[f64], window: Window) -> Vec<f64> {
        let Window { kernel, stride, before, after } = window;
        let output = |side: usize| (side + before + after - kernel) / stride + 1;
        let mut y = Vec::new();
        for (n, oy, ox) in
            (0..x.n).flat_map(|n| (0..output(x.h)).flat_map(move |y| (0..output(x.w)).map(move |x| (n, y, x))))
        {
            for (out, bias) in bias.iter().enumerate() {
                let mut sum = *bias;
                for (c, ky, kx) in
                    (0..x.c).flat_map(|c| (0..kernel).flat_map(move |ky| (0..kernel).map(move |kx| (c, ky, kx))))
                {
                    let (iy, ix) = (oy * stride + ky, ox * stride + kx);
                    if (before..before + x.h).contains(&iy) && (before..before + x.w).contains(&ix) {
                        let value = x.data[((n * x.h + iy - before) * x.w + ix - before) * x.c + c];
                        sum += value * f64::from(weight[((out * x.c + c) * kernel + ky) * kernel + kx]);
                    }
                }
                y.push(sum);
            }
        }
        y
    }

    fn check_convolution<T: Real>(shape: [usize; 4], out: usize, window: Window, tolerance: f64) {
        let seed = shape.iter().fold(out, |seed, side| seed * 31 + side) as u64;
        let wide: Map<f64> = map(&mut Noise::new(seed), shape);
        let narrow: Map<T> = map(&mut Noise::new(seed), shape);
        let noise = &mut Noise::new(!seed);
        let weight: Vec<f32> = random(noise, out * shape[3] * window.kernel * window.kernel);
        let bias: Vec<f32> = random(noise, out);
        let (narrow_bias, wide_bias): (Vec<T>, Vec<f64>) = bias.iter().map(|&b| (T::from(b), f64::from(b))).unzip();
        let found = convolve(&narrow, &kernel_matrix(&weight, out, shape[3]), &narrow_bias, window).unwrap();
        check_close(&found.data, &naive_convolution(&wide, &weight, &wide_bias, window), tolerance);
    }

    const WINDOWS: [Window; 4] = [Window::POINT, Window::SAME, Window::HALF_UP, Window::HALF_DOWN];

    #[test]
    fn convolutions_over_several_strips() {
        for window in WINDOWS {
            check_convolution::<f32>([3, 29, 37, 5], 7, window, 1e-5);
            check_convolution::<f64>([3, 29, 37, 5], 7, window, 1e-13);
        }
    }

    #[test]
    fn windows_larger_than_the_picture() {
        let x = Map { n: 1, h: 1, w: 1, c: 1, data: vec![1.0f32] };
        assert!(convolve(&x, &[1.0; 9], &[0.0], Window::HALF_DOWN).is_err());
        assert_eq!(convolve(&x, &[1.0; 9], &[0.5], Window::SAME).unwrap().data, [1.5]);
    }

    /// Straight from the definition, for one group of one image.
    fn normalised(values: &[f64], epsilon: f64) -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        values.iter().map(|value| (value - mean) / (variance + epsilon).sqrt()).collect()
    }

    fn check_group_norm([n, h, w, c]: [usize; 4], groups: usize, offset: f64, tolerance: f64) {
        let noise = &mut Noise::new((n + h * 7 + w * 31 + c * 131) as u64);
        let mut x: Map<f64> = map(noise, [n, h, w, c]);
        x.apply(|x| x + offset);
        let (weight, bias): (Vec<f64>, Vec<f64>) = (random(noise, c), random(noise, c));
        let size = c / groups;
        let mut expected = vec![0.0; x.data.len()];
        for image in 0..n {
            for group in 0..groups {
                let indices: Vec<usize> = (0..h * w)
                    .flat_map(|position| (0..size).map(move |i| (image * h * w + position) * c + group * size + i))
                    .collect();
                let values: Vec<f64> = indices.iter().map(|&i| x.data[i]).collect();
                for (&i, value) in indices.iter().zip(normalised(&values, 1e-6)) {
                    expected[i] = value * weight[i % c] + bias[i % c];
                }
            }
        }
        group_norm(&mut x, groups, 1e-6, &weight, &bias).unwrap();
        check_close(&x.data, &expected, tolerance);
    }

    #[test]
    fn group_norms() {
        check_group_norm([2, 33, 41, 6], 3, 0.0, 1e-10);
        check_group_norm([1, 5, 3, 8], 8, 1000.0, 1e-8);
        let mut x = Map { n: 1, h: 1, w: 1, c: 3, data: vec![1.0f32; 3] };
        assert!(group_norm(&mut x, 2, 1e-6, &[1.0; 3], &[0.0; 3]).is_err());
        assert!(group_norm(&mut x, 0, 1e-6, &[1.0; 3], &[0.0; 3]).is_err());
    }

    fn check_attention<T: Real>([n, h, w, c]: [usize; 4], tolerance: f64) {
        let inputs = |seed| [1, 2, 3].map(|i| Noise::new(seed + i));
        let seed = (n * 1009 + h * 101 + w * 11 + c) as u64;
        let [q, k, v] = inputs(seed).map(|mut noise| map::<f64>(&mut noise, [n, h, w, c]));
        let mut expected = Vec::new();
        let mut largest: f64 = 0.0;
        for row in 0..n * h * w {
            let image = row / (h * w) * (h * w);
            let dot = |j: usize| (0..c).map(|i| q.data[row * c + i] * k.data[(image + j) * c + i]).sum::<f64>();
            let scores: Vec<f64> = (0..h * w).map(|j| dot(j) / (c as f64).sqrt()).collect();
            largest = scores.iter().fold(largest, |max, score| max.max(score.abs()));
            let sum: f64 = scores.iter().map(|score| score.exp()).sum();
            let mean = |i| (0..h * w).map(|j| scores[j].exp() / sum * v.data[(image + j) * c + i]).sum::<f64>();
            expected.extend((0..c).map(mean));
        }
        let [q, k, v] = inputs(seed).map(|mut noise| map::<T>(&mut noise, [n, h, w, c]));
        let (found, found_largest) = attend(&q, &k, &v).unwrap();
        check_close(&found.data, &expected, tolerance);
        check_close(&[found_largest], &[largest], tolerance);
    }

    #[test]
    fn attention_over_several_blocks() {
        check_attention::<f32>([2, 13, 17, 6], 1e-6);
        check_attention::<f64>([2, 13, 17, 6], 1e-14);
    }

    #[test]
    fn softmax_of_large_scores() {
        let mut row = [1000.0f32, 1000.0, -1000.0];
        softmax(&mut row);
        assert_eq!(row, [0.5, 0.5, 0.0]);
    }

    #[test]
    fn nearest_upsampling() {
        let x = Map { n: 1, h: 1, w: 2, c: 2, data: vec![1.0f32, 2.0, 3.0, 4.0] };
        let row = [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0];
        assert_eq!(upsample(&x).unwrap().data, [row, row].concat());
    }

    #[test]
    fn a_nan_is_seen() {
        let mut x = Map { n: 1, h: 1, w: 3, c: 1, data: vec![1.0f32, f32::NAN, -2.0] };
        assert!(x.max_abs().is_nan());
        x.relu();
        assert!(x.max_abs().is_nan());
        x.data[1] = -3.0;
        assert_eq!(x.max_abs(), 3.0);
    }

    proptest! {
        #[test]
        fn convolutions(shape in [1..3usize, 2..12usize, 2..12usize, 1..5usize], out in 1..6usize, window in 0..4usize) {
            check_convolution::<f64>(shape, out, WINDOWS[window], 1e-13);
            check_convolution::<f32>(shape, out, WINDOWS[window], 1e-5);
        }

        #[test]
        fn attentions(shape in [1..3usize, 1..6usize, 1..6usize, 1..9usize]) {
            check_attention::<f64>(shape, 1e-14);
        }

        #[test]
        fn norms(shape in [1..3usize, 2..9usize, 2..9usize, 1..4usize], groups in 1..4usize) {
            let [n, h, w, size] = shape;
            check_group_norm([n, h, w, size * groups], groups, 0.5, 1e-10);
        }
    }
}
