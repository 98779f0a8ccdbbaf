//! The networks, step by step, under the names of diffusers' state dicts.

use vaekit::{Half, Kl, KlHalf, Network, Tiny, TinyDecoder, TinyEncoder, VaeConfig, Weights, WeightsError};

use crate::Observer;
use crate::kernels::{Window, attend, convolve, group_norm, kernel_matrix, upsample};
use crate::map::Map;
use crate::real::Real;

/// `resnet_eps` in diffusers' `vae.py`, CompVis' `Normalize`.
const KL_EPSILON: f64 = 1e-6;
/// PyTorch's default, which taesd.py keeps for the pool of TAEF2.
const POOL_EPSILON: f64 = 1e-5;
/// Groups of TAEF2's pool (taesd.py).
const POOL_GROUPS: usize = 4;
/// `latent_magnitude` of diffusers' `AutoencoderTiny`.
const LATENT_MAGNITUDE: f64 = 3.0;

/// Why a VAE cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A tensor cannot be had.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor does not fit the config.
    #[error("tensor `{name}` holds {found} values, expected {expected:?}; this config is another VAE's")]
    Tensor {
        /// The canonical name.
        name: String,
        /// Values found.
        found: usize,
        /// Shape expected.
        expected: Vec<usize>,
    },
    /// A config that describes no network.
    #[error("the config gives the {half} {widths} widths and {depths} depths, expected one of each for every stage")]
    Stages {
        /// The half.
        half: Half,
        /// Widths found.
        widths: usize,
        /// Depths found.
        depths: usize,
    },
    /// The VAE lacks this half.
    #[error("this VAE has no {0}; give a checkpoint that holds one")]
    NoHalf(Half),
    /// The input is not one of this half.
    #[error("the {half}'s input is {found:?}, expected [N, {channels}, H, W] that holds values")]
    Input {
        /// The half.
        half: Half,
        /// Shape found.
        found: Vec<usize>,
        /// Channels expected.
        channels: usize,
    },
    /// A layer cannot take what reaches it.
    #[error("layer `{layer}` cannot take {input:?} (N, C, H, W): {reason}")]
    Layer {
        /// Its name.
        layer: String,
        /// Shape of its input.
        input: [usize; 4],
        /// Why.
        reason: &'static str,
    },
    /// Probing latents could not be made native.
    #[error(transparent)]
    Latents(#[from] vaekit::LatentError),
    /// Threads cannot be started.
    #[error("cannot start the threads to evaluate on: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// One run through one half.
pub(crate) struct Pass<'p, 'o> {
    pub(crate) weights: &'p dyn Weights,
    pub(crate) observer: Option<&'p mut Observer<'o>>,
}

type Result<T, E = ReferenceError> = std::result::Result<T, E>;

impl Pass<'_, '_> {
    /// The encoder on images, the decoder on native latents.
    pub(crate) fn run<T: Real>(&mut self, config: &VaeConfig, half: Half, x: Map<T>) -> Result<Map<T>> {
        let channels = config.latents.channels;
        let input_name = match half {
            Half::Encoder => "sample",
            Half::Decoder => "latent_sample",
        };
        let x = self.seen(input_name, x);
        match (&config.network, half) {
            (Network::Kl(kl @ Kl { encoder: Some(encoder), .. }), Half::Encoder) => {
                self.kl_encoder(kl, encoder, channels, x)
            }
            (Network::Kl(kl @ Kl { decoder: Some(decoder), .. }), Half::Decoder) => {
                self.kl_decoder(kl, decoder, channels, x)
            }
            (Network::Tiny(tiny @ Tiny { encoder: Some(encoder), .. }), Half::Encoder) => {
                self.tiny_encoder(tiny, encoder, channels, x)
            }
            (Network::Tiny(tiny @ Tiny { decoder: Some(decoder), .. }), Half::Decoder) => {
                self.tiny_decoder(tiny, decoder, x)
            }
            _ => Err(ReferenceError::NoHalf(half)),
        }
    }

    /// diffusers' `Encoder`, then `quant_conv`.
    fn kl_encoder<T: Real>(&mut self, kl: &Kl, half: &KlHalf, channels: usize, x: Map<T>) -> Result<Map<T>> {
        let widths = &half.block_out_channels;
        let first = first_width(Half::Encoder, widths, widths.len())?;
        let groups = kl.norm_num_groups;
        let mut x = self.conv("encoder.conv_in", &x, first, Window::SAME)?;
        for (level, &width) in widths.iter().enumerate() {
            for i in 0..half.resnets_per_block {
                x = self.resnet(&format!("encoder.down_blocks.{level}.resnets.{i}"), x, width, groups)?;
            }
            if level + 1 < widths.len() {
                let name = format!("encoder.down_blocks.{level}.downsamplers.0.conv");
                x = self.conv(&name, &x, x.c, Window::HALF_DOWN)?;
            }
        }
        x = self.kl_mid("encoder.mid_block", kl, x)?;
        x = self.norm("encoder.conv_norm_out", x, groups, KL_EPSILON)?;
        x.silu();
        x = self.conv("encoder.conv_out", &x, channels.saturating_mul(2), Window::SAME)?;
        if kl.quant_conv { self.conv("quant_conv", &x, channels.saturating_mul(2), Window::POINT) } else { Ok(x) }
    }

    /// `post_quant_conv`, then diffusers' `Decoder`; without a mask its `MaskConditionDecoder` is the same.
    fn kl_decoder<T: Real>(&mut self, kl: &Kl, half: &KlHalf, channels: usize, mut x: Map<T>) -> Result<Map<T>> {
        let widths: Vec<usize> = half.block_out_channels.iter().rev().copied().collect();
        let first = first_width(Half::Decoder, &widths, widths.len())?;
        let groups = kl.norm_num_groups;
        if kl.post_quant_conv {
            x = self.conv("post_quant_conv", &x, channels, Window::POINT)?;
        }
        x = self.conv("decoder.conv_in", &x, first, Window::SAME)?;
        x = self.kl_mid("decoder.mid_block", kl, x)?;
        for (level, &width) in widths.iter().enumerate() {
            for i in 0..half.resnets_per_block {
                x = self.resnet(&format!("decoder.up_blocks.{level}.resnets.{i}"), x, width, groups)?;
            }
            if level + 1 < widths.len() {
                let name = format!("decoder.up_blocks.{level}.upsamplers.0");
                x = self.upsample(&format!("{name}.nearest"), x)?;
                x = self.conv(&format!("{name}.conv"), &x, x.c, Window::SAME)?;
            }
        }
        x = self.norm("decoder.conv_norm_out", x, groups, KL_EPSILON)?;
        x.silu();
        self.conv("decoder.conv_out", &x, 3, Window::SAME)
    }

    /// `UNetMidBlock2D`.
    fn kl_mid<T: Real>(&mut self, name: &str, kl: &Kl, x: Map<T>) -> Result<Map<T>> {
        let width = x.c;
        let mut x = self.resnet(&format!("{name}.resnets.0"), x, width, kl.norm_num_groups)?;
        if kl.mid_attention {
            x = self.attention(&format!("{name}.attentions.0"), x, kl.norm_num_groups)?;
        }
        self.resnet(&format!("{name}.resnets.1"), x, width, kl.norm_num_groups)
    }

    /// `ResnetBlock2D` without a time embedding.
    fn resnet<T: Real>(&mut self, name: &str, x: Map<T>, width: usize, groups: usize) -> Result<Map<T>> {
        let mut y = self.norm(&format!("{name}.norm1"), x.clone(), groups, KL_EPSILON)?;
        y.silu();
        y = self.conv(&format!("{name}.conv1"), &y, width, Window::SAME)?;
        y = self.norm(&format!("{name}.norm2"), y, groups, KL_EPSILON)?;
        y.silu();
        y = self.conv(&format!("{name}.conv2"), &y, width, Window::SAME)?;
        if x.c == width {
            y.add(&x);
        } else {
            y.add(&self.conv(&format!("{name}.conv_shortcut"), &x, width, Window::POINT)?);
        }
        Ok(self.seen(name, y))
    }

    /// `Attention` with one head, a group normalisation and a residual connection.
    fn attention<T: Real>(&mut self, name: &str, x: Map<T>, groups: usize) -> Result<Map<T>> {
        let y = self.norm(&format!("{name}.group_norm"), x.clone(), groups, KL_EPSILON)?;
        let q = self.linear(&format!("{name}.to_q"), &y)?;
        let k = self.linear(&format!("{name}.to_k"), &y)?;
        let v = self.linear(&format!("{name}.to_v"), &y)?;
        let (attended, largest_score) = attend(&q, &k, &v).map_err(refusal(name, &q))?;
        if let Some(observer) = &mut self.observer {
            observer(&format!("{name}.scores"), as_f32(largest_score));
        }
        let attended = self.seen(&format!("{name}.attended"), attended);
        let mut y = self.linear(&format!("{name}.to_out.0"), &attended)?;
        y.add(&x);
        Ok(self.seen(name, y))
    }

    /// taesd.py's `Encoder`, on [-1, 1] as diffusers' `EncoderTiny`.
    fn tiny_encoder<T: Real>(
        &mut self,
        tiny: &Tiny,
        half: &TinyEncoder,
        channels: usize,
        mut x: Map<T>,
    ) -> Result<Map<T>> {
        let (widths, depths) = (&half.block_out_channels, &half.num_blocks);
        let first = first_width(Half::Encoder, widths, depths.len())?;
        let mut names = (0..).map(|i| format!("encoder.layers.{i}"));
        let mut name = || names.next().unwrap_or_default();
        x.apply(|x| (x + T::ONE) / T::from_f64(2.0));
        x = self.seen("encoder.to_unit_range", x);
        if let Some(stem) = half.strided_stem {
            for width in [stem, first] {
                x = self.conv(&name(), &x, width, Window::HALF_UP)?;
                x.relu();
                name();
            }
        } else {
            x = self.conv(&name(), &x, first, Window::SAME)?;
        }
        for (stage, (&width, &depth)) in widths.iter().zip(depths).enumerate() {
            if stage > 0 {
                x = self.conv_without_bias(&name(), &x, width, Window::HALF_UP)?;
            }
            for _ in 0..depth {
                x = self.tiny_block(&name(), x, tiny.mid_pool && stage + 1 == widths.len())?;
            }
        }
        self.conv(&name(), &x, channels, Window::SAME)
    }

    /// taesd.py's `Decoder`, to [-1, 1] and numbered as diffusers' `DecoderTiny`.
    fn tiny_decoder<T: Real>(&mut self, tiny: &Tiny, half: &TinyDecoder, mut x: Map<T>) -> Result<Map<T>> {
        let (widths, depths) = (&half.block_out_channels, &half.num_blocks);
        let first = first_width(Half::Decoder, widths, depths.len())?;
        let mut names = (0..).map(|i| format!("decoder.layers.{i}"));
        let mut name = || names.next().unwrap_or_default();
        let limit = T::from_f64(LATENT_MAGNITUDE);
        x.apply(|x| (x / limit).tanh() * limit);
        x = self.seen("decoder.soft_clamp", x);
        x = self.conv(&name(), &x, first, Window::SAME)?;
        x.relu();
        name();
        for (stage, &depth) in depths.iter().enumerate() {
            for _ in 0..depth {
                x = self.tiny_block(&name(), x, tiny.mid_pool && stage == 0)?;
            }
            if let Some(&width) = widths.get(stage + 1) {
                x = self.upsample(&name(), x)?;
                x = self.conv_without_bias(&name(), &x, width, Window::SAME)?;
            }
        }
        x = self.conv(&name(), &x, 3, Window::SAME)?;
        x.apply(|x| x * T::from_f64(2.0) - T::ONE);
        Ok(self.seen("decoder.to_signed_range", x))
    }

    /// taesd.py's `Block`. Its widths never change within a stage, so that its skip is the identity.
    fn tiny_block<T: Real>(&mut self, name: &str, mut x: Map<T>, pool: bool) -> Result<Map<T>> {
        let width = x.c;
        if pool {
            let mut y =
                self.conv_without_bias(&format!("{name}.pool.0"), &x, width.saturating_mul(4), Window::POINT)?;
            y = self.norm(&format!("{name}.pool.1"), y, POOL_GROUPS, POOL_EPSILON)?;
            y.relu();
            x.add(&self.conv_without_bias(&format!("{name}.pool.3"), &y, width, Window::POINT)?);
            x = self.seen(&format!("{name}.pool"), x);
        }
        let mut y = self.conv(&format!("{name}.conv.0"), &x, width, Window::SAME)?;
        y.relu();
        y = self.conv(&format!("{name}.conv.2"), &y, width, Window::SAME)?;
        y.relu();
        y = self.conv(&format!("{name}.conv.4"), &y, width, Window::SAME)?;
        y.add(&x);
        y = self.seen(name, y);
        y.relu();
        Ok(y)
    }

    fn conv<T: Real>(&mut self, name: &str, x: &Map<T>, out: usize, window: Window) -> Result<Map<T>> {
        let weights = self.kernel(name, x, out, window)?;
        let bias = self.vector(&format!("{name}.bias"), out)?;
        self.convolve(name, x, &weights, &bias, window)
    }

    fn conv_without_bias<T: Real>(&mut self, name: &str, x: &Map<T>, out: usize, window: Window) -> Result<Map<T>> {
        let weights = self.kernel(name, x, out, window)?;
        self.convolve(name, x, &weights, &vec![T::ZERO; out], window)
    }

    /// `nn.Linear` over the channels: its weight `[C, C]` lies as that of a 1x1 convolution.
    fn linear<T: Real>(&mut self, name: &str, x: &Map<T>) -> Result<Map<T>> {
        self.conv(name, x, x.c, Window::POINT)
    }

    fn convolve<T: Real>(
        &mut self,
        name: &str,
        x: &Map<T>,
        weights: &[T],
        bias: &[T],
        window: Window,
    ) -> Result<Map<T>> {
        let y = convolve(x, weights, bias, window).map_err(refusal(name, x))?;
        Ok(self.seen(name, y))
    }

    fn norm<T: Real>(&mut self, name: &str, mut x: Map<T>, groups: usize, epsilon: f64) -> Result<Map<T>> {
        let weight = self.vector(&format!("{name}.weight"), x.c)?;
        let bias = self.vector(&format!("{name}.bias"), x.c)?;
        group_norm(&mut x, groups, epsilon, &weight, &bias).map_err(refusal(name, &x))?;
        Ok(self.seen(name, x))
    }

    fn upsample<T: Real>(&mut self, name: &str, x: Map<T>) -> Result<Map<T>> {
        let y = upsample(&x).map_err(refusal(name, &x))?;
        Ok(self.seen(name, y))
    }

    fn kernel<T: Real>(&self, name: &str, x: &Map<T>, out: usize, window: Window) -> Result<Vec<T>> {
        let shape = [out, x.c, window.kernel, window.kernel];
        Ok(kernel_matrix(&self.tensor(&format!("{name}.weight"), &shape)?, out, x.c))
    }

    fn vector<T: Real>(&self, name: &str, len: usize) -> Result<Vec<T>> {
        Ok(self.tensor(name, &[len])?.into_iter().map(T::from).collect())
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.weights.read_f32(name)?;
        let len = shape.iter().try_fold(1, |len: usize, &side| len.checked_mul(side));
        if len != Some(values.len()) || values.is_empty() {
            return Err(ReferenceError::Tensor { name: name.into(), found: values.len(), expected: shape.to_vec() });
        }
        Ok(values)
    }

    fn seen<T: Real>(&mut self, name: &str, x: Map<T>) -> Map<T> {
        if let Some(observer) = &mut self.observer {
            observer(name, as_f32(x.max_abs()));
        }
        x
    }
}

fn first_width(half: Half, widths: &[usize], depths: usize) -> Result<usize> {
    match widths {
        [first, ..] if widths.len() == depths => Ok(*first),
        _ => Err(ReferenceError::Stages { half, widths: widths.len(), depths }),
    }
}

fn refusal<'a, T: Real>(layer: &'a str, input: &Map<T>) -> impl FnOnce(&'static str) -> ReferenceError + use<'a, T> {
    let input = input.nchw();
    move |reason| ReferenceError::Layer { layer: layer.into(), input, reason }
}

fn as_f32<T: Real>(value: T) -> f32 {
    let value: f64 = value.into();
    value as f32
}
