//! Times an SD1-sized VAE with random weights: `cargo run --release -p vaekit-reference --example full_size -- [SIDE] [f64] [probe]`.
//!
//! SIDE is that of the latents, 8 where it is not given; in f32 unless `f64`; `probe` times the probing of both halves too.

use std::collections::HashMap;
use std::time::Instant;

use vaekit::arch;
use vaekit::{Domain, Half, Kl, KlClass, KlHalf, LatentSpace, Network, Scaling, VaeConfig, Weights, WeightsError};
use vaekit_reference::{Noise, Real, Reference, ReferenceError, probe_ranges};

struct Random(HashMap<String, Vec<f32>>);

impl Weights for Random {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let missing = || WeightsError { name: name.into(), reason: "there is no such tensor".into() };
        self.0.get(name).cloned().ok_or_else(missing)
    }
}

fn sd1() -> VaeConfig {
    let half = |resnets_per_block| KlHalf { block_out_channels: vec![128, 256, 512, 512], resnets_per_block };
    VaeConfig {
        network: Network::Kl(Kl {
            kind: KlClass::AutoencoderKl,
            encoder: Some(half(2)),
            decoder: Some(half(3)),
            norm_num_groups: 32,
            mid_attention: true,
            quant_conv: true,
            post_quant_conv: true,
        }),
        latents: LatentSpace {
            channels: 4,
            downsample_factor: 8,
            native: Domain::Raw,
            scaling: Some(Scaling::factor(0.18215)),
            packed: false,
        },
    }
}

fn random(config: &VaeConfig) -> Random {
    let mut noise = Noise::new(1);
    let tensors = Half::BOTH.into_iter().flat_map(|half| arch::tensors(config, half));
    Random(
        tensors
            .map(|(name, shape)| {
                let width =
                    if shape.len() == 1 { 1.0 } else { (3.0 / shape[1..].iter().product::<usize>() as f32).sqrt() };
                (name, (0..shape.iter().product()).map(|_| width * noise.uniform()).collect())
            })
            .collect(),
    )
}

fn time<T: Real>(label: &str, config: &VaeConfig, weights: &Random, side: usize) -> Result<(), ReferenceError> {
    let reference = Reference::<T>::new(config, weights);
    for (half, shape) in [(Half::Encoder, (1, 3, 8 * side, 8 * side)), (Half::Decoder, (1, 4, side, side))] {
        let mut noise = Noise::new(2);
        let input = ndarray::Array4::from_shape_simple_fn(shape, || noise.normal());
        let start = Instant::now();
        reference.run(half, input.view())?;
        println!("{half} at {side} x {side} latents in {label}: {:.2} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn main() -> Result<(), ReferenceError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let side = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(8);
    let config = sd1();
    let weights = random(&config);
    let given = |name| arguments.iter().any(|argument| argument == name);
    if given("f64") {
        time::<f64>("f64", &config, &weights, side)?;
    } else {
        time::<f32>("f32", &config, &weights, side)?;
    }
    if given("probe") {
        for half in Half::BOTH {
            let start = Instant::now();
            probe_ranges(&config, &weights, half, &mut |_, _| {})?;
            println!("probing the {half}: {:.2} s", start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
