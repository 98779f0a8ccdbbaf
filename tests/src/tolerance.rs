//! What counts as equal, set once for every test.

use ndarray::{ArrayView4, Zip};

/// f32 against PyTorch, on fixtures, largest absolute error.
pub const FIXTURE_F32: f64 = 1e-4;
/// fp16 against PyTorch's f32, least PSNR in dB.
pub const FP16_PSNR: f64 = 50.0;

/// Fails unless every value is within `tolerance`, saying how many are not and where the worst is.
///
/// # Panics
/// If the shapes differ or a value is too far off.
#[track_caller]
pub fn assert_close(what: &str, found: ArrayView4<'_, f32>, expected: ArrayView4<'_, f32>, tolerance: f64) {
    assert_eq!(found.shape(), expected.shape(), "{what}: shape");
    let (mut beyond, mut worst, mut place) = (0, 0.0, None);
    for ((index, &a), &b) in found.indexed_iter().zip(expected) {
        let error = (f64::from(a) - f64::from(b)).abs();
        beyond += usize::from(error > tolerance || error.is_nan());
        if error > worst || error.is_nan() {
            (worst, place) = (error, Some(index));
        }
    }
    let total = found.len();
    assert!(
        beyond == 0,
        "{what}: {beyond} of {total} values differ by more than {tolerance:e}, most by {worst:e} at {place:?}"
    );
}

/// Fails unless the PSNR for a peak of 2 (the [-1, 1] scale) is at least `least` dB.
///
/// # Panics
/// If the shapes differ, a value is not finite, or the PSNR is too low.
#[track_caller]
pub fn assert_psnr(what: &str, found: ArrayView4<'_, f32>, expected: ArrayView4<'_, f32>, least: f64) {
    assert_eq!(found.shape(), expected.shape(), "{what}: shape");
    assert!(found.iter().all(|value| value.is_finite()), "{what}: a value is NaN or infinite");
    let sum = Zip::from(found).and(expected).fold(0.0, |sum, &a, &b| sum + (f64::from(a) - f64::from(b)).powi(2));
    let psnr = 10.0 * (4.0 / (sum / found.len() as f64)).log10();
    assert!(psnr >= least, "{what}: PSNR is {psnr:.1} dB, expected {least} at least");
}
