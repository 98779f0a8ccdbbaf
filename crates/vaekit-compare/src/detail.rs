//! What became of the fine detail: sharpness, and the energy above a cut-off frequency.

use ndarray::{Array2, ArrayView3, Axis, Zip, s};
use serde::Serialize;
use vaekit::metrics::gaussian_means;

/// What is left of an original's fine detail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// Mean gradient (Sobel) of the luma over the original's: below 1 softer, above 1 crisper or noisier. Absent for pictures
    /// without edges.
    pub sharpness: Option<f64>,
    /// Energy of the high frequencies over the original's. Texture that was made up counts too. Absent for flat pictures.
    pub high_frequency_energy: Option<f64>,
    /// The share of the original's high frequencies that came back in their place: 1 all of it, 0 nothing or other texture.
    /// Absent for flat pictures.
    pub detail_kept: Option<f64>,
}

/// Rec. 709's luma of the coded values.
const LUMA: [f64; 3] = [0.2126, 0.7152, 0.0722];
/// What a Gaussian of this deviation takes away is fine detail: above about 0.19 cycles a pixel (where the Gaussian passes
/// half), structures of less than 5 pixels.
const SIGMA: f64 = 1.0;
const RADIUS: usize = 4;
/// Root mean square below which there is no detail to keep: half a step of 8 bits on the [-1, 1] scale.
const LEAST: f64 = 1.0 / 255.0;

/// The luma of an image, and its fine detail.
pub(crate) struct Luma {
    gradient: f64,
    high: Option<Array2<f64>>,
}

impl Luma {
    /// Of an image `[3, H, W]` in [-1, 1].
    pub(crate) fn new(image: ArrayView3<'_, f32>) -> Self {
        let mut luma = Array2::<f64>::zeros(image.index_axis(Axis(0), 0).dim());
        for (plane, weight) in image.outer_iter().zip(LUMA) {
            Zip::from(&mut luma).and(&plane).for_each(|luma, &value| *luma += weight * f64::from(value));
        }
        let (height, width) = luma.dim();
        let high = (height.min(width) > 2 * RADIUS).then(|| {
            let inner = luma.slice(s![RADIUS..height - RADIUS, RADIUS..width - RADIUS]);
            &inner - &gaussian_means(&luma, SIGMA, RADIUS)
        });
        Luma { gradient: mean_gradient(&luma), high }
    }
}

impl Detail {
    pub(crate) fn new(original: &Luma, decoded: &Luma) -> Self {
        let sums = original.high.as_ref().zip(decoded.high.as_ref()).and_then(|(before, after)| {
            let (energy_before, energy_after) = ((before * before).sum(), (after * after).sum());
            let enough = (energy_before / before.len() as f64).sqrt() >= LEAST;
            enough.then(|| (energy_after / energy_before, (before * after).sum() / energy_before))
        });
        Detail {
            sharpness: (original.gradient >= LEAST).then(|| decoded.gradient / original.gradient),
            high_frequency_energy: sums.map(|(energy, _)| energy),
            detail_kept: sums.map(|(_, kept)| kept),
        }
    }
}

/// Mean magnitude of the Sobel gradient inside the border, scaled so that a ramp of 1 a pixel gives 1; 0 for pictures that are
/// all border.
fn mean_gradient(luma: &Array2<f64>) -> f64 {
    let (height, width) = luma.dim();
    let mut sum = 0.0;
    for y in 1..height.saturating_sub(1) {
        let (above, row, below) = (luma.row(y - 1), luma.row(y), luma.row(y + 1));
        for x in 1..width.saturating_sub(1) {
            let column = |x: usize| above[x] + 2.0 * row[x] + below[x];
            let smooth = |row: ndarray::ArrayView1<'_, f64>| row[x - 1] + 2.0 * row[x] + row[x + 1];
            sum += (column(x + 1) - column(x - 1)).hypot(smooth(below) - smooth(above)) / 8.0;
        }
    }
    sum / (height.saturating_sub(2) * width.saturating_sub(2)).max(1) as f64
}
