//! Attention.

use proptest::prelude::*;
use vaekit_kernels::layout::{Block, Shape};
use vaekit_kernels::{Level, Workspace, attention, attention_blocks, scalar};

use crate::support::{Picture, assert_close, noise};

#[track_caller]
fn check(channels: usize, queries_and_keys: [usize; 2], gain: f32) {
    check_scaled(channels, queries_and_keys, gain, 1.0 / (channels as f32).sqrt());
}

#[track_caller]
fn check_scaled(channels: usize, [queries, keys]: [usize; 2], gain: f32, scale: f32) {
    let q: Vec<f32> = noise(1, channels * queries).iter().map(|x| x * gain).collect();
    let (k, v) = (noise(2, channels * keys), noise(3, channels * keys));
    let exact = scalar::attention(channels, scale, &q, &k, &v);
    let [q, k, v] = [(&q, queries), (&k, keys), (&v, keys)].map(|(x, n)| Picture::new(Shape::new(channels, 1, n), x));
    for level in Level::available() {
        let mut out = Picture::unwritten(q.shape);
        let mut packed = vec![Block([f32::NAN; 16]); attention_blocks(level, k.shape)];
        let qkv = [q.view(), k.view(), v.view()];
        attention(level, scale, qkv, &mut out.blocks, &mut packed, &Workspace::new());
        let what = format!("{queries} queries, {keys} keys of {channels} channels, scale {scale} at {}", level.name());
        assert_close(&out.planar(), &exact, 1e-5 * f64::from(gain.max(1.0)), &what);
    }
}

#[test]
fn shapes() {
    for (channels, queries, keys) in [
        (1, 1, 1),
        (3, 5, 17),
        (16, 113, 31),
        (63, 20, 40),
        (32, 70, 512),
        (32, 70, 513),
        (32, 30, 1111),
        (512, 64, 64),
    ] {
        check(channels, [queries, keys], 1.0);
    }
}

/// Scores of some hundreds, whose exponentials alone would overflow.
#[test]
fn large_scores() {
    check(64, [40, 700], 200.0);
}

/// Lanes past the last key count for nothing, on whichever side of it their scores would lie.
#[test]
fn scales_of_any_sign() {
    for scale in [0.0, -0.0, -0.2, -3.0, 1e-30] {
        for keys in [1, 16, 17, 519] {
            check_scaled(20, [9, keys], 1.0, scale);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape(channels in 1..70usize, queries in 1..250usize, keys in 1..1100usize, scale in -0.5f32..0.5) {
        check_scaled(channels, [queries, keys], 1.0, scale);
    }
}
