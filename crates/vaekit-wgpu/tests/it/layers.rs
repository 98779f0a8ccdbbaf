//! Networks as operations whose weights are zeros, straight from their description: for plans of full-size VAEs.

use vaekit::arch::{self, Layer, Padding};
use vaekit::{Half, VaeConfig};
use vaekit_onnx::ops::{Conv, GroupNorm, Op, OpKind, Ops, Value};

/// One half of a VAE.
pub(crate) fn ops(config: &VaeConfig, half: Half) -> Ops {
    let channels = match half {
        Half::Encoder => 3,
        Half::Decoder => config.latents.channels,
    };
    let mut ops = Ops { ops: Vec::new(), channels: vec![channels], output: 0 };
    for layer in arch::layers(config, half) {
        ops.output = push_layer(&mut ops, layer);
    }
    ops
}

fn push_layer(ops: &mut Ops, layer: Layer) -> Value {
    let input = ops.output;
    match layer {
        Layer::Affine { scale, offset, .. } => push(ops, input, OpKind::Affine { scale, offset }),
        Layer::SoftClamp { limit, .. } => {
            let small = push(ops, input, OpKind::Affine { scale: 1.0 / limit, offset: 0.0 });
            let tanh = push(ops, small, OpKind::Tanh);
            push(ops, tanh, OpKind::Affine { scale: limit, offset: 0.0 })
        }
        Layer::Conv(layer) => conv(ops, input, &layer),
        Layer::GroupNorm(layer) => norm(ops, input, &layer),
        Layer::Silu { .. } => push(ops, input, OpKind::Silu),
        Layer::Relu { .. } => push(ops, input, OpKind::Relu),
        Layer::Upsample { .. } => push(ops, input, OpKind::Upsample),
        Layer::Resnet(block) => {
            let first = norm(ops, input, &block.norm1);
            let first = push(ops, first, OpKind::Silu);
            let first = conv(ops, first, &block.conv1);
            let second = norm(ops, first, &block.norm2);
            let second = push(ops, second, OpKind::Silu);
            let skip = block.shortcut.map_or(input, |shortcut| conv(ops, input, &shortcut));
            let second = conv(ops, second, &block.conv2);
            push(ops, second, OpKind::Add { other: skip })
        }
        Layer::Attention(block) => {
            let linear = |name: &str| arch::Conv {
                name: name.into(),
                in_channels: block.channels,
                out_channels: block.channels,
                kernel: 1,
                stride: 1,
                padding: Padding::Same,
                bias: true,
            };
            let normed = norm(ops, input, &block.norm);
            let [q, k, v] = ["q", "k", "v"].map(|name| conv(ops, normed, &linear(name)));
            let scale = 1.0 / (block.channels as f32).sqrt();
            let attended = push(ops, q, OpKind::Attention { k, v, scale });
            let out = conv(ops, attended, &linear("out"));
            push(ops, out, OpKind::Add { other: input })
        }
        Layer::TinyBlock(block) => {
            let [first, second, third] = &block.convs;
            let first = conv(ops, input, first);
            let first = push(ops, first, OpKind::Relu);
            let second = conv(ops, first, second);
            let second = push(ops, second, OpKind::Relu);
            let third = conv(ops, second, third);
            let skip = block.skip.map_or(input, |skip| conv(ops, input, &skip));
            let sum = push(ops, third, OpKind::Add { other: skip });
            push(ops, sum, OpKind::Relu)
        }
    }
}

fn conv(ops: &mut Ops, input: Value, layer: &arch::Conv) -> Value {
    let size = layer.kernel;
    let (before, after) = match layer.padding {
        Padding::Same => (size / 2, size / 2),
        Padding::BottomRight => (0, 1),
    };
    let (inputs, outputs) = (layer.in_channels, layer.out_channels);
    let weight = vec![0.0; outputs * inputs * size * size];
    let conv = Conv { weight, bias: vec![0.0; outputs], inputs, size, stride: layer.stride, before, after };
    let value = push(ops, input, OpKind::Conv(conv));
    ops.channels[value] = outputs;
    value
}

fn norm(ops: &mut Ops, input: Value, layer: &arch::GroupNorm) -> Value {
    let (weight, bias) = (vec![0.0; layer.channels], vec![0.0; layer.channels]);
    push(ops, input, OpKind::GroupNorm(GroupNorm { groups: layer.groups, epsilon: layer.epsilon, weight, bias }))
}

/// Of as many channels as its input.
fn push(ops: &mut Ops, input: Value, kind: OpKind) -> Value {
    let value = ops.channels.len();
    ops.ops.push(Op { name: format!("op {value}"), input, kind });
    ops.channels.push(ops.channels[input]);
    value
}
