//! Group normalisation and SiLU.

use proptest::prelude::*;
use vaekit_kernels::layout::Shape;
use vaekit_kernels::{GroupNorm, Level, Moments, Prologue, scalar};

use crate::support::{Picture, assert_close, noise};

#[track_caller]
fn check(shape: Shape, groups: usize, scale: f32, offset: f32, tolerance: f64) {
    let x: Vec<f32> = noise(1, shape.channels * shape.pixels()).iter().map(|v| v * scale + offset).collect();
    let (weight, bias) = (noise(2, shape.channels), noise(3, shape.channels));
    let exact = scalar::group_norm(groups, 1e-6, &weight, &bias, shape, &x);
    let with_silu: Vec<f64> = exact.iter().map(|&v| scalar::silu(v)).collect();
    let norm = GroupNorm::new(groups, 1e-6, &weight, &bias);
    let picture = Picture::new(shape, &x);
    for level in Level::available() {
        let affine = norm.affine(&Moments::of(level, picture.view()));
        let mut out = Picture::unwritten(shape);
        let what = format!("{shape:?} in {groups} groups at {}", level.name());
        Prologue::Affine(&affine).apply(level, picture.view(), &mut out.blocks);
        assert_close(&out.planar(), &exact, tolerance, &what);
        Prologue::AffineSilu(&affine).apply(level, picture.view(), &mut out.blocks);
        assert_close(&out.planar(), &with_silu, tolerance, &what);
    }
}

#[test]
fn shapes_and_groups() {
    for (channels, height, width, groups) in
        [(1, 1, 2, 1), (4, 3, 5, 2), (32, 9, 7, 32), (48, 10, 10, 4), (128, 33, 31, 32), (512, 4, 4, 32)]
    {
        check(Shape::new(channels, height, width), groups, 1.0, 0.0, 1e-5);
    }
}

/// The mean is a thousand times the deviation: f32 inputs themselves hold no more than four digits of it.
#[test]
fn a_large_mean() {
    check(Shape::new(32, 64, 64), 8, 1.0, 1000.0, 1e-3);
}

#[test]
fn a_constant_picture() {
    check(Shape::new(32, 8, 8), 8, 0.0, 3.0, 4e-3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape(n in 0..8usize, height in 1..40usize, width in 1..40usize) {
        let (channels, groups) = [(1, 1), (3, 1), (3, 3), (63, 1), (63, 7), (63, 63), (35, 5), (64, 32)][n];
        // Of a single value nothing is left but rounding.
        prop_assume!(channels / groups * height * width > 1);
        check(Shape::new(channels, height, width), groups, 1.0, 0.3, 1e-5);
    }
}
