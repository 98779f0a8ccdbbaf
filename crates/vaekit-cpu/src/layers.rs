//! Every step of a real network by itself, against an evaluation in f64 of what it read.

use std::io::Cursor;

use vaekit::Half;
use vaekit_checkpoint::{CanonicalVae, Source};
use vaekit_kernels::layout::{Block, Shape, View, pack, unpack};
use vaekit_kernels::{Level, Moments, Window, Workspace, scalar};
use vaekit_onnx::ops::{Convolution, Function, Operand, Ops, Scales, Steps, Work};
use vaekit_onnx::{Export, write_model};
use vaekit_reference::Noise;

use crate::schedule::schedule;
use crate::step::{Compute, Context, Image};

/// The largest error of any step's output, of the output's root mean square. With AVX2 the starter VAE's reach 1.2e-5.
const TOLERANCE: f64 = 4e-5;

/// A value, as the engine made it.
struct Made {
    shape: Shape,
    blocks: Vec<Block>,
    moments: Option<Moments>,
}

impl Made {
    fn view(&self) -> View<'_> {
        View::new(self.shape, &self.blocks)
    }

    fn planar(&self) -> Vec<f32> {
        let mut planar = vec![0.0; self.shape.channels * self.shape.pixels()];
        unpack(self.view(), &mut planar);
        planar
    }
}

fn starter() -> CanonicalVae {
    let bytes = include_bytes!("../../../models/starter/diffusion_pytorch_model.safetensors");
    let config_json = include_str!("../../../models/starter/config.json").to_owned();
    let options = vaekit_checkpoint::Options { config_json: Some(config_json), ..Default::default() };
    CanonicalVae::open(vec![Source::new("starter", bytes.to_vec())], &options).unwrap()
}

fn check(half: Half, input: Shape) {
    let vae = starter();
    let mut model = Vec::new();
    let export = Export::fp32(vae.config(), &vae, vaekit_onnx::Source::default());
    write_model(&export, half, &mut model, &mut |_| {}).unwrap();
    let plain = Steps::fuse(Ops::read(Cursor::new(&model)).unwrap()).unwrap();
    let level = Level::best();
    let fused = schedule(level, Ops::read(Cursor::new(&model)).unwrap()).unwrap();
    let workspace = Workspace::new();
    let context = Context { level, norms: &fused.norms, workspace: &workspace, watched: None };

    let mut noise = Noise::new(4);
    let planar: Vec<f32> = (0..input.channels * input.pixels()).map(|_| noise.normal()).collect();
    let mut blocks = vec![Block::ZERO; input.blocks()];
    pack(input, &planar, &mut blocks);
    let mut values: Vec<Option<Made>> = (0..plain.channels.len()).map(|_| None).collect();
    values[0] = Some(Made { shape: input, blocks, moments: None });
    for (step, plain_step) in fused.network.steps.iter().zip(&plain.steps) {
        let value = |value: usize| values[value].as_ref().unwrap();
        let shapes: Vec<Shape> = step.work.reads().map(|read| value(read).shape).collect();
        let shape = step.work.output(shapes[0]);
        let mut blocks = vec![Block([f32::NAN; 16]); shape.blocks()];
        let mut working = vec![Block([f32::NAN; 16]); step.work.works_in(level, &shapes)];
        let mut moments = step.moments.then(Moments::new);
        let image = |read: usize| Image { view: value(read).view(), moments: value(read).moments.as_ref() };
        step.work.run(&context, image, &mut working, &mut blocks, moments.as_mut());

        let expected = exact(&plain, &plain_step.work, value);
        let made = Made { shape, blocks, moments };
        let found = made.planar();
        assert_eq!(found.len(), expected.len(), "{}", step.name);
        let rms = (expected.iter().map(|y| y * y).sum::<f64>() / expected.len() as f64).sqrt();
        let error = found.iter().zip(&expected).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
        println!("{:.2e} {} {}", error / rms, step.work.kind(), step.name);
        assert!(error <= TOLERANCE * rms, "{half}, {}: an error of {error:e} at a magnitude of {rms:e}", step.name);
        values[step.output] = Some(made);
    }
    assert!(values[plain.output].is_some());
}

/// What a step computes, in f64 but for what its operands are rounded to.
fn exact<'a>(network: &Steps, work: &Work, value: impl Fn(usize) -> &'a Made) -> Vec<f64> {
    let add = |out: &mut Vec<f64>, residual: Option<usize>| {
        for residual in residual.iter().map(|&residual| value(residual).planar()) {
            out.iter_mut().zip(residual).for_each(|(out, residual)| *out += f64::from(residual));
        }
    };
    match work {
        Work::Conv { conv: Convolution { conv, upsample }, input, residual, relu } => {
            let shape = value(input.value).shape;
            let x: Vec<f32> = read(network, input, value(input.value)).iter().map(|&x| x as f32).collect();
            let window = Window { size: conv.size, stride: conv.stride, before: conv.before, after: conv.after };
            let mut out = match upsample {
                true => scalar::upsample2x_conv3x3(shape, &x, &conv.weight, &conv.bias),
                false => scalar::conv2d(window, shape, &x, &conv.weight, &conv.bias),
            };
            add(&mut out, *residual);
            out.iter_mut().filter(|_| *relu).for_each(|y| *y = y.max(0.0));
            out
        }
        Work::Map { function, input, residual } => {
            let mut out = read(network, input, value(input.value));
            out.iter_mut().for_each(|y| {
                *y = match function {
                    Function::Identity => *y,
                    Function::Relu => y.max(0.0),
                    Function::Tanh => y.tanh(),
                }
            });
            add(&mut out, *residual);
            out
        }
        Work::Attention { qkv, scale } => {
            let [q, k, v] = qkv.map(|read| value(read).planar());
            scalar::attention(value(qkv[0]).shape.channels, *scale, &q, &k, &v)
        }
    }
}

/// A value with what is done to it as it is read.
fn read(network: &Steps, operand: &Operand, made: &Made) -> Vec<f64> {
    let x = made.planar();
    let mut x = match operand.affine {
        Some(Scales::Norm(norm)) => {
            let norm = &network.norms[norm];
            scalar::group_norm(norm.groups, norm.epsilon, &norm.weight, &norm.bias, made.shape, &x)
        }
        Some(Scales::Fixed { scale, offset }) => {
            x.iter().map(|&x| f64::from(x) * f64::from(scale) + f64::from(offset)).collect()
        }
        None => x.iter().map(|&x| f64::from(x)).collect(),
    };
    x.iter_mut().filter(|_| operand.silu).for_each(|x| *x = scalar::silu(*x));
    x
}

#[test]
fn every_layer_of_a_real_decoder() {
    check(Half::Decoder, Shape::new(16, 9, 12));
}

#[test]
fn every_layer_of_a_real_encoder() {
    check(Half::Encoder, Shape::new(3, 88, 72));
}
