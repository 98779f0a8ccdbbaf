//! The pipeline: images to posteriors, latents to images, on any runtime.

use ndarray::{Array4, ArrayView4};

use crate::arch::{Layer, layers};
use crate::config::{Half, VaeConfig};
use crate::images::Images;
use crate::latent_space::{LatentError, Latents};
use crate::posterior::Posterior;
use crate::session::{Engine, Observer, RunError, Session};
use crate::tiles::{self, Tiling};

/// A VAE that is ready to run: a config, and a session for each half that is there.
pub struct Vae {
    config: VaeConfig,
    encoder: Option<Box<dyn Session>>,
    decoder: Option<Box<dyn Session>>,
    tiling: Tiling,
}

/// Why an image was not encoded or latents not decoded.
#[derive(Debug, thiserror::Error)]
pub enum VaeError {
    /// This VAE was opened without the half that is needed.
    #[error("this VAE has no {half}")]
    NoHalf {
        /// The half.
        half: Half,
    },
    /// An axis of length zero.
    #[error("the images are {shape:?} (N, 3, H, W), which holds no pixels")]
    NoPixels {
        /// Shape found.
        shape: Vec<usize>,
    },
    /// The latents do not fit.
    #[error(transparent)]
    Latents(#[from] LatentError),
    /// The runtime failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The graph gave values that are no numbers.
    #[error("the {half} gave {count} NaN or infinite values of {total} on {engine}; {}", advice(*.input_is_finite))]
    NonFinite {
        /// The half.
        half: Half,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// What ran.
        engine: String,
        /// Whether the input was in order, so that the model is to blame.
        input_is_finite: bool,
    },
}

fn advice(input_is_finite: bool) -> &'static str {
    if input_is_finite {
        "if the model or the provider computes in fp16, use fp32"
    } else {
        "its input held NaN or infinite values already"
    }
}

impl Vae {
    /// A VAE on sessions whose graphs belong to `config`.
    pub fn new(config: VaeConfig, encoder: Option<Box<dyn Session>>, decoder: Option<Box<dyn Session>>) -> Self {
        Vae { config, encoder, decoder, tiling: Tiling::default() }
    }

    /// Says when images and latents are cut into tiles from now on; by default where one piece is out of memory.
    pub fn set_tiling(&mut self, tiling: Tiling) {
        self.tiling = tiling;
    }

    /// The VAE's config.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// What a half runs on.
    pub fn engine(&self, half: Half) -> Option<&Engine> {
        match half {
            Half::Encoder => self.encoder.as_ref(),
            Half::Decoder => self.decoder.as_ref(),
        }
        .map(|session| session.engine())
    }

    /// A half's session, for what only its runtime can do.
    pub fn session_mut(&mut self, half: Half) -> Option<&mut dyn Session> {
        match half {
            Half::Encoder => self.encoder.as_deref_mut(),
            Half::Decoder => self.decoder.as_deref_mut(),
        }
    }

    /// Encodes images `[N, 3, H, W]` in [-1, 1] to a posterior over latents `[N, C, h, w]`.
    ///
    /// Sides that are no multiple of [`image_multiple`](crate::LatentSpace::image_multiple) are padded at the bottom and the
    /// right by reflection, so h and w are rounded up; crop what is decoded later with [`Images::cropped`].
    ///
    /// # Errors
    /// [`VaeError`] if there is no encoder, no pixel, the runtime fails, or the moments are not finite.
    pub async fn encode(&mut self, images: &Images) -> Result<Posterior, VaeError> {
        self.encode_with(images, &mut ()).await
    }

    /// [`encode`](Self::encode), watched.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode), and [`Failure::Cancelled`](crate::Failure::Cancelled).
    pub async fn encode_with(&mut self, images: &Images, observer: &mut dyn Observer) -> Result<Posterior, VaeError> {
        let space = &self.config.latents;
        let session = self.encoder.as_mut().ok_or(VaeError::NoHalf { half: Half::Encoder })?;
        let idle = self.decoder.as_deref_mut();
        if images.data.is_empty() {
            return Err(VaeError::NoPixels { shape: images.data.shape().to_vec() });
        }
        let padded = (!images.is_aligned(space.image_multiple())).then(|| images.padded(space.image_multiple()));
        let input = padded.as_ref().unwrap_or(images).data.view();
        let channels = self.config.encoder_out_channels();
        let shape = Shape {
            from: space.downsample_factor,
            to: 1,
            channels,
            normalises: normalises(&self.config, Half::Encoder),
        };
        let moments = run(session.as_mut(), idle, Half::Encoder, input, shape, self.tiling, observer).await?;
        Ok(Posterior::new(moments, space.channels, space.native))
    }

    /// Decodes latents `[N, C, h, w]`, raw or scaled, to images `[N, 3, f*h, f*w]`, nominally in [-1, 1], not clamped.
    ///
    /// # Errors
    /// [`VaeError`] if there is no decoder, the latents do not fit this VAE, the runtime fails, or the image is not finite.
    pub async fn decode(&mut self, latents: Latents) -> Result<Images, VaeError> {
        self.decode_with(latents, &mut ()).await
    }

    /// [`decode`](Self::decode), watched.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), and [`Failure::Cancelled`](crate::Failure::Cancelled).
    pub async fn decode_with(&mut self, latents: Latents, observer: &mut dyn Observer) -> Result<Images, VaeError> {
        let space = &self.config.latents;
        let session = self.decoder.as_mut().ok_or(VaeError::NoHalf { half: Half::Decoder })?;
        let idle = self.encoder.as_deref_mut();
        let input = space.to_native(latents)?;
        let normalises = normalises(&self.config, Half::Decoder);
        let shape = Shape { from: 1, to: space.downsample_factor, channels: 3, normalises };
        let data = run(session.as_mut(), idle, Half::Decoder, input.view(), shape, self.tiling, observer).await?;
        Ok(Images { data })
    }
}

/// Whether a half has group normalisations.
fn normalises(config: &VaeConfig, half: Half) -> bool {
    layers(config, half).iter().any(|layer| match layer {
        Layer::GroupNorm(_) | Layer::Resnet(_) | Layer::Attention(_) => true,
        Layer::TinyBlock(block) => block.pool.is_some(),
        _ => false,
    })
}

/// What a half makes of its input.
struct Shape {
    /// Values along a side for each position of the latents: before.
    from: usize,
    /// And after.
    to: usize,
    channels: usize,
    normalises: bool,
}

async fn run(
    session: &mut dyn Session,
    idle: Option<&mut dyn Session>,
    half: Half,
    input: ArrayView4<'_, f32>,
    Shape { from, to, channels, normalises }: Shape,
    tiling: Tiling,
    observer: &mut dyn Observer,
) -> Result<Array4<f32>, VaeError> {
    let (n, _, height, width) = input.dim();
    let mut output = Array4::zeros((n, channels, height / from * to, width / from * to));
    let job = tiles::Job { input, output: output.view_mut(), scale: [from, to], normalises };
    tiles::run(session, job, tiling, idle, observer).await?;
    let count = output.iter().filter(|value| !value.is_finite()).count();
    if count > 0 {
        let input_is_finite = input.iter().all(|value| value.is_finite());
        let (total, engine) = (output.len(), session.engine().to_string());
        return Err(VaeError::NonFinite { half, count, total, engine, input_is_finite });
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, Kl, KlClass, LatentSpace, Network, RunFuture, Scaling, block_on};
    use ndarray::{ArrayViewMut4, array};

    /// Fills its output with the input's first value plus the index of the output's value.
    struct Counting(Engine);

    impl Session for Counting {
        fn engine(&self) -> &Engine {
            &self.0
        }

        fn run<'a>(
            &'a mut self,
            input: ArrayView4<'a, f32>,
            mut output: ArrayViewMut4<'a, f32>,
            _: &'a mut dyn Observer,
        ) -> RunFuture<'a> {
            let first = input[(0, 0, 0, 0)];
            output.iter_mut().enumerate().for_each(|(i, value)| *value = first + i as f32);
            Box::pin(std::future::ready(Ok(())))
        }
    }

    fn vae() -> Vae {
        let kl = Kl {
            kind: KlClass::AutoencoderKl,
            encoder: None,
            decoder: None,
            norm_num_groups: 32,
            mid_attention: true,
            quant_conv: true,
            post_quant_conv: true,
        };
        let scaling = Some(Scaling::factor(0.5));
        let latents = LatentSpace { channels: 1, downsample_factor: 2, native: Domain::Raw, scaling, packed: false };
        let counting = || {
            let engine = Engine { name: "counting", version: "1".into(), provider: "cpu".into() };
            Some(Box::new(Counting(engine)) as Box<dyn Session>)
        };
        Vae::new(VaeConfig { network: Network::Kl(kl), latents }, counting(), counting())
    }

    #[test]
    fn odd_sides_are_padded_before_encoding() {
        let image = Images { data: Array4::from_elem((1, 3, 3, 1), 7.0) };
        let posterior = block_on(vae().encode(&image)).unwrap();
        assert_eq!(posterior.mean(), array![[[[7.0], [8.0]]]]);
        assert_eq!(posterior.logvar().unwrap(), array![[[[9.0], [10.0]]]]);
    }

    #[test]
    fn scaled_latents_are_unscaled_before_decoding() {
        let decode = |domain| block_on(vae().decode(Latents { data: Array4::from_elem((1, 1, 1, 1), 3.0), domain }));
        assert_eq!(decode(Domain::Scaled).unwrap().data[(0, 0, 0, 0)], 6.0);
        assert_eq!(decode(Domain::Raw).unwrap().data.dim(), (1, 3, 2, 2));
    }

    #[test]
    fn values_that_are_no_numbers_are_an_error() {
        let latents = Latents { data: Array4::from_elem((1, 1, 1, 1), f32::NAN), domain: Domain::Raw };
        let message = block_on(vae().decode(latents)).unwrap_err().to_string();
        assert_eq!(
            message,
            "the decoder gave 12 NaN or infinite values of 12 on counting 1 on cpu; its input held NaN or infinite values already"
        );
    }

    #[test]
    fn a_missing_half_and_an_empty_image_are_errors() {
        let mut vae = vae();
        let empty = Images { data: Array4::zeros((1, 3, 0, 8)) };
        assert!(matches!(block_on(vae.encode(&empty)), Err(VaeError::NoPixels { .. })));
        vae.encoder = None;
        assert_eq!(block_on(vae.encode(&empty)).unwrap_err().to_string(), "this VAE has no encoder");
    }
}
