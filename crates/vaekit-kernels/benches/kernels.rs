//! Each kernel at the shapes that matter, in floating-point operations per second ("item/s").
//!
//! Convolutions are counted as direct ones, so that Winograd's exceed the product's peak, which `peak` shows: a 1x1
//! convolution whose operands stay in the cache. `RAYON_NUM_THREADS=1` measures one thread.
//!
//! On a busy machine read the column "fastest".

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use vaekit_kernels::layout::{Block, Shape, View};
use vaekit_kernels::{
    Affine, Conv2d, Conv3x3, Epilogue, Io, Level, Moments, Prologue, Upsample2xConv3x3, Window, Workspace, attention,
    attention_blocks,
};

fn main() {
    println!("instruction set: {}, threads: {}", Level::best().name(), rayon::current_num_threads());
    divan::main();
}

/// Channels and side of an autoencoder's layers: Stable Diffusion's, then a tiny one's.
const LAYERS: [(usize, usize); 8] =
    [(512, 64), (512, 128), (512, 256), (256, 256), (256, 512), (128, 512), (64, 128), (64, 512)];

/// Numbers that are not all alike, of a size that a deep network keeps.
fn numbers(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 % 1009) as f32 / 504.0 - 1.0) * scale).collect()
}

fn picture(shape: Shape) -> Vec<Block> {
    numbers(shape.blocks(), 1.0).into_iter().map(|x| Block([x; 16])).collect()
}

fn weight(outputs: usize, fan_in: usize) -> (Vec<f32>, Vec<f32>) {
    (numbers(outputs * fan_in, 1.7 / (fan_in as f32).sqrt()), numbers(outputs, 0.1))
}

/// Operations of a direct convolution.
fn operations(output: Shape, fan_in: usize) -> ItemsCount {
    ItemsCount::new(2 * (output.channels * output.pixels()) as u64 * fan_in as u64)
}

#[divan::bench]
fn peak(bencher: Bencher) {
    let shape = Shape::new(512, 8, 14);
    let (w, b) = weight(512, 512);
    let conv = Conv2d::new(Level::best(), Window::POINT, &w, &b, 512);
    let (x, mut out, workspace) = (picture(shape), picture(shape), Workspace::new());
    let io = Io::new(View::new(shape, &x));
    bencher.counter(operations(shape, 512)).bench_local(|| conv.run(black_box(io), &mut out, None, &workspace));
}

#[divan::bench_group(sample_count = 10, sample_size = 1)]
mod conv3x3 {
    use super::*;

    fn bench(bencher: Bencher, inputs: usize, outputs: usize, side: usize, keep: bool) {
        let (w, b) = weight(outputs, 9 * inputs);
        let mut conv = Conv3x3::new(Level::best(), &w, &b, inputs);
        if keep {
            conv.keep_transformed();
        }
        let shape = Shape::new(inputs, side, side);
        let output = conv.output(shape);
        let (x, mut out, workspace) = (picture(shape), picture(output), Workspace::new());
        let io = Io::new(View::new(shape, &x));
        bencher.counter(operations(output, 9 * inputs)).bench_local(|| conv.run(io, &mut out, None, &workspace));
    }

    #[divan::bench(args = LAYERS)]
    fn kept_filters(bencher: Bencher, (channels, side): (usize, usize)) {
        bench(bencher, channels, channels, side, true);
    }

    #[divan::bench(args = LAYERS)]
    fn filters_transformed_at_each_run(bencher: Bencher, (channels, side): (usize, usize)) {
        bench(bencher, channels, channels, side, false);
    }

    /// Few rows of tiles: with more threads than rows their points are shared out.
    #[divan::bench(args = [(512, 4), (512, 8), (64, 4)])]
    fn small(bencher: Bencher, (channels, side): (usize, usize)) {
        bench(bencher, channels, channels, side, true);
    }

    /// Layers that change the number of channels: (inputs, outputs, side).
    #[divan::bench(args = [(4, 512, 64), (512, 256, 256), (256, 128, 512), (128, 3, 512), (3, 128, 512), (64, 3, 512)])]
    fn widths(bencher: Bencher, (inputs, outputs, side): (usize, usize, usize)) {
        bench(bencher, inputs, outputs, side, true);
    }

    /// With normalisation and SiLU before, a residual after, and the moments of the output.
    #[divan::bench(args = LAYERS)]
    fn fused(bencher: Bencher, (channels, side): (usize, usize)) {
        let (w, b) = weight(channels, 9 * channels);
        let mut conv = Conv3x3::new(Level::best(), &w, &b, channels);
        conv.keep_transformed();
        let shape = Shape::new(channels, side, side);
        let (x, mut out, workspace) = (picture(shape), picture(shape), Workspace::new());
        let affine = Affine::new(&numbers(channels, 1.0), &numbers(channels, 0.5));
        let input = View::new(shape, &x);
        let epilogue = Epilogue { residual: Some(input), relu: false };
        let io = Io { input, prologue: Prologue::AffineSilu(&affine), epilogue };
        let mut moments = Moments::new();
        bencher
            .counter(operations(shape, 9 * channels))
            .bench_local(|| conv.run(io, &mut out, Some(&mut moments), &workspace));
    }
}

/// Sides are those of the source; counted as a direct convolution of the enlarged picture.
#[divan::bench(args = [(512, 64), (512, 128), (256, 256), (64, 64), (64, 256)], sample_count = 10, sample_size = 1)]
fn upsample2x_conv3x3(bencher: Bencher, (channels, side): (usize, usize)) {
    let (w, b) = weight(channels, 9 * channels);
    let conv = Upsample2xConv3x3::new(Level::best(), &w, &b, channels);
    let shape = Shape::new(channels, side, side);
    let output = conv.output(shape);
    let (x, mut out, workspace) = (picture(shape), picture(output), Workspace::new());
    let io = Io::new(View::new(shape, &x));
    bencher.counter(operations(output, 9 * channels)).bench_local(|| conv.run(io, &mut out, None, &workspace));
}

/// Inputs, outputs and side of 1x1 convolutions, and of those that halve a picture.
#[divan::bench(args = [(1, 512, 256, 256), (1, 256, 128, 512), (3, 128, 128, 512), (3, 512, 512, 128)])]
fn conv2d(bencher: Bencher, (size, inputs, outputs, side): (usize, usize, usize, usize)) {
    let window = if size == 1 { Window::POINT } else { Window::HALVE_DOWN };
    let fan_in = size * size * inputs;
    let (w, b) = weight(outputs, fan_in);
    let conv = Conv2d::new(Level::best(), window, &w, &b, inputs);
    let shape = Shape::new(inputs, side, side);
    let output = conv.output(shape);
    let (x, mut out, workspace) = (picture(shape), picture(output), Workspace::new());
    let io = Io::new(View::new(shape, &x));
    bencher.counter(operations(output, fan_in)).bench_local(|| conv.run(io, &mut out, None, &workspace));
}

/// The one head of 512 channels over latents of 32 by 32 and 64 by 64.
#[divan::bench(args = [1024, 4096], sample_count = 10, sample_size = 1)]
fn attention_of_512_channels(bencher: Bencher, pixels: usize) {
    let shape = Shape::new(512, 1, pixels);
    let (x, mut out, workspace) = (picture(shape), picture(shape), Workspace::new());
    let x = View::new(shape, &x);
    let count = ItemsCount::new(4 * 512 * pixels * pixels);
    let mut packed = vec![Block::ZERO; attention_blocks(Level::best(), shape)];
    bencher.counter(count).bench_local(|| attention(Level::best(), 0.044, [x; 3], &mut out, &mut packed, &workspace));
}

/// One pass over 128 channels of 512 by 512; items are values.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn moments(bencher: Bencher) {
    let shape = Shape::new(128, 512, 512);
    let x = picture(shape);
    let count = ItemsCount::new(shape.channels * shape.pixels());
    bencher.counter(count).bench_local(|| Moments::of(Level::best(), View::new(shape, &x)));
}

/// One pass over 128 channels of 512 by 512; items are values.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn affine_silu(bencher: Bencher) {
    let shape = Shape::new(128, 512, 512);
    let (x, mut out) = (picture(shape), picture(shape));
    let affine = Affine::new(&numbers(128, 1.0), &numbers(128, 0.5));
    let count = ItemsCount::new(shape.channels * shape.pixels());
    let prologue = Prologue::AffineSilu(&affine);
    bencher.counter(count).bench_local(|| prologue.apply(Level::best(), View::new(shape, &x), &mut out));
}
