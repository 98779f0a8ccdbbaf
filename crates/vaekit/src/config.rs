//! What shapes a VAE: its network and the latents it speaks.

use serde::{Deserialize, Serialize};

use crate::latent_space::LatentSpace;

/// Everything about a VAE but its weights.
///
/// Two checkpoints with equal configs have the same tensors with the same shapes; see [`crate::arch`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VaeConfig {
    /// The network's family and sizes.
    pub network: Network,
    /// Channels, factor and scaling of its latents.
    pub latents: LatentSpace,
}

/// The families of networks that vaekit runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum Network {
    /// AutoencoderKL and its kin: residual blocks with group normalisation, a Gaussian posterior.
    Kl(Kl),
    /// AutoencoderTiny and its kin (TAESD ...): small residual blocks, no posterior.
    Tiny(Tiny),
}

/// Which published class an AutoencoderKL-like network is. The layers follow from [`Kl`]; this is for people and configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlClass {
    /// diffusers' `AutoencoderKL`: SD1, SD2, SDXL, SD3, FLUX.1, kl-f8-anime ...
    AutoencoderKl,
    /// diffusers' `AsymmetricAutoencoderKL`: a wider decoder; vaekit runs it without its inpainting inputs.
    AsymmetricAutoencoderKl,
    /// diffusers' `AutoencoderKLFlux2`: packed latents, normalised with the checkpoint's own statistics.
    AutoencoderKlFlux2,
}

impl KlClass {
    /// diffusers' name of the class.
    pub fn name(self) -> &'static str {
        match self {
            KlClass::AutoencoderKl => "AutoencoderKL",
            KlClass::AsymmetricAutoencoderKl => "AsymmetricAutoencoderKL",
            KlClass::AutoencoderKlFlux2 => "AutoencoderKLFlux2",
        }
    }
}

/// An AutoencoderKL-like network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kl {
    /// The published class.
    pub kind: KlClass,
    /// The encoder, if the checkpoint has one.
    pub encoder: Option<KlHalf>,
    /// The decoder, if the checkpoint has one.
    pub decoder: Option<KlHalf>,
    /// Groups of every group normalisation; does not follow from tensor shapes.
    pub norm_num_groups: usize,
    /// Whether the mid blocks hold an attention between their two resnets.
    pub mid_attention: bool,
    /// A 1x1 convolution on the moments, after the encoder.
    pub quant_conv: bool,
    /// A 1x1 convolution on the latents, before the decoder.
    pub post_quant_conv: bool,
}

/// One half of an AutoencoderKL-like network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KlHalf {
    /// Widths from the image's resolution to the latents', for both halves (diffusers' `block_out_channels`).
    pub block_out_channels: Vec<usize>,
    /// Residual blocks at each level: diffusers' `layers_per_block` in an encoder, one more in a decoder.
    pub resnets_per_block: usize,
}

/// An AutoencoderTiny-like network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tiny {
    /// The encoder, if the checkpoint has one.
    pub encoder: Option<TinyEncoder>,
    /// The decoder, if the checkpoint has one.
    pub decoder: Option<TinyDecoder>,
    /// Blocks at the latents' resolution carry a branch with group normalisation (TAEF2's `pool`).
    pub mid_pool: bool,
}

/// The encoder of a [`Tiny`] network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TinyEncoder {
    /// Widths of the stages, from the image to the latents.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each stage.
    pub num_blocks: Vec<usize>,
    /// `None`: one convolution at stride 1. `Some(w)`: two at stride 2 with ReLUs, through `w` channels (Sana's).
    pub strided_stem: Option<usize>,
}

impl TinyEncoder {
    /// H / h of this encoder: a halving between stages, two more in a strided stem.
    pub fn downsample_factor(&self) -> usize {
        let halvings =
            self.block_out_channels.len().saturating_sub(1) + if self.strided_stem.is_some() { 2 } else { 0 };
        1 << halvings
    }
}

/// The decoder of a [`Tiny`] network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TinyDecoder {
    /// Widths of the stages, from the latents to the image.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks in each stage.
    pub num_blocks: Vec<usize>,
}

/// The two graphs of a VAE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Image to moments (or to latents, where there is no posterior).
    Encoder,
    /// Latents to image.
    Decoder,
}

impl Half {
    /// Both halves, encoder first.
    pub const BOTH: [Half; 2] = [Half::Encoder, Half::Decoder];

    /// `encoder` or `decoder`.
    pub fn name(self) -> &'static str {
        match self {
            Half::Encoder => "encoder",
            Half::Decoder => "decoder",
        }
    }
}

impl std::fmt::Display for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl VaeConfig {
    /// Whether the checkpoint holds this half.
    pub fn has(&self, half: Half) -> bool {
        match (&self.network, half) {
            (Network::Kl(kl), Half::Encoder) => kl.encoder.is_some(),
            (Network::Kl(kl), Half::Decoder) => kl.decoder.is_some(),
            (Network::Tiny(tiny), Half::Encoder) => tiny.encoder.is_some(),
            (Network::Tiny(tiny), Half::Decoder) => tiny.decoder.is_some(),
        }
    }

    /// Whether the encoder gives a Gaussian posterior (mean and log variance) rather than latents.
    pub fn has_posterior(&self) -> bool {
        matches!(self.network, Network::Kl(_))
    }

    /// Channels of the encoder's output: 2C moments, or C latents where there is no posterior.
    pub fn encoder_out_channels(&self) -> usize {
        self.latents.channels * if self.has_posterior() { 2 } else { 1 }
    }

    /// The diffusers class with these layers, or the closest name where diffusers has none.
    pub fn class_name(&self) -> &'static str {
        match &self.network {
            Network::Kl(kl) => kl.kind.name(),
            Network::Tiny(_) => "AutoencoderTiny",
        }
    }
}
