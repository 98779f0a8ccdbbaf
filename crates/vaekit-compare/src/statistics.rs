//! Whether differences over several pictures are more than noise.

use serde::Serialize;

/// What paired differences say, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Paired {
    /// How many pictures.
    pub n: usize,
    /// Mean of the differences.
    pub mean: f64,
    /// On how many pictures the difference is positive.
    pub positive: usize,
    /// How likely a mean this far from 0 is where there is no difference (Student's t, two-sided); absent below two pictures.
    pub p: Option<f64>,
}

impl Paired {
    /// Of the differences on each picture.
    pub fn new(differences: &[f64]) -> Self {
        let n = differences.len();
        let mean = differences.iter().sum::<f64>() / n.max(1) as f64;
        let positive = differences.iter().filter(|difference| **difference > 0.0).count();
        let p = (n > 1).then(|| {
            let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
            two_sided(mean / (variance / n as f64).sqrt(), n - 1)
        });
        Paired { n, mean, positive, p }
    }
}

/// P(|T| > |t|) of Student's t distribution with a whole number of degrees of freedom, a finite sum (Abramowitz and Stegun
/// 26.7.3 and 26.7.4). 0 / 0, no difference at all, is 1.
fn two_sided(t: f64, degrees: usize) -> f64 {
    if t.is_nan() {
        return 1.0;
    }
    let angle = (t.abs() / (degrees as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let odd = degrees % 2 == 1;
    // Terms cos^k with k = 1, 3 ... or 0, 2 ... below the degrees less one.
    let mut term = if odd { cos } else { 1.0 };
    let mut sum = 0.0;
    for k in (if odd { 1 } else { 0 }..degrees.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= cos * cos * (k + 1) as f64 / (k + 2) as f64;
    }
    let within = if odd { (angle + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum };
    (1.0 - within).max(0.0)
}

/// Which of several p values are below `alpha` once it is accounted for that there are several (Holm 1979).
pub fn holm(p: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut holds = vec![false; p.len()];
    for (rank, &index) in order.iter().enumerate() {
        if p[index] > alpha / (p.len() - rank) as f64 {
            break;
        }
        holds[index] = true;
    }
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected p values from scipy 1.17's `ttest_1samp(differences, 0)`.
    fn check(differences: &[f64], mean: f64, p: Option<f64>) {
        let found = Paired::new(differences);
        assert!((found.mean - mean).abs() < 1e-12, "{found:?}");
        match (found.p, p) {
            (Some(found), Some(p)) => assert!((found - p).abs() < 1e-9, "{found} {p}"),
            (found, p) => assert_eq!(found, p),
        }
    }

    #[test]
    fn agrees_with_scipy() {
        check(&[0.3, 1.1, 0.8, 0.2, 0.9], 0.66, Some(0.019_554_212_720_304));
        check(&[0.3, 1.1, 0.8, 0.2], 0.6, Some(0.06627560274152423));
        check(&[2.0, -1.0], 0.5, Some(0.795_167_235_300_866));
        check(&[1.0], 1.0, None);
        check(&[0.0, 0.0, 0.0], 0.0, Some(1.0));
        check(&[0.5, 0.5, 0.5], 0.5, Some(0.0));
    }

    #[test]
    fn several_comparisons_need_more_evidence() {
        assert_eq!(holm(&[0.04], 0.05), [true]);
        assert_eq!(holm(&[0.04, 0.03], 0.05), [false, false]);
        assert_eq!(holm(&[0.04, 0.02], 0.05), [true, true]);
        assert!(holm(&[], 0.05).is_empty());
    }
}
