//! Errors of whole networks.

use ndarray::Array4;
use vaekit::{Domain, Half, Kl, KlClass, KlHalf, LatentSpace, Network, VaeConfig};
use vaekit_reference::{Noise, Reference, compare, verification_input};

use crate::weights::{Kind, weights};
use crate::{model, open, run, vaes};

/// The largest error on the [-1, 1] scale that the project allows a whole network in f32.
const MAX_ABS_ERROR: f64 = 1e-4;

/// What Winograd's transforms may lose beyond a direct convolution in f32, as a factor: F(4, 3) amplifies rounding errors
/// by less than this. It only counts for networks so ill-conditioned that the direct error is near [`MAX_ABS_ERROR`].
const AMPLIFICATION: f64 = 16.0;

/// Compares one half with f64, on the scale of its output.
fn check(what: &str, config: &VaeConfig, half: Half, kind: Kind, input: &Array4<f32>) {
    let weights = weights(config, kind, 1);
    let expected = Reference::<f64>::new(config, &weights).run(half, input.view()).unwrap();
    let direct = Reference::<f32>::new(config, &weights).run(half, input.view()).unwrap();
    let found = run(&mut open(&model(config, &weights, half), 2), input, &mut ()).unwrap();
    let magnitude = expected.iter().fold(1.0, |max: f64, value| max.max(value.abs()));
    let direct = compare(direct.view(), expected.view(), f64::MAX, 2.0 * magnitude).unwrap().max_abs_error;
    let tolerance = (MAX_ABS_ERROR * magnitude).max(AMPLIFICATION * direct);
    let comparison = compare(found.view(), expected.view(), tolerance, 2.0 * magnitude).unwrap();
    assert!(
        comparison.holds() && comparison.non_finite == 0,
        "{what} {half} with {kind:?} weights: {comparison:?}, direct convolutions {direct:e}"
    );
}

const KINDS: [Kind; 4] = [Kind::Random, Kind::HeavyTails, Kind::Offset, Kind::Cancelling];

#[test]
fn every_family_with_every_kind_of_weights() {
    for (family, config) in vaes::families() {
        for (half, kind) in Half::BOTH.into_iter().flat_map(|half| KINDS.map(|kind| (half, kind))) {
            check(family, &config, half, kind, &verification_input(&config, half, 3).unwrap());
        }
    }
}

/// As wide as a real VAE, where sums are long.
fn wide() -> VaeConfig {
    let half = |resnets_per_block| Some(KlHalf { block_out_channels: vec![64, 256], resnets_per_block });
    let kl = Kl {
        kind: KlClass::AutoencoderKl,
        encoder: half(1),
        decoder: half(2),
        norm_num_groups: 32,
        mid_attention: true,
        quant_conv: true,
        post_quant_conv: true,
    };
    let latents = LatentSpace { channels: 4, downsample_factor: 2, native: Domain::Raw, scaling: None, packed: false };
    VaeConfig { network: Network::Kl(kl), latents }
}

#[test]
fn wide_networks_with_unkind_inputs() {
    let config = wide();
    let mut noise = Noise::new(5);
    let mut inputs = |shape: (usize, usize, usize, usize)| {
        let normal = Array4::from_shape_simple_fn(shape, || noise.normal());
        let flat = Array4::from_elem(shape, 0.7);
        let edge = Array4::from_shape_fn(shape, |(_, c, y, x)| if (x + c) % 7 < 3 || y == 2 { 4.0 } else { -4.0 });
        [normal, flat, edge]
    };
    let (latents, images) = (inputs((1, 4, 9, 11)), inputs((1, 3, 22, 18)));
    for kind in KINDS {
        for (latent, image) in latents.iter().zip(&images) {
            check("wide", &config, Half::Decoder, kind, latent);
            check("wide", &config, Half::Encoder, kind, image);
        }
    }
}

#[test]
fn a_single_position_and_a_thin_line() {
    let config = vaes::kl(4, |_| {});
    for shape in [(1, 4, 1, 1), (1, 4, 1, 13), (1, 4, 17, 1)] {
        check("kl", &config, Half::Decoder, Kind::Random, &Array4::from_elem(shape, 0.3));
    }
}
