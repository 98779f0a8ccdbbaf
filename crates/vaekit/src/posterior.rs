//! What an encoder says about an image: a diagonal Gaussian over latents.

use ndarray::{Array4, ArrayView4, Axis, Slice, Zip};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::latent_space::{Domain, Latents};

/// The posterior of a batch of images.
///
/// AutoencoderKL gives mean and log variance, both raw. A tiny autoencoder gives latents themselves, scaled: a posterior
/// without variance, whose mode and samples are those latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Posterior {
    moments: Array4<f32>,
    channels: usize,
    domain: Domain,
}

/// The range that log variances are clamped to (CompVis' `distributions.py`, diffusers' `vae.py`).
pub const LOGVAR_RANGE: (f32, f32) = (-30.0, 20.0);

impl Posterior {
    /// From moments `[N, 2C, h, w]`, mean then log variance, or from latents `[N, C, h, w]`.
    ///
    /// # Panics
    /// If `moments` has neither C nor 2C channels.
    pub fn new(moments: Array4<f32>, channels: usize, domain: Domain) -> Self {
        let found = moments.len_of(Axis(1));
        assert!(found == channels || found == 2 * channels, "{found} channels are neither C nor 2C for C = {channels}");
        Posterior { moments, channels, domain }
    }

    /// The posterior of one image of the batch.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn image(&self, index: usize) -> Posterior {
        Posterior { moments: self.moments.slice_axis(Axis(0), Slice::from(index..=index)).into_owned(), ..*self }
    }

    /// `[N, C, h, w]`.
    pub fn mean(&self) -> ArrayView4<'_, f32> {
        self.moments.slice_axis(Axis(1), Slice::from(..self.channels))
    }

    /// `[N, C, h, w]`, not clamped; `None` where there is no variance.
    pub fn logvar(&self) -> Option<ArrayView4<'_, f32>> {
        let has_variance = self.moments.len_of(Axis(1)) > self.channels;
        has_variance.then(|| self.moments.slice_axis(Axis(1), Slice::from(self.channels..)))
    }

    /// The most likely latents: the mean.
    pub fn mode(&self) -> Latents {
        Latents { data: self.mean().as_standard_layout().into_owned(), domain: self.domain }
    }

    /// `mean + exp(logvar / 2) * noise`, the log variance clamped to [`LOGVAR_RANGE`]. Standard normal noise `[N, C, h, w]`
    /// makes it a draw from the posterior.
    ///
    /// # Panics
    /// If `noise` has another shape than the mean.
    pub fn sample(&self, noise: ArrayView4<'_, f32>) -> Latents {
        let mut latents = self.mode();
        assert_eq!(noise.shape(), latents.data.shape(), "noise and posterior differ in shape");
        if let Some(logvar) = self.logvar() {
            Zip::from(&mut latents.data).and(logvar).and(noise).for_each(|latent, &logvar, &noise| {
                *latent += (0.5 * logvar.clamp(LOGVAR_RANGE.0, LOGVAR_RANGE.1)).exp() * noise;
            });
        }
        latents
    }

    /// A draw whose noise depends on the seed and the stream alone, and is the same on every machine: ChaCha with 8 rounds, and
    /// rand_distr's standard normal distribution.
    pub fn draw(&self, seed: u64, stream: u64) -> Latents {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream);
        let noise = Array4::from_shape_simple_fn(self.mean().dim(), || StandardNormal.sample(&mut random));
        self.sample(noise.view())
    }

    /// Kullback-Leibler divergence from the standard normal distribution for each image, summed over its latents (nats).
    /// `None` where there is no variance. Formula: `DiagonalGaussianDistribution.kl` of CompVis and diffusers.
    pub fn kl(&self) -> Option<Vec<f64>> {
        let (mean, logvar) = (self.mean(), self.logvar()?);
        let per_image = mean.outer_iter().zip(logvar.outer_iter()).map(|(mean, logvar)| {
            mean.iter().zip(logvar).fold(0.0, |sum, (&mean, &logvar)| {
                let (mean, logvar) = (f64::from(mean), f64::from(logvar.clamp(LOGVAR_RANGE.0, LOGVAR_RANGE.1)));
                sum + 0.5 * (mean * mean + logvar.exp() - 1.0 - logvar)
            })
        });
        Some(per_image.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn posterior() -> Posterior {
        Posterior::new(array![[[[1.0, -2.0]], [[0.0, 50.0]]]], 1, Domain::Raw)
    }

    #[test]
    fn samples_follow_the_clamped_variance() {
        assert_eq!(posterior().mode().data, array![[[[1.0, -2.0]]]]);
        let sample = posterior().sample(array![[[[0.5, 1.0]]]].view());
        assert_eq!(sample.data, array![[[[1.5, -2.0 + (10.0f32).exp()]]]]);
    }

    #[test]
    fn kl_of_a_unit_gaussian_is_half_its_squared_mean() {
        let unit = Posterior::new(array![[[[3.0]], [[0.0]]]], 1, Domain::Raw);
        assert_eq!(unit.kl(), Some(vec![4.5]));
    }

    #[test]
    fn latents_are_a_posterior_without_variance() {
        let latents = Posterior::new(array![[[[3.0]]]], 1, Domain::Scaled);
        assert_eq!(latents.logvar(), None);
        assert_eq!(latents.sample(array![[[[9.0]]]].view()), latents.mode());
        assert_eq!(latents.kl(), None);
    }
}
