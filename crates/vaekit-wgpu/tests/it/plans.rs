//! Plans, which need no GPU.

use std::collections::HashSet;
use std::io::Cursor;

use ndarray::Array4;
use vaekit::{Domain, Half, Kl, KlClass, KlHalf, LatentSpace, Network, VaeConfig};
use vaekit_onnx::ops::{Conv, Op, OpKind, Ops};
use vaekit_reference::{Reference, compare, verification_input};
use vaekit_wgpu::kernels::{Kernel, Tile, Weights};
use vaekit_wgpu::layout::{LANES, Shape, Storage, pack, unpack};
use vaekit_wgpu::network;
use vaekit_wgpu::plan::{Array, Capabilities, Counts, Dispatch, Plan, PlanError};

use crate::layers::ops;
use crate::networks::model;
use crate::vaes;
use crate::weights::{Kind, weights};

/// Stable Diffusion's VAE.
fn sd() -> VaeConfig {
    let half = Some(KlHalf { block_out_channels: vec![128, 256, 512, 512], resnets_per_block: 2 });
    let kl = Kl {
        kind: KlClass::AutoencoderKl,
        decoder: half.clone().map(|half| KlHalf { resnets_per_block: 3, ..half }),
        encoder: half,
        norm_num_groups: 32,
        mid_attention: true,
        quant_conv: true,
        post_quant_conv: true,
    };
    let latents = LatentSpace { channels: 4, downsample_factor: 8, native: Domain::Raw, scaling: None, packed: false };
    VaeConfig { network: Network::Kl(kl), latents }
}

/// A device with as much memory as it wants.
fn large() -> Capabilities {
    Capabilities { max_buffer: 1 << 32, max_binding: 1 << 31, ..Capabilities::default() }
}

fn check(plan: &Plan, capabilities: &Capabilities) {
    for dispatch in &plan.dispatches {
        let (written, read) = dispatch.arrays.split_last().unwrap();
        assert!(!read.iter().any(|array| same_slot(array, written)), "{dispatch:?} reads what it writes");
        assert!(dispatch.grid.iter().all(|&groups| (1..=capabilities.max_groups).contains(&groups)), "{dispatch:?}");
        for array in &dispatch.arrays {
            if let Array::Slot { slot, bytes } = *array {
                assert!(bytes <= plan.slots[slot] && bytes <= capabilities.max_binding, "{dispatch:?}");
            }
        }
    }
    assert!(plan.slots.iter().all(|&bytes| bytes <= capabilities.max_buffer));
}

fn same_slot(a: &Array, b: &Array) -> bool {
    matches!((a, b), (Array::Slot { slot: a, .. }, Array::Slot { slot: b, .. }) if a == b)
}

#[test]
fn the_decoder_of_stable_diffusion_is_counted() {
    let network = network::Network::new(ops(&sd(), Half::Decoder), drop).unwrap();
    let plan = |side: usize, capabilities: &Capabilities| {
        let plan = Plan::new(&network, Shape::new(4, side, side), capabilities).unwrap();
        check(&plan, capabilities);
        plan.counts(&network.constants)
    };
    let half = Capabilities { storage: Storage::PackedF16, ..large() };
    let found = [plan(64, &large()), plan(128, &large()), plan(64, &half)];
    assert_eq!(
        found,
        [
            Counts {
                dispatches: 563,
                macs: 412_147_056_640,
                direct_macs: 1_257_259_466_752,
                traffic: 7_783_054_944,
                memory: 634_392_576,
            },
            Counts {
                dispatches: 1904,
                macs: 1_854_746_656_768,
                direct_macs: 5_235_196_297_216,
                traffic: 23_999_626_848,
                memory: 2_252_869_632,
            },
            Counts {
                dispatches: 563,
                macs: 412_147_056_640,
                direct_macs: 1_257_259_466_752,
                traffic: 5_113_282_144,
                memory: 351_539_200,
            },
        ]
    );
}

#[test]
fn what_a_device_cannot_hold_is_no_plan() {
    let network = network::Network::new(ops(&vaes::kl(4, |_| {}), Half::Decoder), drop).unwrap();
    for shape in [Shape::new(4, 1 << 24, 1 << 24), Shape::new(4, usize::MAX, 2), Shape::new(4, 6000, 6000)] {
        let error = Plan::new(&network, shape, &Capabilities::default()).unwrap_err();
        assert!(matches!(error, PlanError::TooLarge { .. }), "{error}");
    }
    let capabilities = Capabilities { memory: 10_000, ..large() };
    let error = Plan::new(&network, Shape::new(4, 16, 16), &capabilities).unwrap_err();
    assert!(matches!(error, PlanError::TooLarge { .. }), "{error}");
    let error = Plan::new(&network, Shape::new(4, 0, 16), &large()).unwrap_err();
    assert_eq!(error, PlanError::Empty { height: 0, width: 16 });
}

/// Runs a plan by the kernels' twins, in slots that hold NaN at first.
fn run_by_twins(plan: &Plan, constants: &[Vec<f32>], input: &[f32]) -> Vec<f32> {
    let mut slots: Vec<Vec<f32>> = plan.slots.iter().map(|&bytes| vec![f32::NAN; bytes as usize / 4]).collect();
    let packed = pack(plan.input.shape, input);
    slots[plan.input.slot][..packed.len()].copy_from_slice(&packed);
    for dispatch in &plan.dispatches {
        let (written, read) = dispatch.arrays.split_last().unwrap();
        let Array::Slot { slot, .. } = *written else { panic!("{dispatch:?} writes a constant") };
        let mut out = std::mem::take(&mut slots[slot]);
        let arrays: Vec<&[f32]> = read
            .iter()
            .map(|array| match *array {
                Array::Slot { slot, bytes } => &slots[slot][..bytes as usize / 4],
                Array::Constant(constant) => &constants[constant],
            })
            .collect();
        dispatch.kernel.twin(&dispatch.uniform, &arrays, &mut out);
        slots[slot] = out;
    }
    let shape = plan.output.shape;
    let mut output = vec![0.0; shape.channels * shape.pixels()];
    unpack(shape, &slots[plan.output.slot][..shape.vectors() * LANES], &mut output);
    output
}

/// Slots, bands, chunks and parameters, without a GPU: on devices small enough that everything is cut into pieces.
#[test]
fn plans_on_narrow_devices_compute_what_networks_do() {
    let tight = Capabilities { dispatch_macs: 3000, max_groups: 16, scratch: 1 << 10, ..large() };
    let plain = Capabilities { workgroup_bytes: 0, ..tight.clone() };
    let (mut pieces, mut steps) = (0, 0);
    for (family, config) in vaes::families() {
        for (half, capabilities) in [(Half::Encoder, &tight), (Half::Decoder, &tight), (Half::Decoder, &plain)] {
            let weights = weights(&config, Kind::Random, 1);
            let input = verification_input(&config, half, 3).unwrap();
            let expected = Reference::<f64>::new(&config, &weights).run(half, input.view()).unwrap();
            let ops = Ops::read(Cursor::new(model(&config, &weights, half))).unwrap();
            let mut constants = Vec::new();
            let network = network::Network::new(ops, |values| constants.push(values)).unwrap();
            let (n, c, h, w) = input.dim();
            let plan = Plan::new(&network, Shape::new(c, h, w), capabilities).unwrap();
            check(&plan, capabilities);
            pieces += plan.dispatches.iter().filter(|dispatch| dispatch.macs > 0).count();
            steps += network.steps.steps.len();
            let items = input
                .outer_iter()
                .flat_map(|item| run_by_twins(&plan, &constants, item.as_standard_layout().as_slice().unwrap()));
            let shape = plan.output.shape;
            let found =
                Array4::from_shape_vec((n, shape.channels, shape.height, shape.width), items.collect()).unwrap();
            let comparison = compare(found.view(), expected.view(), 1e-4, 2.0).unwrap();
            assert!(comparison.holds() && comparison.non_finite == 0, "{family} {half}: {comparison:?}");
        }
    }
    assert!(pieces > steps, "{pieces} pieces of {steps} steps: little was cut into bands");
}

/// So that any size will do to try them.
#[test]
fn a_network_takes_the_same_kernels_whatever_the_size() {
    for config in vaes::families().into_iter().map(|(_, config)| config).chain([sd()]) {
        for half in Half::BOTH {
            let network = network::Network::new(ops(&config, half), drop).unwrap();
            let channels = network.steps.channels[0];
            // A latent's pixels are the least that an encoder takes.
            let least = if half == Half::Encoder { config.latents.image_multiple() } else { 1 };
            let kernels = |height: usize, width: usize| -> HashSet<Kernel> {
                let shape = Shape::new(channels, height * least, width * least);
                let plan = Plan::new(&network, shape, &large()).unwrap();
                plan.dispatches.into_iter().map(|dispatch| dispatch.kernel).collect()
            };
            let of_least = kernels(1, 1);
            for (height, width) in [(2, 1), (1, 9), (8, 8), (40, 33)] {
                assert_eq!(kernels(height, width), of_least, "{half} of {height} by {width}");
            }
        }
    }
}

#[test]
fn where_memory_is_short_an_attention_takes_little_beside_images() {
    let network = network::Network::new(ops(&sd(), Half::Decoder), drop).unwrap();
    for scratch in [32 << 20, 4 << 20] {
        let storage = Storage::PackedF16;
        let capabilities = Capabilities { scratch, storage, max_binding: 1 << 32, ..large() };
        // A picture of 2048 by 2048: the scores of one query take 256 KiB.
        let plan = Plan::new(&network, Shape::new(4, 256, 256), &capabilities).unwrap();
        check(&plan, &capabilities);
        let scores = plan.dispatches.iter().filter(|dispatch| matches!(dispatch.kernel, Kernel::Softmax(_)));
        let bytes = scores.map(|dispatch| match dispatch.arrays[0] {
            Array::Slot { bytes, .. } => bytes,
            Array::Constant(_) => 0,
        });
        assert_eq!(bytes.max(), Some(scratch));
    }
}

/// Without workgroup memory a convolution takes several times as long, and no dispatch should.
#[test]
fn dispatches_of_plain_kernels_are_shorter() {
    let network = network::Network::new(ops(&sd(), Half::Decoder), drop).unwrap();
    let products = |capabilities: &Capabilities| {
        let plan = Plan::new(&network, Shape::new(4, 64, 64), capabilities).unwrap();
        let product =
            |dispatch: &&Dispatch| matches!(dispatch.kernel, Kernel::Conv(conv) if conv.weights == Weights::Points);
        plan.dispatches.iter().filter(product).count()
    };
    let staged = products(&large());
    let plain = products(&Capabilities { workgroup_bytes: 0, ..large() });
    assert!(plain >= 3 * staged, "{plain} dispatches, staged {staged}");
}

/// A convolution of one tap with a stride has one row of outputs where its input has two, of which it reads one.
#[test]
fn one_tap_with_a_stride() {
    let (inputs, outputs, height, width) = (3, 5, 2, 9);
    let value = |seed: usize| move |i: usize| ((i * 7 + seed) % 11) as f32 / 8.0 - 0.5;
    let (weight, bias) = ((0..inputs * outputs).map(value(1)).collect(), (0..outputs).map(value(2)).collect());
    let input: Vec<f32> = (0..inputs * height * width).map(value(3)).collect();
    let expected: Vec<f32> = (0..outputs * width.div_ceil(2))
        .map(|i| {
            let (o, x) = (i / width.div_ceil(2), i % width.div_ceil(2));
            let (weight, bias): (&Vec<f32>, &Vec<f32>) = (&weight, &bias);
            bias[o] + (0..inputs).map(|c| weight[o * inputs + c] * input[c * height * width + 2 * x]).sum::<f32>()
        })
        .collect();
    let conv = Conv { weight, bias, inputs, size: 1, stride: 2, before: 0, after: 0 };
    let op = Op { name: "halve".into(), input: 0, kind: OpKind::Conv(conv) };
    let ops = Ops { ops: vec![op], channels: vec![inputs, outputs], output: 1 };
    let mut constants = Vec::new();
    let network = network::Network::new(ops, |values| constants.push(values)).unwrap();
    for capabilities in [large(), Capabilities { dispatch_macs: 1, ..large() }] {
        let plan = Plan::new(&network, Shape::new(inputs, height, width), &capabilities).unwrap();
        let found = run_by_twins(&plan, &constants, &input);
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, expected {expected:?}");
    }
}

#[test]
fn kernels_that_are_wrong_on_a_device_are_replaced_or_named() {
    let network = network::Network::new(ops(&sd(), Half::Decoder), drop).unwrap();
    let shape = Shape::new(4, 8, 8);
    let kernels = |capabilities: &Capabilities| -> Vec<Kernel> {
        let plan = Plan::new(&network, shape, capabilities).unwrap();
        plan.dispatches.into_iter().map(|dispatch| dispatch.kernel).collect()
    };
    let best = kernels(&large());
    let is_winograd = |kernel: &Kernel| matches!(kernel, Kernel::Outputs(_));
    assert!(best.iter().any(is_winograd));
    // Whatever has another way to be done is wrong: Winograd's transforms and every tiled convolution.
    let replaceable = |kernel: &&Kernel| match kernel {
        Kernel::Conv(conv) => conv.tile != Tile::Plain,
        kernel => is_winograd(kernel),
    };
    let mut capabilities = large();
    loop {
        let wrong: Vec<Kernel> = kernels(&capabilities).iter().filter(replaceable).copied().collect();
        if wrong.is_empty() {
            break;
        }
        capabilities.wrong.extend(wrong);
    }
    let plain = kernels(&capabilities);
    assert!(!plain.iter().any(is_winograd) && plain.iter().any(|kernel| matches!(kernel, Kernel::Conv(_))));
    assert!(plain.iter().all(|kernel| !capabilities.wrong.contains(kernel)));

    capabilities.wrong.extend(plain);
    let error = Plan::new(&network, shape, &capabilities).unwrap_err();
    assert!(matches!(error, PlanError::NoKernel { .. }), "{error}");
}
