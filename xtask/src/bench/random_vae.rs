//! Checkpoints of full-size VAEs with random weights: time does not depend on their values.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use vaekit::{
    Domain, Half, Kl, KlClass, KlHalf, LatentSpace, Network, Scaling, Tiny, TinyDecoder, TinyEncoder, VaeConfig, arch,
    to_config_json,
};
use vaekit_reference::Noise;

/// The VAEs that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// Stable Diffusion's AutoencoderKL, 83.7 M parameters.
    Sd1,
    /// madebyollin's TAESD, 2.4 M parameters.
    Taesd,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Shape::Sd1 => "sd1",
            Shape::Taesd => "taesd",
        })
    }
}

impl Shape {
    fn config(self) -> VaeConfig {
        let half = |resnets_per_block| KlHalf { block_out_channels: vec![128, 256, 512, 512], resnets_per_block };
        let (network, native) = match self {
            Shape::Sd1 => {
                let kl = Kl {
                    kind: KlClass::AutoencoderKl,
                    encoder: Some(half(2)),
                    decoder: Some(half(3)),
                    norm_num_groups: 32,
                    mid_attention: true,
                    quant_conv: true,
                    post_quant_conv: true,
                };
                (Network::Kl(kl), Domain::Raw)
            }
            Shape::Taesd => {
                let block_out_channels = vec![64; 4];
                let encoder = TinyEncoder {
                    block_out_channels: block_out_channels.clone(),
                    num_blocks: vec![1, 3, 3, 3],
                    strided_stem: None,
                };
                let decoder = TinyDecoder { block_out_channels, num_blocks: vec![3, 3, 3, 1] };
                (
                    Network::Tiny(Tiny { encoder: Some(encoder), decoder: Some(decoder), mid_pool: false }),
                    Domain::Scaled,
                )
            }
        };
        let scaling = Some(Scaling::factor(0.18215));
        VaeConfig {
            network,
            latents: LatentSpace { channels: 4, downsample_factor: 8, native, scaling, packed: false },
        }
    }
}

/// Writes `FOLDER/SHAPE-checkpoint/diffusion_pytorch_model.safetensors` with its config.json, unless it is there.
pub(crate) fn write(shape: Shape, folder: &Path) -> Result<PathBuf> {
    let folder = folder.join(format!("{shape}-checkpoint"));
    let path = folder.join("diffusion_pytorch_model.safetensors");
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&folder)?;
    let config = shape.config();
    fs::write(folder.join("config.json"), format!("{:#}", to_config_json(&config, None)))?;
    let tensors: Vec<_> = Half::BOTH.into_iter().flat_map(|half| arch::tensors(&config, half)).collect();
    let mut header = Map::new();
    let mut offset = 0;
    for (name, shape) in &tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let header = serde_json::to_vec(&header)?;
    let partial = path.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut noise = Noise::new(0);
    for (name, shape) in &tensors {
        for _ in 0..shape.iter().product::<usize>() {
            out.write_all(&weight(name, shape, &mut noise).to_le_bytes())?;
        }
    }
    out.into_inner()?.sync_all()?;
    fs::rename(partial, &path)?;
    Ok(path)
}

/// Uniform of variance 1/fan-in for products, so that activations keep their size; one for norms' scales, zero for biases.
fn weight(name: &str, shape: &[usize], noise: &mut Noise) -> f32 {
    match shape {
        [_] if name.ends_with("weight") => 1.0,
        [_] => 0.0,
        [_, fan_in @ ..] => noise.uniform() * (3.0 / fan_in.iter().product::<usize>() as f32).sqrt(),
        [] => 0.0,
    }
}
