//! What a network costs to run: multiply-adds and memory as functions of the latents' size.
//!
//! Everything is counted for one image. An estimate for planning (which tile fits, how long a run takes), not a promise:
//! runtimes fuse nodes, keep scratch space, and free tensors later than the last use.

use serde::{Deserialize, Serialize};

use crate::arch::{Attention, Conv, Layer, Resnet, TinyBlock, layers};
use crate::config::{Half, VaeConfig};

/// `linear * S + quadratic * S^2` with S = h * w, the positions of the latents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// Per position: convolutions and the tensors between them.
    pub linear: u64,
    /// Per pair of positions: attention.
    pub quadratic: u64,
}

impl Growth {
    /// The value for latents of `positions` = h * w; saturates.
    pub fn at(self, positions: u64) -> u64 {
        let quadratic = self.quadratic.saturating_mul(positions).saturating_mul(positions);
        self.linear.saturating_mul(positions).saturating_add(quadratic)
    }

    fn linear(linear: u64) -> Self {
        Growth { linear, quadratic: 0 }
    }

    fn plus(self, other: Growth) -> Growth {
        Growth {
            linear: self.linear.saturating_add(other.linear),
            quadratic: self.quadratic.saturating_add(other.quadratic),
        }
    }

    fn times(self, n: u64) -> Growth {
        Growth { linear: self.linear.saturating_mul(n), quadratic: self.quadratic.saturating_mul(n) }
    }

    fn covers(self, other: Growth) -> bool {
        self.linear >= other.linear && self.quadratic >= other.quadratic
    }
}

/// The largest of several growths: which one it is depends on the size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Envelope(pub Vec<Growth>);

impl Envelope {
    /// The value for latents of `positions` = h * w; saturates.
    pub fn at(&self, positions: u64) -> u64 {
        self.0.iter().map(|growth| growth.at(positions)).max().unwrap_or(0)
    }

    fn include(&mut self, growth: Growth) {
        if !self.0.iter().any(|known| known.covers(growth)) {
            self.0.retain(|known| !growth.covers(*known));
            self.0.push(growth);
        }
    }
}

/// What one half of a VAE costs for one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Multiply-adds of convolutions and matrix products.
    pub macs: Growth,
    /// Bytes of all tensors alive at the same time, weights apart.
    pub peak_bytes: Envelope,
    /// Bytes of the largest single tensor.
    pub largest_bytes: Envelope,
}

/// Counts one half whose tensors have elements of `element_bytes` (4 in fp32, 2 in fp16); zero if there is no such half.
///
/// Normalisations and the two ends of the graph work in f32 whatever the rest does, as the exported graphs do.
pub fn cost(config: &VaeConfig, half: Half, element_bytes: u64) -> Cost {
    let factor = config.latents.downsample_factor as u64;
    let (channels, scale) = match half {
        Half::Encoder => (3, factor.saturating_mul(factor)),
        Half::Decoder => (config.latents.channels as u64, 1),
    };
    let mut count = Count { channels, scale, element_bytes, cost: Cost::default() };
    for layer in layers(config, half) {
        count.layer(&layer);
    }
    count.cost
}

/// Follows an activation through the layers.
struct Count {
    channels: u64,
    /// Positions of the activation for each position of the latents.
    scale: u64,
    element_bytes: u64,
    cost: Cost,
}

impl Count {
    fn layer(&mut self, layer: &Layer) {
        match layer {
            Layer::Affine { .. } | Layer::SoftClamp { .. } | Layer::Relu { .. } | Layer::Silu { .. } => {
                self.pointwise(&[])
            }
            Layer::Conv(conv) => self.conv(conv, &[]),
            Layer::GroupNorm(_) => self.norm(&[]),
            Layer::Upsample { .. } => {
                let input = self.activation();
                self.scale = self.scale.saturating_mul(4);
                self.alive(&[input, self.activation()]);
            }
            Layer::Resnet(resnet) => self.resnet(resnet),
            Layer::Attention(attention) => self.attention(attention),
            Layer::TinyBlock(block) => self.tiny_block(block),
        }
    }

    fn resnet(&mut self, resnet: &Resnet) {
        let (input, in_channels) = (self.activation(), self.channels);
        self.norm(&[]);
        self.pointwise(&[input]);
        self.conv(&resnet.conv1, &[input]);
        self.norm(&[input]);
        self.pointwise(&[input]);
        self.conv(&resnet.conv2, &[input]);
        let branch = self.activation();
        if let Some(shortcut) = &resnet.shortcut {
            self.channels = in_channels;
            self.conv(shortcut, &[branch]);
        }
        self.alive(&[branch, self.activation(), self.activation()]);
    }

    fn attention(&mut self, attention: &Attention) {
        let x = self.activation();
        self.norm(&[]);
        self.alive(&[x; 5]); // the stream, its normalisation, q, k, v
        let scores = self.scores();
        self.alive(&[x, x, scores, scores]); // the stream, v, before and after the softmax
        self.alive(&[x, x, x, scores]);
        let channels = attention.channels as u64;
        let projections = channels.saturating_mul(channels).saturating_mul(self.scale).saturating_mul(4);
        self.macs(Growth {
            linear: projections,
            quadratic: channels.saturating_mul(self.scale).saturating_mul(self.scale).saturating_mul(2),
        });
    }

    fn tiny_block(&mut self, block: &TinyBlock) {
        let (input, in_channels) = (self.activation(), self.channels);
        if let Some(pool) = &block.pool {
            self.conv(&pool.conv1, &[]);
            self.norm(&[input]);
            self.pointwise(&[input]);
            self.conv(&pool.conv2, &[input]);
        }
        for (index, conv) in block.convs.iter().enumerate() {
            // The first convolution reads the block's input itself.
            self.conv(conv, if index == 0 { &[] } else { std::slice::from_ref(&input) });
        }
        let branch = self.activation();
        if let Some(skip) = &block.skip {
            self.channels = in_channels;
            self.conv(skip, &[branch]);
        }
        self.alive(&[branch, self.activation(), self.activation()]);
    }

    fn conv(&mut self, conv: &Conv, held: &[Growth]) {
        let input = self.activation();
        self.channels = conv.out_channels as u64;
        self.scale /= (conv.stride * conv.stride) as u64;
        let taps = (conv.kernel * conv.kernel * conv.in_channels) as u64;
        self.macs(Growth::linear(taps.saturating_mul(self.channels).saturating_mul(self.scale)));
        self.alive(&[held, &[input, self.activation()]].concat());
    }

    fn norm(&mut self, held: &[Growth]) {
        let x = self.activation();
        let inner = if self.element_bytes < 4 { vec![self.tensor(4); 2] } else { vec![x] };
        self.alive(&[held, &[x], &inner].concat());
    }

    fn pointwise(&mut self, held: &[Growth]) {
        self.alive(&[held, &[self.activation(); 2]].concat());
    }

    fn activation(&self) -> Growth {
        self.tensor(self.element_bytes)
    }

    fn tensor(&self, element_bytes: u64) -> Growth {
        Growth::linear(self.channels.saturating_mul(self.scale)).times(element_bytes)
    }

    fn scores(&self) -> Growth {
        Growth { linear: 0, quadratic: self.scale.saturating_mul(self.scale) }.times(self.element_bytes)
    }

    fn macs(&mut self, macs: Growth) {
        self.cost.macs = self.cost.macs.plus(macs);
    }

    fn alive(&mut self, tensors: &[Growth]) {
        self.cost.peak_bytes.include(tensors.iter().copied().fold(Growth::default(), Growth::plus));
        tensors.iter().for_each(|&tensor| self.cost.largest_bytes.include(tensor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Kl, KlClass, KlHalf, Network, Tiny, TinyDecoder, TinyEncoder};
    use crate::latent_space::{Domain, LatentSpace};

    fn latents(native: Domain) -> LatentSpace {
        LatentSpace { channels: 4, downsample_factor: 8, native, scaling: None, packed: false }
    }

    fn sd1() -> VaeConfig {
        let widths = vec![128, 256, 512, 512];
        VaeConfig {
            network: Network::Kl(Kl {
                kind: KlClass::AutoencoderKl,
                encoder: Some(KlHalf { block_out_channels: widths.clone(), resnets_per_block: 2 }),
                decoder: Some(KlHalf { block_out_channels: widths, resnets_per_block: 3 }),
                norm_num_groups: 32,
                mid_attention: true,
                quant_conv: true,
                post_quant_conv: true,
            }),
            latents: latents(Domain::Raw),
        }
    }

    fn taesd() -> VaeConfig {
        VaeConfig {
            network: Network::Tiny(Tiny {
                encoder: Some(TinyEncoder {
                    block_out_channels: vec![64; 4],
                    num_blocks: vec![1, 3, 3, 3],
                    strided_stem: None,
                }),
                decoder: Some(TinyDecoder { block_out_channels: vec![64; 4], num_blocks: vec![3, 3, 3, 1] }),
                mid_pool: false,
            }),
            latents: latents(Domain::Scaled),
        }
    }

    fn check_macs(config: &VaeConfig, half: Half, expected: u64) {
        assert_eq!(cost(config, half, 4).macs.at(64 * 64), expected);
    }

    #[test]
    fn multiply_adds_at_512_by_512() {
        // Summed apart from this code, over the layer tables of the two families: taps * in * out * positions, and
        // 4 C^2 S + 2 C S^2 for an attention.
        check_macs(&sd1(), Half::Decoder, 1_257_259_466_752);
        check_macs(&sd1(), Half::Encoder, 558_329_233_408);
        check_macs(&taesd(), Half::Decoder, 70_675_070_976);
        check_macs(&taesd(), Half::Encoder, 61_162_389_504);
    }

    #[test]
    fn memory_of_sd1s_decoder() {
        let cost = cost(&sd1(), Half::Decoder, 4);
        // The last level's first resnet reads 256 channels at 8 times the side, 256 MiB: its input, norm1 and the sigmoid.
        assert_eq!(cost.peak_bytes.at(64 * 64), 768 << 20);
        // Scores are quadratic and win at large sizes: 1 GiB at 128 by 128.
        assert_eq!(cost.largest_bytes.at(128 * 128), 1 << 30);
    }

    #[test]
    fn a_half_that_is_not_there_costs_nothing() {
        let mut config = taesd();
        if let Network::Tiny(tiny) = &mut config.network {
            tiny.encoder = None;
        }
        assert_eq!(cost(&config, Half::Encoder, 4), Cost::default());
    }
}
