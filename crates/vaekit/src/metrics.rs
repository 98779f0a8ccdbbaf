//! How alike two images are: PSNR and SSIM, as scikit-image defines them.

use ndarray::{Array2, ArrayView2, ArrayView3, Zip};

/// Peak signal-to-noise ratio in dB of `image` against `reference`, both `[3, H, W]` in [-1, 1] (peak 2).
/// Infinite where they are equal. As scikit-image's `peak_signal_noise_ratio` with `data_range=2`.
///
/// # Panics
/// If the shapes differ.
pub fn psnr(reference: ArrayView3<'_, f32>, image: ArrayView3<'_, f32>) -> f64 {
    let sum = Zip::from(&reference).and(&image).fold(0.0, |sum, &a, &b| sum + (f64::from(a) - f64::from(b)).powi(2));
    10.0 * (4.0 / (sum / reference.len() as f64)).log10()
}

/// Standard deviation of SSIM's window (Wang et al. 2004, "Image quality assessment", section III-C).
const SIGMA: f64 = 1.5;
/// The window reaches 3.5 sigma to each side, as in scikit-image.
const RADIUS: usize = 5;

/// Structural similarity of two images `[3, H, W]` in [-1, 1], mean over channels; 1 where they are equal.
///
/// As scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=2)`:
/// a border of 5 pixels does not count. `None` for a side below 11 pixels.
///
/// # Panics
/// If the shapes differ.
pub fn ssim(reference: ArrayView3<'_, f32>, image: ArrayView3<'_, f32>) -> Option<f64> {
    let (_, height, width) = reference.dim();
    if height.min(width) < 2 * RADIUS + 1 {
        return None;
    }
    let channels = reference.outer_iter().zip(image.outer_iter());
    Some(channels.map(|(a, b)| ssim_of_channel(a, b)).sum::<f64>() / reference.shape()[0] as f64)
}

fn ssim_of_channel(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> f64 {
    // (K1 L)^2 and (K2 L)^2 with K1 = 0.01, K2 = 0.03 (Wang et al. 2004) and L = 2.
    let (c1, c2) = ((0.01f64 * 2.0).powi(2), (0.03f64 * 2.0).powi(2));
    let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
    let (mean_a, mean_b) = (blur(&a), blur(&b));
    let (aa, bb, ab) = (blur(&(&a * &a)), blur(&(&b * &b)), blur(&(&a * &b)));
    let mut sum = 0.0;
    Zip::from(&mean_a).and(&mean_b).and(&aa).and(&bb).and(&ab).for_each(|&ma, &mb, &aa, &bb, &ab| {
        let (va, vb, cov) = (aa - ma * ma, bb - mb * mb, ab - ma * mb);
        sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
    });
    sum / mean_a.len() as f64
}

/// Gaussian means of every window that lies within the image: `[H - 2 RADIUS, W - 2 RADIUS]`.
fn blur(image: &Array2<f64>) -> Array2<f64> {
    let weights: Vec<f64> =
        (0..=2 * RADIUS).map(|i| (-0.5 * ((i as f64 - RADIUS as f64) / SIGMA).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let (height, width) = image.dim();
    let mut rows = Array2::zeros((height - 2 * RADIUS, width));
    let mut windows = Array2::zeros((height - 2 * RADIUS, width - 2 * RADIUS));
    for (i, weight) in weights.iter().map(|weight| weight / sum).enumerate() {
        rows.scaled_add(weight, &image.slice(ndarray::s![i..i + height - 2 * RADIUS, ..]));
    }
    for (i, weight) in weights.iter().map(|weight| weight / sum).enumerate() {
        windows.scaled_add(weight, &rows.slice(ndarray::s![.., i..i + width - 2 * RADIUS]));
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array3;

    /// Expected values from scikit-image 0.26 on the same two arrays.
    #[test]
    fn agrees_with_scikit_image() {
        let a = Array3::from_shape_fn((3, 24, 31), |(c, y, x)| {
            (0.7 * y as f64 + 0.3 * (x * x) as f64 + c as f64).sin() as f32
        });
        let b = Array3::from_shape_fn((3, 24, 31), |(c, y, x)| {
            0.8 * a[(c, y, x)] + 0.1 * (1.3 * x as f64 + c as f64).cos() as f32
        });
        assert!((psnr(a.view(), b.view()) - 22.027023).abs() < 1e-5);
        assert!((ssim(a.view(), b.view()).unwrap() - 0.8954182).abs() < 1e-6);
    }

    #[test]
    fn equal_images() {
        let a = Array3::from_elem((3, 11, 11), 0.25f32);
        assert_eq!(psnr(a.view(), a.view()), f64::INFINITY);
        assert_eq!(ssim(a.view(), a.view()), Some(1.0));
        assert_eq!(ssim(a.slice(ndarray::s![.., ..10, ..]), a.slice(ndarray::s![.., ..10, ..])), None);
    }
}
