//! How far an engine's answer lies from the reference.

use ndarray::ArrayView4;
use serde::{Deserialize, Serialize};

use crate::real::Real;

/// Statistics of the differences between two arrays. Where either value is not finite, it counts in
/// [`non_finite`](Self::non_finite) alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Values compared.
    pub count: usize,
    /// Largest difference.
    pub max_abs_error: f64,
    /// Mean difference.
    pub mean_abs_error: f64,
    /// Peak signal-to-noise ratio in dB; `None` where the arrays are equal.
    pub psnr: Option<f64>,
    /// Where the largest difference is, `[n, c, y, x]`; `None` where the arrays are equal.
    pub worst: Option<[usize; 4]>,
    /// The difference that is allowed.
    pub tolerance: f64,
    /// Values that differ by more.
    pub beyond: usize,
    /// Values that are NaN or infinite in either array.
    pub non_finite: usize,
}

impl Comparison {
    /// Whether every value is finite and within the tolerance.
    pub fn holds(&self) -> bool {
        self.beyond == 0 && self.non_finite == 0
    }
}

/// Two arrays that cannot be compared.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the array has shape {found:?}, expected {expected:?}")]
pub struct ShapeMismatch {
    /// Shape found.
    pub found: Vec<usize>,
    /// Shape of the reference.
    pub expected: Vec<usize>,
}

/// Compares `found` with `expected`; `peak` is the width of the values' range for PSNR, 2 for images in [-1, 1].
///
/// # Errors
/// [`ShapeMismatch`].
pub fn compare<A: Real, B: Real>(
    found: ArrayView4<'_, A>,
    expected: ArrayView4<'_, B>,
    tolerance: f64,
    peak: f64,
) -> Result<Comparison, ShapeMismatch> {
    if found.shape() != expected.shape() {
        return Err(ShapeMismatch { found: found.shape().to_vec(), expected: expected.shape().to_vec() });
    }
    let (mut sum, mut squares, mut max, mut worst) = (0.0, 0.0, 0.0, None);
    let (mut beyond, mut non_finite) = (0, 0);
    for (((n, c, y, x), &found), &expected) in found.indexed_iter().zip(expected) {
        let (found, expected): (f64, f64) = (found.into(), expected.into());
        let error = (found - expected).abs();
        if !error.is_finite() {
            non_finite += 1;
            continue;
        }
        if error > max {
            (max, worst) = (error, Some([n, c, y, x]));
        }
        beyond += usize::from(error > tolerance);
        sum += error;
        squares += error * error;
    }
    let finite = (found.len() - non_finite).max(1) as f64;
    Ok(Comparison {
        count: found.len(),
        max_abs_error: max,
        mean_abs_error: sum / finite,
        psnr: (squares > 0.0).then(|| 10.0 * (peak * peak * finite / squares).log10()),
        worst,
        tolerance,
        beyond,
        non_finite,
    })
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    fn check(found: [f32; 4], expected: [f64; 4]) -> Comparison {
        let found = Array4::from_shape_vec((1, 2, 1, 2), found.to_vec()).unwrap();
        let expected = Array4::from_shape_vec((1, 2, 1, 2), expected.to_vec()).unwrap();
        compare(found.view(), expected.view(), 0.1, 2.0).unwrap()
    }

    #[test]
    fn differences() {
        let comparison = check([0.0, 0.5, -1.0, 1.0], [0.0, 0.25, -1.0, 0.5]);
        assert_eq!((comparison.count, comparison.beyond, comparison.non_finite), (4, 2, 0));
        assert_eq!((comparison.max_abs_error, comparison.mean_abs_error), (0.5, 0.1875));
        assert_eq!(comparison.worst, Some([0, 1, 0, 1]));
        // The mean square is (1/16 + 1/4) / 4.
        assert!((comparison.psnr.unwrap() - 10.0 * (4.0 * 4.0 / 0.3125f64).log10()).abs() < 1e-12);
        assert!(!comparison.holds());
    }

    #[test]
    fn equal() {
        let comparison = check([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!((comparison.psnr, comparison.worst), (None, None));
        assert!(comparison.holds());
    }

    #[test]
    fn not_finite() {
        let comparison = check([f32::NAN, f32::INFINITY, 3.0, 4.0], [1.0, f64::INFINITY, f64::NAN, 4.0]);
        assert_eq!((comparison.non_finite, comparison.beyond, comparison.max_abs_error), (3, 0, 0.0));
        assert!(!comparison.holds());
    }

    #[test]
    fn shapes() {
        let (a, b) = (Array4::<f32>::zeros((1, 2, 3, 4)), Array4::<f32>::zeros((1, 2, 4, 3)));
        let error = compare(a.view(), b.view(), 0.0, 2.0).unwrap_err();
        assert_eq!(error.to_string(), "the array has shape [1, 2, 3, 4], expected [1, 2, 4, 3]");
    }
}
