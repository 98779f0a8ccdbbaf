//! The layers of every network, described once.
//!
//! Names are those of diffusers' state dicts ("canonical"): a checkpoint reader asks [`tensors`] which it needs, the ONNX
//! writer turns [`layers`] into nodes. Sources: diffusers' `autoencoder_kl.py`, `vae.py`, `autoencoder_tiny.py`, and
//! madebyollin/taesd's `taesd.py` for the variants that diffusers does not have.

use crate::config::{Half, Kl, KlHalf, Network, Tiny, TinyDecoder, TinyEncoder, VaeConfig};

/// One step of a network. Inputs and outputs are `[N, C, H, W]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// `x * scale + offset`: pixel ranges.
    Affine {
        /// Node name.
        name: String,
        /// Factor.
        scale: f32,
        /// Added after the factor.
        offset: f32,
    },
    /// `tanh(x / limit) * limit`: a tiny decoder's first step.
    SoftClamp {
        /// Node name.
        name: String,
        /// The bound.
        limit: f32,
    },
    /// A convolution.
    Conv(Conv),
    /// A group normalisation.
    GroupNorm(GroupNorm),
    /// `x * sigmoid(x)`.
    Silu {
        /// Node name.
        name: String,
    },
    /// `max(x, 0)`.
    Relu {
        /// Node name.
        name: String,
    },
    /// Nearest neighbour, twice the size.
    Upsample {
        /// Node name.
        name: String,
    },
    /// A residual block with group normalisations.
    Resnet(Resnet),
    /// Self-attention over the positions.
    Attention(Attention),
    /// A residual block of a tiny network.
    TinyBlock(TinyBlock),
}

/// A square convolution; tensors `NAME.weight` `[out, in, k, k]` and `NAME.bias` `[out]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Name of node and tensors.
    pub name: String,
    /// Channels in.
    pub in_channels: usize,
    /// Channels out.
    pub out_channels: usize,
    /// 1 or 3.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Where the zeros go.
    pub padding: Padding,
    /// Whether there is a bias.
    pub bias: bool,
}

/// Zeros around a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// `(kernel - 1) / 2` on every side. At stride 2 a side of n becomes ceil(n / 2).
    Same,
    /// One at the bottom and one at the right only: AutoencoderKL's downsampling. A side of n becomes floor(n / 2).
    BottomRight,
}

/// A group normalisation with biased variance; tensors `NAME.weight` and `NAME.bias`, both `[channels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    /// Name of node and tensors.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Groups, a divisor of the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
}

/// `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))))))`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resnet {
    /// Name of the block.
    pub name: String,
    /// First normalisation.
    pub norm1: GroupNorm,
    /// First 3x3 convolution.
    pub conv1: Conv,
    /// Second normalisation.
    pub norm2: GroupNorm,
    /// Second 3x3 convolution.
    pub conv2: Conv,
    /// 1x1 where the channel count changes, else the identity.
    pub shortcut: Option<Conv>,
}

/// `x + to_out(softmax(q k^T / sqrt(C)) v)` with q, k, v linear in `norm(x)`: one head over the h*w positions.
///
/// Tensors `NAME.{to_q,to_k,to_v,to_out.0}.weight` `[C, C]` and `.bias` `[C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Name of the block.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// The normalisation, `NAME.group_norm`.
    pub norm: GroupNorm,
}

/// `relu(conv3(relu(conv2(relu(conv1(y))))) + skip(y))` with `y = x + pool(x)` where there is a pool, else `y = x`.
#[derive(Clone, Debug, PartialEq)]
pub struct TinyBlock {
    /// Name of the block.
    pub name: String,
    /// `conv2(relu(norm(conv1(x))))`, 1x1 convolutions (TAEF2).
    pub pool: Option<Pool>,
    /// `NAME.conv.0`, `NAME.conv.2`, `NAME.conv.4`, 3x3.
    pub convs: [Conv; 3],
    /// `NAME.skip`, 1x1 without bias where the channel count changes, else the identity.
    pub skip: Option<Conv>,
}

/// The branch of a TAEF2 block.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// `NAME.pool.0`, to four times the channels.
    pub conv1: Conv,
    /// `NAME.pool.1`, four groups.
    pub norm: GroupNorm,
    /// `NAME.pool.3`, back.
    pub conv2: Conv,
}

/// Epsilon of AutoencoderKL's group normalisations (diffusers' `resnet_eps=1e-6`, CompVis' `Normalize`).
pub const KL_EPSILON: f32 = 1e-6;
/// Epsilon of TAEF2's group normalisation (PyTorch's default).
pub const TINY_EPSILON: f32 = 1e-5;
/// diffusers' `latent_magnitude`, the bound of a tiny decoder's soft clamp.
pub const LATENT_MAGNITUDE: f32 = 3.0;

/// The layers of one half, in order; empty if the checkpoint does not hold it.
pub fn layers(config: &VaeConfig, half: Half) -> Vec<Layer> {
    let channels = config.latents.channels;
    match (&config.network, half) {
        (Network::Kl(kl), Half::Encoder) => kl.encoder.as_ref().map(|e| kl_encoder(kl, e, channels)),
        (Network::Kl(kl), Half::Decoder) => kl.decoder.as_ref().map(|d| kl_decoder(kl, d, channels)),
        (Network::Tiny(tiny), Half::Encoder) => tiny.encoder.as_ref().map(|e| tiny_encoder(tiny, e, channels)),
        (Network::Tiny(tiny), Half::Decoder) => tiny.decoder.as_ref().map(|d| tiny_decoder(tiny, d, channels)),
    }
    .unwrap_or_default()
}

/// Name and shape of every tensor of one half, in the order of its layers.
pub fn tensors(config: &VaeConfig, half: Half) -> Vec<(String, Vec<usize>)> {
    let mut found = Vec::new();
    for layer in layers(config, half) {
        layer.tensors(&mut found);
    }
    found
}

fn kl_encoder(kl: &Kl, half: &KlHalf, latent_channels: usize) -> Vec<Layer> {
    let widths = &half.block_out_channels;
    let mut layers = vec![conv("encoder.conv_in", 3, widths[0], 3)];
    let mut width = widths[0];
    for (level, &out) in widths.iter().enumerate() {
        for resnet in 0..half.resnets_per_block {
            layers.push(kl_resnet(kl, format!("encoder.down_blocks.{level}.resnets.{resnet}"), width, out));
            width = out;
        }
        if level + 1 < widths.len() {
            let name = format!("encoder.down_blocks.{level}.downsamplers.0.conv");
            layers.push(Layer::Conv(Conv { stride: 2, padding: Padding::BottomRight, ..conv3(name, width, width) }));
        }
    }
    kl_mid(kl, "encoder", width, &mut layers);
    layers.push(Layer::GroupNorm(kl_norm(kl, "encoder.conv_norm_out", width)));
    layers.push(Layer::Silu { name: "encoder.conv_act".into() });
    layers.push(conv("encoder.conv_out", width, 2 * latent_channels, 3));
    if kl.quant_conv {
        layers.push(conv("quant_conv", 2 * latent_channels, 2 * latent_channels, 1));
    }
    layers
}

fn kl_decoder(kl: &Kl, half: &KlHalf, latent_channels: usize) -> Vec<Layer> {
    let widths: Vec<usize> = half.block_out_channels.iter().rev().copied().collect();
    let mut layers = Vec::new();
    if kl.post_quant_conv {
        layers.push(conv("post_quant_conv", latent_channels, latent_channels, 1));
    }
    let mut width = widths[0];
    layers.push(conv("decoder.conv_in", latent_channels, width, 3));
    kl_mid(kl, "decoder", width, &mut layers);
    for (level, &out) in widths.iter().enumerate() {
        for resnet in 0..half.resnets_per_block {
            layers.push(kl_resnet(kl, format!("decoder.up_blocks.{level}.resnets.{resnet}"), width, out));
            width = out;
        }
        if level + 1 < widths.len() {
            layers.push(Layer::Upsample { name: format!("decoder.up_blocks.{level}.upsamplers.0.nearest") });
            layers.push(conv(&format!("decoder.up_blocks.{level}.upsamplers.0.conv"), width, width, 3));
        }
    }
    layers.push(Layer::GroupNorm(kl_norm(kl, "decoder.conv_norm_out", width)));
    layers.push(Layer::Silu { name: "decoder.conv_act".into() });
    layers.push(conv("decoder.conv_out", width, 3, 3));
    layers
}

fn kl_mid(kl: &Kl, half: &str, width: usize, layers: &mut Vec<Layer>) {
    layers.push(kl_resnet(kl, format!("{half}.mid_block.resnets.0"), width, width));
    if kl.mid_attention {
        let name = format!("{half}.mid_block.attentions.0");
        layers.push(Layer::Attention(Attention {
            norm: kl_norm(kl, &format!("{name}.group_norm"), width),
            channels: width,
            name,
        }));
    }
    layers.push(kl_resnet(kl, format!("{half}.mid_block.resnets.1"), width, width));
}

fn kl_resnet(kl: &Kl, name: String, in_channels: usize, out_channels: usize) -> Layer {
    Layer::Resnet(Resnet {
        norm1: kl_norm(kl, &format!("{name}.norm1"), in_channels),
        conv1: conv3(format!("{name}.conv1"), in_channels, out_channels),
        norm2: kl_norm(kl, &format!("{name}.norm2"), out_channels),
        conv2: conv3(format!("{name}.conv2"), out_channels, out_channels),
        shortcut: (in_channels != out_channels)
            .then(|| conv1(format!("{name}.conv_shortcut"), in_channels, out_channels)),
        name,
    })
}

fn kl_norm(kl: &Kl, name: &str, channels: usize) -> GroupNorm {
    GroupNorm { name: name.into(), channels, groups: kl.norm_num_groups, epsilon: KL_EPSILON }
}

fn tiny_encoder(tiny: &Tiny, encoder: &TinyEncoder, latent_channels: usize) -> Vec<Layer> {
    let mut stack = Stack::new("encoder.layers");
    // The network was trained on [0, 1]; diffusers takes and gives [-1, 1] (autoencoder_tiny.py).
    stack.layers.push(Layer::Affine { name: "encoder.to_unit_range".into(), scale: 0.5, offset: 0.5 });
    let mut width = encoder.block_out_channels[0];
    match encoder.strided_stem {
        None => stack.conv(|name| conv3(name, 3, width)),
        Some(stem) => {
            stack.conv(|name| Conv { stride: 2, ..conv3(name, 3, stem) });
            stack.push(|name| Layer::Relu { name });
            stack.conv(|name| Conv { stride: 2, ..conv3(name, stem, width) });
            stack.push(|name| Layer::Relu { name });
        }
    }
    let last = encoder.num_blocks.len() - 1;
    for (stage, (&out, &n_blocks)) in encoder.block_out_channels.iter().zip(&encoder.num_blocks).enumerate() {
        if stage > 0 {
            stack.conv(|name| Conv { stride: 2, bias: false, ..conv3(name, width, out) });
            width = out;
        }
        for _ in 0..n_blocks {
            stack.push(|name| tiny_block(name, width, width, tiny.mid_pool && stage == last));
        }
    }
    stack.conv(|name| conv3(name, width, latent_channels));
    stack.layers
}

fn tiny_decoder(tiny: &Tiny, decoder: &TinyDecoder, latent_channels: usize) -> Vec<Layer> {
    let mut stack = Stack::new("decoder.layers");
    stack.layers.push(Layer::SoftClamp { name: "decoder.soft_clamp".into(), limit: LATENT_MAGNITUDE });
    let mut width = decoder.block_out_channels[0];
    stack.conv(|name| conv3(name, latent_channels, width));
    stack.push(|name| Layer::Relu { name });
    let last = decoder.num_blocks.len() - 1;
    for (stage, &n_blocks) in decoder.num_blocks.iter().enumerate() {
        for _ in 0..n_blocks {
            stack.push(|name| tiny_block(name, width, width, tiny.mid_pool && stage == 0));
        }
        if stage == last {
            stack.conv(|name| conv3(name, width, 3));
        } else {
            let out = decoder.block_out_channels[stage + 1];
            stack.push(|name| Layer::Upsample { name });
            stack.conv(|name| Conv { bias: false, ..conv3(name, width, out) });
            width = out;
        }
    }
    stack.layers.push(Layer::Affine { name: "decoder.to_signed_range".into(), scale: 2.0, offset: -1.0 });
    stack.layers
}

fn tiny_block(name: String, in_channels: usize, out_channels: usize, pool: bool) -> Layer {
    let wide = 4 * in_channels;
    Layer::TinyBlock(TinyBlock {
        pool: pool.then(|| Pool {
            conv1: Conv { bias: false, ..conv1(format!("{name}.pool.0"), in_channels, wide) },
            norm: GroupNorm { name: format!("{name}.pool.1"), channels: wide, groups: 4, epsilon: TINY_EPSILON },
            conv2: Conv { bias: false, ..conv1(format!("{name}.pool.3"), wide, in_channels) },
        }),
        convs: [
            conv3(format!("{name}.conv.0"), in_channels, out_channels),
            conv3(format!("{name}.conv.2"), out_channels, out_channels),
            conv3(format!("{name}.conv.4"), out_channels, out_channels),
        ],
        skip: (in_channels != out_channels)
            .then(|| Conv { bias: false, ..conv1(format!("{name}.skip"), in_channels, out_channels) }),
        name,
    })
}

/// Layers numbered as in an `nn.Sequential`.
struct Stack {
    prefix: &'static str,
    index: usize,
    layers: Vec<Layer>,
}

impl Stack {
    fn new(prefix: &'static str) -> Self {
        Stack { prefix, index: 0, layers: Vec::new() }
    }

    fn push(&mut self, layer: impl FnOnce(String) -> Layer) {
        self.layers.push(layer(format!("{}.{}", self.prefix, self.index)));
        self.index += 1;
    }

    fn conv(&mut self, conv: impl FnOnce(String) -> Conv) {
        self.push(|name| Layer::Conv(conv(name)));
    }
}

fn conv(name: &str, in_channels: usize, out_channels: usize, kernel: usize) -> Layer {
    Layer::Conv(Conv { kernel, ..conv3(name.into(), in_channels, out_channels) })
}

fn conv3(name: String, in_channels: usize, out_channels: usize) -> Conv {
    Conv { name, in_channels, out_channels, kernel: 3, stride: 1, padding: Padding::Same, bias: true }
}

fn conv1(name: String, in_channels: usize, out_channels: usize) -> Conv {
    Conv { kernel: 1, ..conv3(name, in_channels, out_channels) }
}

impl Layer {
    /// Appends name and shape of every tensor of this layer.
    pub fn tensors(&self, found: &mut Vec<(String, Vec<usize>)>) {
        match self {
            Layer::Conv(conv) => conv.tensors(found),
            Layer::GroupNorm(norm) => norm.tensors(found),
            Layer::Resnet(resnet) => {
                resnet.norm1.tensors(found);
                resnet.conv1.tensors(found);
                resnet.norm2.tensors(found);
                resnet.conv2.tensors(found);
                resnet.shortcut.iter().for_each(|conv| conv.tensors(found));
            }
            Layer::Attention(attention) => {
                attention.norm.tensors(found);
                for linear in attention.linears() {
                    found.push((format!("{linear}.weight"), vec![attention.channels, attention.channels]));
                    found.push((format!("{linear}.bias"), vec![attention.channels]));
                }
            }
            Layer::TinyBlock(block) => {
                if let Some(pool) = &block.pool {
                    pool.conv1.tensors(found);
                    pool.norm.tensors(found);
                    pool.conv2.tensors(found);
                }
                block.convs.iter().chain(&block.skip).for_each(|conv| conv.tensors(found));
            }
            Layer::Affine { .. }
            | Layer::SoftClamp { .. }
            | Layer::Silu { .. }
            | Layer::Relu { .. }
            | Layer::Upsample { .. } => {}
        }
    }
}

impl Conv {
    /// `[out, in, k, k]`.
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels, self.kernel, self.kernel]
    }

    fn tensors(&self, found: &mut Vec<(String, Vec<usize>)>) {
        found.push((format!("{}.weight", self.name), self.weight_shape().to_vec()));
        if self.bias {
            found.push((format!("{}.bias", self.name), vec![self.out_channels]));
        }
    }
}

impl GroupNorm {
    fn tensors(&self, found: &mut Vec<(String, Vec<usize>)>) {
        found.push((format!("{}.weight", self.name), vec![self.channels]));
        found.push((format!("{}.bias", self.name), vec![self.channels]));
    }
}

impl Attention {
    /// Names of q, k, v and the output projection.
    pub fn linears(&self) -> [String; 4] {
        ["to_q", "to_k", "to_v", "to_out.0"].map(|linear| format!("{}.{linear}", self.name))
    }
}
