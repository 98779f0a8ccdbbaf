//! How alike two images are: PSNR and SSIM, as scikit-image defines them, and MS-SSIM.

use ndarray::{Array1, Array2, ArrayView2, ArrayView3, Zip};

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
/// As scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)` of
/// the values brought to [0, 1], since SSIM compares means and is made for values that are not negative. A border of 5 pixels
/// does not count. `None` for a side below 11 pixels.
///
/// # Panics
/// If the shapes differ.
pub fn ssim(reference: ArrayView3<'_, f32>, image: ArrayView3<'_, f32>) -> Option<f64> {
    mean_over_channels(reference, image, 2 * RADIUS + 1, |a, b| similarity(&a, &b).ssim)
}

/// Exponents of MS-SSIM's scales, finest first (Wang, Simoncelli and Bovik 2003, "Multiscale structural similarity for
/// image quality assessment", section 3.2).
const SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// Multi-scale structural similarity of two images `[3, H, W]` in [-1, 1], mean over channels; 1 where they are equal.
///
/// Contrast and structure at five scales, each half as fine as the one before (means of 2 by 2, an odd row or column left
/// out), luminance at the coarsest, with the window of [`ssim`]. A negative mean counts as 0. `None` for a side below 176
/// pixels, whose coarsest scale would be smaller than the window.
///
/// # Panics
/// If the shapes differ.
pub fn ms_ssim(reference: ArrayView3<'_, f32>, image: ArrayView3<'_, f32>) -> Option<f64> {
    let least = (2 * RADIUS + 1) << (SCALES.len() - 1);
    mean_over_channels(reference, image, least, |mut a, mut b| {
        let mut product = 1.0;
        for (scale, exponent) in SCALES.iter().enumerate() {
            let coarsest = scale + 1 == SCALES.len();
            let Similarity { ssim, contrast } = similarity(&a, &b);
            product *= if coarsest { ssim } else { contrast }.max(0.0).powf(*exponent);
            if !coarsest {
                (a, b) = (halved(&a), halved(&b));
            }
        }
        product
    })
}

fn mean_over_channels(
    reference: ArrayView3<'_, f32>,
    image: ArrayView3<'_, f32>,
    least_side: usize,
    of_channel: impl Fn(Array2<f64>, Array2<f64>) -> f64,
) -> Option<f64> {
    assert_eq!(reference.dim(), image.dim(), "the images differ in shape");
    let (channels, height, width) = reference.dim();
    if height.min(width) < least_side {
        return None;
    }
    let unit = |plane: ArrayView2<'_, f32>| plane.mapv(|value| f64::from(value) * 0.5 + 0.5);
    let pairs = reference.outer_iter().zip(image.outer_iter());
    Some(pairs.map(|(a, b)| of_channel(unit(a), unit(b))).sum::<f64>() / channels as f64)
}

struct Similarity {
    ssim: f64,
    /// Without the luminance term.
    contrast: f64,
}

fn similarity(a: &Array2<f64>, b: &Array2<f64>) -> Similarity {
    // (K1 L)^2 and (K2 L)^2 with K1 = 0.01, K2 = 0.03 (Wang et al. 2004) and L = 1.
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let blur = |image: &Array2<f64>| gaussian_means(image, SIGMA, RADIUS);
    let (mean_a, mean_b) = (blur(a), blur(b));
    let (aa, bb, ab) = (blur(&(a * a)), blur(&(b * b)), blur(&(a * b)));
    let (mut ssim, mut contrast) = (0.0, 0.0);
    Zip::from(&mean_a).and(&mean_b).and(&aa).and(&bb).and(&ab).for_each(|&ma, &mb, &aa, &bb, &ab| {
        let (va, vb, cov) = (aa - ma * ma, bb - mb * mb, ab - ma * mb);
        let structure = (2.0 * cov + c2) / (va + vb + c2);
        contrast += structure;
        ssim += structure * (2.0 * ma * mb + c1) / (ma * ma + mb * mb + c1);
    });
    Similarity { ssim: ssim / mean_a.len() as f64, contrast: contrast / mean_a.len() as f64 }
}

/// Gaussian means of every window of `2 radius + 1` pixels that lies within the image: `[H - 2 radius, W - 2 radius]`.
///
/// # Panics
/// If a side is below `2 radius + 1`.
pub fn gaussian_means(image: &Array2<f64>, sigma: f64, radius: usize) -> Array2<f64> {
    let weights: Vec<f64> =
        (0..=2 * radius).map(|i| (-0.5 * ((i as f64 - radius as f64) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    let (height, width) = image.dim();
    let mut means = Array2::zeros((height - 2 * radius, width - 2 * radius));
    let mut column_means = Array1::<f64>::zeros(width);
    for (y, mut row) in means.outer_iter_mut().enumerate() {
        column_means.fill(0.0);
        for (i, &weight) in weights.iter().enumerate() {
            column_means.scaled_add(weight, &image.row(y + i));
        }
        for (i, &weight) in weights.iter().enumerate() {
            row.scaled_add(weight, &column_means.slice(ndarray::s![i..i + width - 2 * radius]));
        }
    }
    means
}

fn halved(image: &Array2<f64>) -> Array2<f64> {
    let (height, width) = image.dim();
    Array2::from_shape_fn((height / 2, width / 2), |(y, x)| {
        let (y, x) = (2 * y, 2 * x);
        (image[(y, x)] + image[(y + 1, x)] + image[(y, x + 1)] + image[(y + 1, x + 1)]) / 4.0
    })
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
        assert!((ssim(a.view(), b.view()).unwrap() - 0.969277).abs() < 1e-6);
    }

    #[test]
    fn equal_images() {
        let a = Array3::from_elem((3, 11, 11), 0.25f32);
        assert_eq!(psnr(a.view(), a.view()), f64::INFINITY);
        assert_eq!(ssim(a.view(), a.view()), Some(1.0));
        assert_eq!(ssim(a.slice(ndarray::s![.., ..10, ..]), a.slice(ndarray::s![.., ..10, ..])), None);
        let large = Array3::from_shape_fn((3, 176, 177), |(c, y, x)| (((c + 1) * (y ^ x)) as f32 * 0.01).sin());
        assert!((ms_ssim(large.view(), large.view()).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(ms_ssim(large.slice(ndarray::s![.., 1.., ..]), large.slice(ndarray::s![.., 1.., ..])), None);
    }
}
