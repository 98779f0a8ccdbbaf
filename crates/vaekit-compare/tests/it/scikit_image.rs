//! The measures against scikit-image, on two pictures that `tests/scikit_image/make.py` draws too.

use serde_json::Value;
use vaekit::Images;
use vaekit_compare::{Original, Score};

const HEIGHT: i64 = 180;
const WIDTH: i64 = 208;

/// A triangle from 0 to 255 and back.
fn wave(i: i64, period: i64) -> i64 {
    let position = i % (2 * period);
    position.min(2 * period - position) * 255 / period
}

fn original(y: i64, x: i64, c: i64) -> i64 {
    let coarse = wave(x * (c + 2) + 3 * y, 97);
    let fine = wave(x * x / 16 + y * (5 + c), 11);
    (3 * coarse + fine) / 4
}

/// Softer, washed out, greener, with some noise.
fn decoded(y: i64, x: i64, c: i64) -> i64 {
    let soft = (3 * original(y, x, c) + original(y, (x - 1).max(0), c)) / 4;
    let noise = (x * 7919 + y * 104_729 + c * 1_299_709) % 13 - 6;
    let tint = [-4, 5, 0][c as usize];
    (128 + ((soft - 128) * 9).div_euclid(10) + noise + tint).clamp(0, 255)
}

fn picture(of: fn(i64, i64, i64) -> i64) -> Vec<u8> {
    let pixel = |i: i64| of(i / 3 / WIDTH, i / 3 % WIDTH, i % 3) as u8;
    (0..3 * HEIGHT * WIDTH).map(pixel).collect()
}

fn score() -> Score {
    let images = |pixels: &[u8]| Images::from_rgb(WIDTH as usize, HEIGHT as usize, pixels).unwrap();
    let original = Original::new(images(&picture(original))).unwrap();
    original.compare(&images(&picture(decoded))).unwrap().score
}

#[test]
fn agrees_with_scikit_image() {
    let expected: Value = serde_json::from_str(include_str!("../scikit_image/expected.json")).unwrap();
    let sums = [original, decoded].map(|of| picture(of).iter().map(|&sample| u64::from(sample)).sum::<u64>());
    assert_eq!(expected["sum_of_samples"], serde_json::json!(sums), "the pictures are drawn in another way");

    let score = score();
    let colour = score.colour;
    // L*a*b* is computed in f32 here, and with other digits of the sRGB matrix.
    let found = [
        ("psnr", score.psnr, 1e-5),
        ("ssim", score.ssim, 1e-6),
        ("ms_ssim", score.ms_ssim, 1e-6),
        ("delta_e_mean", Some(colour.delta_e_mean), 2e-3),
        ("delta_e_p95", Some(colour.delta_e_p95), 2e-3),
        ("saturation", colour.saturation, 2e-4),
        ("contrast", colour.contrast, 2e-4),
        ("lightness", Some(colour.lightness), 2e-3),
        ("tint_a", Some(colour.tint[0]), 2e-3),
        ("tint_b", Some(colour.tint[1]), 2e-3),
        ("hue_shift", colour.hue_shift, 2e-2),
        ("sharpness", score.detail.sharpness, 1e-6),
        ("high_frequency_energy", score.detail.high_frequency_energy, 1e-6),
        ("detail_kept", score.detail.detail_kept, 1e-6),
    ];
    let far_off: Vec<String> = found
        .into_iter()
        .map(|(key, found, tolerance)| (key, found.unwrap(), expected[key].as_f64().unwrap(), tolerance))
        .filter(|(_, found, expected, tolerance)| (found - expected).abs() > *tolerance)
        .map(|(key, found, expected, tolerance)| format!("{key}: {found}, expected {expected} within {tolerance}"))
        .collect();
    assert!(far_off.is_empty(), "{}", far_off.join("\n"));
}
