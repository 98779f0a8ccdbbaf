//! The sizes of a VAE, from the names and shapes of its tensors.
//!
//! Only what shapes tell: the groups of the normalisations and the scaling they do not. Whether every tensor is there and
//! fits is checked afterwards against [`vaekit::arch::tensors`], so that this may look at the fewest tensors that decide.

use std::collections::BTreeMap;

use vaekit::{Half, KlClass, KlHalf, TinyDecoder, TinyEncoder};

/// Beyond these no VAE goes; they bound what a hostile file can make us allocate.
const MAX_LEVELS: usize = 12;
const MAX_RESNETS: usize = 64;
const MAX_LAYERS: usize = 512;
const MAX_CHANNELS: usize = 1 << 16;

/// Shapes by canonical name.
pub(crate) struct Shapes(pub(crate) BTreeMap<String, Vec<usize>>);

/// An AutoencoderKL-like network but for its groups.
#[derive(Debug, PartialEq)]
pub(crate) struct KlShape {
    pub(crate) kind: KlClass,
    pub(crate) encoder: Option<KlHalf>,
    pub(crate) decoder: Option<KlHalf>,
    pub(crate) channels: usize,
    pub(crate) mid_attention: bool,
    pub(crate) quant_conv: bool,
    pub(crate) post_quant_conv: bool,
}

/// An AutoencoderTiny-like network.
#[derive(Debug, PartialEq)]
pub(crate) struct TinyShape {
    pub(crate) encoder: Option<TinyEncoder>,
    pub(crate) decoder: Option<TinyDecoder>,
    pub(crate) channels: usize,
    pub(crate) mid_pool: bool,
}

/// Tensors that make no sense together.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum InferError {
    /// A size cannot be told because every tensor that tells it is missing.
    #[error("the {what} cannot be told, because `{tensor}` is missing")]
    Missing {
        /// The size.
        what: String,
        /// One of the tensors that would tell it.
        tensor: String,
    },
    /// A size that no VAE has.
    #[error("it has {found} {what}, expected 1 to {limit}")]
    Size {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// The most that are accepted.
        limit: usize,
    },
    /// The halves do not belong together.
    #[error("its encoder makes latents of {encoder}, its decoder takes {decoder}; they belong to different VAEs")]
    Halves {
        /// The encoder's.
        encoder: String,
        /// The decoder's.
        decoder: String,
    },
    /// A tiny network's layer that is none.
    #[error("`{layer}` is no layer of a tiny autoencoder ({reason})")]
    Layer {
        /// The layer.
        layer: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Shapes {
    fn has(&self, prefix: &str) -> bool {
        self.0.range(prefix.to_owned()..).next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    fn dim(&self, name: &str, axis: usize) -> Option<usize> {
        self.0.get(name)?.get(axis).copied()
    }

    /// One more than the highest number that follows `prefix`.
    fn count(&self, prefix: &str) -> usize {
        let names = self.0.range(prefix.to_owned()..).map(|(name, _)| name).take_while(|name| name.starts_with(prefix));
        let numbers = names.filter_map(|name| name[prefix.len()..].split('.').next()?.parse::<usize>().ok());
        numbers.max().map_or(0, |last| last.saturating_add(1))
    }

    /// The AutoencoderKL-like network that these tensors make up.
    pub(crate) fn kl(&self) -> Result<KlShape, InferError> {
        let half = |half: Half, blocks: &str| {
            self.has(&format!("{half}.")).then(|| self.kl_half(&format!("{half}.{blocks}."))).transpose()
        };
        let encoder = half(Half::Encoder, "down_blocks")?;
        let mut decoder = half(Half::Decoder, "up_blocks")?;
        if let Some(decoder) = &mut decoder {
            decoder.block_out_channels.reverse();
        }
        if let (Some(encoder), Some(decoder)) = (&encoder, &decoder)
            && encoder.block_out_channels.len() != decoder.block_out_channels.len()
        {
            let size = |half: &KlHalf| format!("factor {}", 1 << (half.block_out_channels.len() - 1));
            return Err(InferError::Halves { encoder: size(encoder), decoder: size(decoder) });
        }
        Ok(KlShape {
            kind: self.kl_class(encoder.as_ref(), decoder.as_ref()),
            channels: self.kl_channels()?,
            mid_attention: self.has("encoder.mid_block.attentions.0.") || self.has("decoder.mid_block.attentions.0."),
            quant_conv: encoder.is_some() && self.has("quant_conv."),
            post_quant_conv: decoder.is_some() && self.has("post_quant_conv."),
            encoder,
            decoder,
        })
    }

    fn kl_half(&self, blocks: &str) -> Result<KlHalf, InferError> {
        let levels = in_range("levels", self.count(blocks), MAX_LEVELS)?;
        let width = |level: usize| {
            let resnet = format!("{blocks}{level}.resnets.0");
            let found = ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "norm2.weight", "norm2.bias"]
                .iter()
                .find_map(|tensor| self.dim(&format!("{resnet}.{tensor}"), 0));
            let tensor = format!("{resnet}.conv1.weight");
            let found = found.ok_or_else(|| InferError::Missing { what: format!("width of {blocks}{level}"), tensor });
            in_range("channels", found?, MAX_CHANNELS)
        };
        let block_out_channels = (0..levels).map(width).collect::<Result<Vec<_>, _>>()?;
        let resnets = (0..levels).map(|level| self.count(&format!("{blocks}{level}.resnets."))).max().unwrap_or(0);
        Ok(KlHalf { block_out_channels, resnets_per_block: in_range("residual blocks a level", resnets, MAX_RESNETS)? })
    }

    fn kl_class(&self, encoder: Option<&KlHalf>, decoder: Option<&KlHalf>) -> KlClass {
        let symmetric = encoder.zip(decoder).is_none_or(|(encoder, decoder)| {
            encoder.block_out_channels == decoder.block_out_channels
                && encoder.resnets_per_block + 1 == decoder.resnets_per_block
        });
        if self.has("bn.running_mean") {
            KlClass::AutoencoderKlFlux2
        } else if self.has("decoder.condition_encoder.") || !symmetric {
            KlClass::AsymmetricAutoencoderKl
        } else {
            KlClass::AutoencoderKl
        }
    }

    fn kl_channels(&self) -> Result<usize, InferError> {
        let decoders = self.dim("decoder.conv_in.weight", 1).or_else(|| self.dim("post_quant_conv.weight", 1));
        let moments = self.dim("encoder.conv_out.weight", 0).or_else(|| self.dim("encoder.conv_out.bias", 0));
        let encoders = moments.map(|moments| moments / 2);
        same_channels(encoders, decoders, "decoder.conv_in.weight")
    }

    /// The AutoencoderTiny-like network that these tensors make up.
    pub(crate) fn tiny(&self) -> Result<TinyShape, InferError> {
        let encoder = self.has("encoder.").then(|| self.tiny_encoder()).transpose()?;
        let decoder = self.has("decoder.").then(|| self.tiny_decoder()).transpose()?;
        let (encoder, encoders) = encoder.unzip();
        let (decoder, decoders) = decoder.unzip();
        if let (Some(encoder), Some(decoder)) = (&encoder, &decoder) {
            let factors = (encoder.downsample_factor(), 1usize << (decoder.block_out_channels.len() - 1));
            if factors.0 != factors.1 {
                let [encoder, decoder] = [factors.0, factors.1].map(|factor| format!("factor {factor}"));
                return Err(InferError::Halves { encoder, decoder });
            }
        }
        Ok(TinyShape {
            channels: same_channels(encoders, decoders, "decoder.layers.0.weight")?,
            mid_pool: self.0.keys().any(|name| name.contains(".pool.")),
            encoder,
            decoder,
        })
    }

    fn tiny_encoder(&self) -> Result<(TinyEncoder, usize), InferError> {
        let layers = self.tiny_layers("encoder.layers.")?;
        let (&first, mut rest) = layers.split_first().ok_or_else(|| missing("encoder.layers.0.weight"))?;
        let mut width = first.conv("first layer of an encoder is no convolution")?.out;
        let mut strided_stem = None;
        // A second convolution with a bias right behind the first one: a stem of two strided ones.
        if let Some((&Layer { kind: LayerKind::Conv(conv), .. }, after)) = rest.split_first()
            && conv.bias
            && !after.is_empty()
        {
            (strided_stem, width, rest) = (Some(width), conv.out, after);
        }
        let (mut block_out_channels, mut num_blocks) = (vec![width], vec![0]);
        for (index, &layer) in rest.iter().enumerate() {
            match layer.kind {
                LayerKind::Block => *num_blocks.last_mut().unwrap_or(&mut 0) += 1,
                LayerKind::Conv(conv) if !conv.bias => {
                    block_out_channels.push(conv.out);
                    num_blocks.push(0);
                }
                LayerKind::Conv(conv) if index + 1 == rest.len() => {
                    in_range("levels", num_blocks.len(), MAX_LEVELS)?;
                    return Ok((TinyEncoder { block_out_channels, num_blocks, strided_stem }, conv.out));
                }
                LayerKind::Conv(_) => return Err(layer.wrong("a convolution with a bias inside an encoder")),
            }
        }
        Err(missing(&format!("encoder.layers.{}.weight", layers.last().map_or(0, |last| last.index + 1))))
    }

    fn tiny_decoder(&self) -> Result<(TinyDecoder, usize), InferError> {
        let layers = self.tiny_layers("decoder.layers.")?;
        let (&first, rest) = layers.split_first().ok_or_else(|| missing("decoder.layers.0.weight"))?;
        let conv = first.conv("first layer of a decoder is no convolution")?;
        let (mut block_out_channels, mut num_blocks) = (vec![conv.out], vec![0]);
        for (index, &layer) in rest.iter().enumerate() {
            match layer.kind {
                LayerKind::Block => *num_blocks.last_mut().unwrap_or(&mut 0) += 1,
                LayerKind::Conv(conv) if !conv.bias => {
                    block_out_channels.push(conv.out);
                    num_blocks.push(0);
                }
                LayerKind::Conv(_) if index + 1 == rest.len() => {
                    in_range("levels", num_blocks.len(), MAX_LEVELS)?;
                    return Ok((TinyDecoder { block_out_channels, num_blocks }, conv.input));
                }
                LayerKind::Conv(_) => return Err(layer.wrong("a convolution with a bias inside a decoder")),
            }
        }
        Err(missing(&format!("decoder.layers.{}.weight", layers.last().map_or(0, |last| last.index + 1))))
    }

    /// The layers that have tensors, in order.
    fn tiny_layers(&self, prefix: &'static str) -> Result<Vec<Layer>, InferError> {
        let n_layers = in_range("layers", self.count(prefix), MAX_LAYERS)?;
        let mut layers = Vec::new();
        for index in 0..n_layers {
            let name = format!("{prefix}{index}");
            if let Some(shape) = self.0.get(&format!("{name}.weight")) {
                let [out, input, _, _] = shape[..] else {
                    return Err(InferError::Layer { layer: name, reason: "its weight has not four dimensions" });
                };
                let bias = self.0.contains_key(&format!("{name}.bias"));
                let (out, input) =
                    (in_range("channels", out, MAX_CHANNELS)?, in_range("channels", input, MAX_CHANNELS)?);
                layers.push(Layer { prefix, index, kind: LayerKind::Conv(Conv { out, input, bias }) });
            } else if self.has(&format!("{name}.")) {
                layers.push(Layer { prefix, index, kind: LayerKind::Block });
            }
        }
        Ok(layers)
    }
}

#[derive(Clone, Copy)]
struct Layer {
    prefix: &'static str,
    index: usize,
    kind: LayerKind,
}

#[derive(Clone, Copy)]
enum LayerKind {
    Conv(Conv),
    Block,
}

#[derive(Clone, Copy)]
struct Conv {
    out: usize,
    input: usize,
    bias: bool,
}

impl Layer {
    fn wrong(&self, reason: &'static str) -> InferError {
        InferError::Layer { layer: format!("{}{}", self.prefix, self.index), reason }
    }

    fn conv(&self, otherwise: &'static str) -> Result<Conv, InferError> {
        match self.kind {
            LayerKind::Conv(conv) => Ok(conv),
            LayerKind::Block => Err(self.wrong(otherwise)),
        }
    }
}

fn missing(tensor: &str) -> InferError {
    InferError::Missing { what: "sequence of layers".into(), tensor: tensor.into() }
}

fn in_range(what: &'static str, found: usize, limit: usize) -> Result<usize, InferError> {
    if (1..=limit).contains(&found) { Ok(found) } else { Err(InferError::Size { what, found, limit }) }
}

fn same_channels(encoders: Option<usize>, decoders: Option<usize>, telling: &str) -> Result<usize, InferError> {
    match (encoders, decoders) {
        (Some(encoder), Some(decoder)) if encoder != decoder => {
            let [encoder, decoder] = [encoder, decoder].map(|n| format!("{n} channels"));
            Err(InferError::Halves { encoder, decoder })
        }
        (Some(channels), _) | (_, Some(channels)) => in_range("latent channels", channels, MAX_CHANNELS),
        (None, None) => Err(InferError::Missing { what: "number of latent channels".into(), tensor: telling.into() }),
    }
}
