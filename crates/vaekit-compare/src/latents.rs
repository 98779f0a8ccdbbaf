//! What the latents of a VAE look like: means and deviations, and whether its scaling can be the right one.

use ndarray::Axis;
use serde::Serialize;
use vaekit::{Domain, KnownScaling, LatentSpace, Latents, Posterior, Scaling};

/// Mean and standard deviation of a number of values, which can be pooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moments {
    /// How many values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of the values themselves (divided by n).
    pub deviation: f64,
}

impl Moments {
    /// Of some values.
    pub fn of(values: impl Iterator<Item = f32> + Clone) -> Self {
        let (n, sum) = values.clone().fold((0, 0.0), |(n, sum), value| (n + 1, sum + f64::from(value)));
        if n == 0 {
            return Moments::default();
        }
        let mean = sum / n as f64;
        let square = values.fold(0.0, |sum, value| sum + (f64::from(value) - mean).powi(2));
        Moments { n, mean, deviation: (square / n as f64).sqrt() }
    }

    /// Of all values together.
    pub fn pooled<'a>(parts: impl Iterator<Item = &'a Moments> + Clone) -> Self {
        let n: usize = parts.clone().map(|part| part.n).sum();
        if n == 0 {
            return Moments::default();
        }
        let share = |part: &Moments| part.n as f64 / n as f64;
        let mean = parts.clone().map(|part| share(part) * part.mean).sum::<f64>();
        let variance =
            parts.map(|part| share(part) * (part.deviation.powi(2) + (part.mean - mean).powi(2))).sum::<f64>();
        Moments { n, mean, deviation: variance.sqrt() }
    }
}

/// The latents of one or several pictures: the means of their posteriors.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LatentStatistics {
    /// Divergence from the standard normal distribution in nats for each value of the latents, where there is a posterior.
    pub kl_per_value: Option<f64>,
    /// Each channel as the VAE makes it: raw, or scaled for a tiny VAE.
    pub channels: Vec<Moments>,
    /// All values as a diffusion model sees them: about 0 and 1 where the scaling is right. Absent where it is not known.
    pub scaled: Option<Moments>,
}

impl LatentStatistics {
    /// Of the posterior of one picture.
    pub fn new(posterior: &Posterior, space: &LatentSpace) -> Self {
        Self::of_mean(posterior.mode(), posterior.kl().map(|kl| kl.iter().sum()), space)
    }

    /// Of the mean of a picture's posterior in the VAE's native domain, and its divergence in nats where there is one.
    pub fn of_mean(mean: Latents, kl: Option<f64>, space: &LatentSpace) -> Self {
        let channels = mean.data.axis_iter(Axis(1)).map(|channel| Moments::of(channel.iter().copied())).collect();
        let kl_per_value = kl.map(|kl| kl / mean.data.len() as f64);
        let scaled = space.to_domain(mean, Domain::Scaled).ok();
        let scaled = scaled.map(|latents| Moments::of(latents.data.iter().copied()));
        LatentStatistics { kl_per_value, channels, scaled }
    }

    /// Each channel as a diffusion model sees it, where the scaling is known and does not pack.
    pub fn scaled_channels(&self, space: &LatentSpace) -> Option<Vec<Moments>> {
        match space.native {
            Domain::Scaled => Some(self.channels.clone()),
            Domain::Raw => scaled(&self.channels, space.scaling.as_ref()?),
        }
    }

    /// Of several pictures together.
    pub fn pooled<'a>(parts: impl Iterator<Item = &'a LatentStatistics> + Clone) -> Self {
        let n_channels = parts.clone().map(|part| part.channels.len()).max().unwrap_or(0);
        let pooled = |channel: usize| Moments::pooled(parts.clone().filter_map(move |part| part.channels.get(channel)));
        let weights = parts.clone().filter_map(|part| {
            let n: usize = part.channels.iter().map(|channel| channel.n).sum();
            Some((n as f64, part.kl_per_value?))
        });
        let (n, kl) = weights.fold((0.0, 0.0), |(n, sum), (weight, kl)| (n + weight, sum + weight * kl));
        let scaled = Moments::pooled(parts.clone().filter_map(|part| part.scaled.as_ref()));
        LatentStatistics {
            kl_per_value: (n > 0.0).then(|| kl / n),
            channels: (0..n_channels).map(pooled).collect(),
            scaled: (scaled.n > 0).then_some(scaled),
        }
    }
}

/// Scaled latents that are not near unit deviation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Suspicion {
    /// The deviation found.
    pub deviation: f64,
    /// The published scaling in use, if it is one.
    pub used: Option<String>,
    /// The published scaling that would fit.
    pub fits: Option<Fit>,
}

/// A published scaling that would fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// Its name.
    pub name: String,
    /// It, as [`Scaling`] prints.
    pub scaling: String,
    /// The deviation that the scaled latents would have.
    pub deviation: f64,
}

/// Scaled latents of photographs mostly deviate by 1 within this factor; the factors of SD1 and SDXL are a factor 1.4 apart.
const UNIT: f64 = 1.25;
/// A deviation further from 1 than this is suspicious even where no published scaling explains it.
const FAR: f64 = 2.0;

/// Whether the scaling may be another VAE's, judged by the deviation of the scaled latents, which a right one makes about 1:
/// that is how `scaling_factor` is defined (Rombach et al. 2022, appendix G). `None` where nothing is suspicious, or the
/// scaling not known. Pictures that are flat all over (drawings, plain grounds) deviate less than photographs.
pub fn suspicion(statistics: &LatentStatistics, space: &LatentSpace, known: &[KnownScaling]) -> Option<Suspicion> {
    let found = statistics.scaled?.deviation;
    let distance = |deviation: f64| deviation.max(f64::MIN_POSITIVE).ln().abs();
    let known = || known.iter().filter(|known| known.channels == space.channels);
    let used = known().find(|known| Some(&known.scaling) == space.scaling.as_ref()).map(|known| known.name.clone());
    let candidates = known().filter_map(|known| {
        // The weights of a tiny VAE make scaled latents, so another scaling would change nothing.
        let raw = (space.native == Domain::Raw).then_some(&statistics.channels)?;
        Some((known, Moments::pooled(scaled(raw, &known.scaling)?.iter()).deviation))
    });
    let best = candidates.min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
    // Another scaling has to explain most of what is wrong.
    let fits = best.filter(|(_, deviation)| distance(*deviation) < distance(found) / 2.0);
    let tolerated = if fits.is_some() { UNIT } else { FAR };
    let fits =
        fits.map(|(known, deviation)| Fit { name: known.name.clone(), scaling: known.scaling.to_string(), deviation });
    (distance(found) > tolerated.ln()).then_some(Suspicion { deviation: found, used, fits })
}

/// Raw channels under a scaling; `None` for one that packs.
fn scaled(raw: &[Moments], scaling: &Scaling) -> Option<Vec<Moments>> {
    let channel = |index: usize, raw: &Moments| {
        let (offset, factor) = match scaling {
            Scaling::Affine { scaling_factor, shift_factor } => (*shift_factor, *scaling_factor),
            Scaling::PerChannel { mean, std, scaling_factor } => (*mean.get(index)?, scaling_factor / std.get(index)?),
            Scaling::Packed { .. } => return None,
        };
        Some(Moments { n: raw.n, mean: (raw.mean - offset) * factor, deviation: raw.deviation * factor.abs() })
    };
    raw.iter().enumerate().map(|(index, raw)| channel(index, raw)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array4;

    fn known() -> Vec<KnownScaling> {
        let known =
            |name: &str, factor| KnownScaling { name: name.into(), channels: 4, scaling: Scaling::factor(factor) };
        vec![known("sd1", 0.18215), known("sdxl", 0.13025)]
    }

    /// Latents of a given deviation, under a factor.
    fn check(deviation: f32, factor: f64, expected: Option<(Option<&str>, Option<&str>)>) {
        let scaling = Some(Scaling::factor(factor));
        let space = LatentSpace { channels: 4, downsample_factor: 8, native: Domain::Raw, scaling, packed: false };
        let moments =
            Array4::from_shape_fn((1, 8, 4, 4), |(_, _, y, x)| if (x + y) % 2 == 0 { deviation } else { -deviation });
        let statistics = LatentStatistics::new(&Posterior::new(moments, 4, Domain::Raw), &space);
        let found = suspicion(&statistics, &space, &known());
        let found = found.as_ref().map(|s| (s.used.as_deref(), s.fits.as_ref().map(|fit| fit.name.as_str())));
        assert_eq!(found, expected, "{deviation} under {factor}");
    }

    #[test]
    fn the_scaling_of_another_vae_is_found_out() {
        let (sd1, sdxl) = (1.0 / 0.18215, 1.0 / 0.13025);
        check(sdxl, 0.13025, None);
        check(sdxl, 0.18215, Some((Some("sd1"), Some("sdxl"))));
        check(sd1, 0.13025, Some((Some("sdxl"), Some("sd1"))));
        check(sd1 * 1.15, 0.18215, None);
        check(sdxl * 1.1, 0.13025, None);
        check(sd1 * 0.6, 0.18215, None);
        check(0.001, 0.18215, Some((Some("sd1"), None)));
        check(sdxl, 1.0, Some((None, Some("sdxl"))));
    }

    #[test]
    fn pooling_is_as_if_all_were_one() {
        let all = [1.0f32, 5.0, -2.0, 8.0, 0.5];
        let parts = [Moments::of(all[..2].iter().copied()), Moments::of(all[2..].iter().copied())];
        let (pooled, whole) = (Moments::pooled(parts.iter()), Moments::of(all.iter().copied()));
        assert!((pooled.mean - whole.mean).abs() < 1e-12 && (pooled.deviation - whole.deviation).abs() < 1e-12);
    }
}
