//! Whole networks.

use std::io::Cursor;

use ndarray::Array4;
use vaekit::{
    Domain, Failure, Half, Kl, KlClass, KlHalf, LatentSpace, Network, Observer, Session, VaeConfig, Weights, block_on,
};
use vaekit_onnx::{Export, Source, write_model};
use vaekit_reference::{Noise, Reference, compare, verification_input};
use vaekit_wgpu::{Gpu, Options, WgpuSession};

use crate::weights::{Kind, weights};
use crate::{gpu, vaes};

/// The largest error on the [-1, 1] scale that the project allows a whole network in f32.
const MAX_ABS_ERROR: f64 = 1e-4;

/// What Winograd's transforms may lose beyond a direct convolution in f32, as for `vaekit-cpu`.
const AMPLIFICATION: f64 = 16.0;

/// The bytes of one half's model.onnx.
pub(crate) fn model(config: &VaeConfig, weights: &dyn Weights, half: Half) -> Vec<u8> {
    let mut onnx = Vec::new();
    write_model(&Export::fp32(config, weights, Source::default()), half, &mut onnx, &mut |_| {}).unwrap();
    onnx
}

pub(crate) fn open(gpu: &Gpu, model: &[u8], options: &Options) -> WgpuSession {
    block_on(WgpuSession::open(gpu, Cursor::new(model), options)).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn run(
    session: &mut WgpuSession,
    input: &Array4<f32>,
    observer: &mut dyn Observer,
) -> Result<Array4<f32>, Failure> {
    let (n, c, h, w) = input.dim();
    let [channels, height, width] = session.output([c, h, w]).unwrap();
    let mut output = Array4::from_elem((n, channels, height, width), f32::NAN);
    block_on(session.run(input.view(), output.view_mut(), observer))?;
    Ok(output)
}

/// Compares one half with f64, on the scale of its output; what f32 itself loses counts where it is more.
fn check(gpu: &Gpu, what: &str, config: &VaeConfig, half: Half, kind: Kind, input: &Array4<f32>) {
    let weights = weights(config, kind, 1);
    let expected = Reference::<f64>::new(config, &weights).run(half, input.view()).unwrap();
    let direct = Reference::<f32>::new(config, &weights).run(half, input.view()).unwrap();
    let found = run(&mut open(gpu, &model(config, &weights, half), &Options::default()), input, &mut ()).unwrap();
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
    let Some(gpu) = gpu() else { return };
    for (family, config) in vaes::families() {
        for half in Half::BOTH {
            for kind in KINDS {
                check(&gpu, family, &config, half, kind, &verification_input(&config, half, 3).unwrap());
            }
        }
    }
}

/// Wide enough for Winograd, and for sums that are long.
#[test]
fn a_wide_network() {
    let Some(gpu) = gpu() else { return };
    let half = |resnets_per_block| Some(KlHalf { block_out_channels: vec![32, 128], resnets_per_block });
    let kl = Kl {
        kind: KlClass::AutoencoderKl,
        encoder: half(1),
        decoder: half(1),
        norm_num_groups: 32,
        mid_attention: true,
        quant_conv: true,
        post_quant_conv: true,
    };
    let latents = LatentSpace { channels: 4, downsample_factor: 2, native: Domain::Raw, scaling: None, packed: false };
    let config = VaeConfig { network: Network::Kl(kl), latents };
    let mut noise = Noise::new(5);
    for kind in KINDS {
        let input = Array4::from_shape_simple_fn((1, 4, 7, 9), || noise.normal());
        check(&gpu, "wide", &config, Half::Decoder, kind, &input);
    }
}
