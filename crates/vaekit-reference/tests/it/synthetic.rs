//! VAEs of every family with seeded random weights.

use std::collections::HashMap;

use vaekit::arch;
use vaekit::{
    Domain, Half, Kl, KlClass, KlHalf, LatentSpace, Network, Scaling, Tiny, TinyDecoder, TinyEncoder, VaeConfig,
    Weights, WeightsError,
};
use vaekit_reference::Noise;

/// Random weights in PyTorch's default ranges, each tensor from its own seed.
pub(crate) struct Synthetic {
    shapes: HashMap<String, (u64, Vec<usize>)>,
}

impl Synthetic {
    pub(crate) fn new(config: &VaeConfig, seed: u64) -> Self {
        let tensors = Half::BOTH.into_iter().flat_map(|half| arch::tensors(config, half));
        let seeds = (seed << 32)..;
        Synthetic { shapes: tensors.zip(seeds).map(|((name, shape), seed)| (name, (seed, shape))).collect() }
    }
}

impl Weights for Synthetic {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let missing = || WeightsError { name: name.into(), reason: "there is no such tensor".into() };
        let (seed, shape) = self.shapes.get(name).ok_or_else(missing)?;
        let mut noise = Noise::new(*seed);
        let fan_in: usize = shape[1..].iter().product();
        let (centre, width) = match shape.len() {
            1 if name.ends_with("weight") => (1.0, 0.2),
            1 => (0.0, 0.1),
            _ => (0.0, (3.0 / fan_in as f32).sqrt()),
        };
        Ok((0..shape.iter().product()).map(|_| centre + width * noise.uniform()).collect())
    }
}

fn kl(kind: KlClass, channels: usize, encoder: KlHalf, decoder: KlHalf, quant: bool, attention: bool) -> VaeConfig {
    let factor = 1 << (encoder.block_out_channels.len() - 1);
    VaeConfig {
        network: Network::Kl(Kl {
            kind,
            encoder: Some(encoder),
            decoder: Some(decoder),
            norm_num_groups: 8,
            mid_attention: attention,
            quant_conv: quant,
            post_quant_conv: quant,
        }),
        latents: LatentSpace {
            channels,
            downsample_factor: factor,
            native: Domain::Raw,
            scaling: Some(Scaling::factor(0.18215)),
            packed: false,
        },
    }
}

fn half(block_out_channels: &[usize], resnets_per_block: usize) -> KlHalf {
    KlHalf { block_out_channels: block_out_channels.to_vec(), resnets_per_block }
}

fn tiny(channels: usize, factor: usize, mid_pool: bool, encoder: TinyEncoder, decoder: TinyDecoder) -> VaeConfig {
    VaeConfig {
        network: Network::Tiny(Tiny { encoder: Some(encoder), decoder: Some(decoder), mid_pool }),
        latents: LatentSpace {
            channels,
            downsample_factor: factor,
            native: Domain::Scaled,
            scaling: None,
            packed: false,
        },
    }
}

/// Small ones: SD1-like, without attention and quant convs, asymmetric, FLUX.2-like, TAESD, TAEF2-like, Sana-like.
pub(crate) fn configs() -> Vec<VaeConfig> {
    let usual = || half(&[8, 16, 24, 24], 2);
    let deeper = || half(&[8, 16, 24, 24], 3);
    let mut flux2 = kl(KlClass::AutoencoderKlFlux2, 8, usual(), deeper(), true, true);
    let statistics = Scaling::Packed { mean: vec![0.1; 32], std: vec![1.5; 32] };
    flux2.latents = LatentSpace { scaling: Some(statistics), packed: true, ..flux2.latents };
    let mut unknown = kl(KlClass::AutoencoderKl, 16, half(&[8, 16, 16], 1), half(&[8, 16, 16], 2), false, false);
    unknown.latents.scaling = None;
    let encoder = |blocks: &[usize], stem| TinyEncoder {
        block_out_channels: vec![8; blocks.len()],
        num_blocks: blocks.to_vec(),
        strided_stem: stem,
    };
    let decoder = |widths: &[usize], blocks: &[usize]| TinyDecoder {
        block_out_channels: widths.to_vec(),
        num_blocks: blocks.to_vec(),
    };
    vec![
        kl(KlClass::AutoencoderKl, 4, usual(), deeper(), true, true),
        unknown,
        kl(KlClass::AsymmetricAutoencoderKl, 4, usual(), half(&[16, 32, 32, 40], 4), true, true),
        flux2,
        tiny(4, 8, false, encoder(&[1, 3, 3, 3], None), decoder(&[8; 4], &[3, 3, 3, 1])),
        tiny(8, 8, true, encoder(&[1, 2, 2, 3], None), decoder(&[8; 4], &[3, 2, 2, 1])),
        tiny(4, 32, false, encoder(&[1, 1, 1, 1], Some(4)), decoder(&[16, 16, 8, 8, 8, 8], &[1; 6])),
    ]
}
