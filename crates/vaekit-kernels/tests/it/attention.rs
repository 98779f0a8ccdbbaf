//! Attention.

use vaekit_kernels::layout::Shape;
use vaekit_kernels::{Level, Workspace, attention, scalar};

use crate::support::{Picture, assert_close, noise};

#[track_caller]
fn check(channels: usize, [queries, keys]: [usize; 2], gain: f32) {
    let q: Vec<f32> = noise(1, channels * queries).iter().map(|x| x * gain).collect();
    let (k, v) = (noise(2, channels * keys), noise(3, channels * keys));
    let scale = 1.0 / (channels as f32).sqrt();
    let exact = scalar::attention(channels, scale, &q, &k, &v);
    let [q, k, v] = [(&q, queries), (&k, keys), (&v, keys)].map(|(x, n)| Picture::new(Shape::new(channels, 1, n), x));
    for level in Level::available() {
        let mut out = Picture::unwritten(q.shape);
        attention(level, scale, [q.view(), k.view(), v.view()], &mut out.blocks, &Workspace::new());
        let what = format!("{queries} queries, {keys} keys of {channels} channels at {}", level.name());
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
