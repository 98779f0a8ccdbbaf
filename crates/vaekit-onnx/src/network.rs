//! Layers to nodes.

use vaekit::arch::{Attention, Conv, GroupNorm, Layer, Padding, Resnet, TinyBlock};
use vaekit::{Half, VaeConfig};

use crate::graph::{GraphBuilder, Port, Value, Weight};
use crate::names;
use crate::precision::{ElementType, Precision};
use crate::proto::{Attribute, Graph};

/// The graph of one half: everything but the weights, and the weights in the order in which they follow.
pub(crate) fn graph(config: &VaeConfig, half: Half, layers: &[Layer], precision: Precision) -> (Graph, Vec<Weight>) {
    let mut network = Network { graph: GraphBuilder::new(precision) };
    let (input, output) = ports(config, half);
    let mut x: Value = input.name.into();
    if network.graph.is_fp16() {
        x = network.graph.cast("to_fp16", &x, ElementType::FLOAT16);
    }
    for layer in layers {
        x = network.layer(layer, &x);
    }
    if network.graph.is_fp16() {
        network.graph.cast("to_fp32", &x, ElementType::FLOAT);
    }
    network.graph.finish(half, input, output)
}

fn ports(config: &VaeConfig, half: Half) -> (Port, Port) {
    let (channels_in, channels_out) = names::channels(config, half);
    let (sides_in, sides_out) = names::sides(half);
    let image = "RGB in [-1, 1]";
    let latents = match config.latents.native {
        vaekit::Domain::Raw => "raw latents",
        vaekit::Domain::Scaled => "scaled latents",
    };
    let encoded = if config.has_posterior() { "mean and log variance of raw latents" } else { latents };
    let (doc_in, doc_out) = match half {
        Half::Encoder => (image, encoded),
        Half::Decoder => (latents, "RGB, nominally in [-1, 1], not clamped"),
    };
    let input = Port { name: names::input(half), channels: channels_in, sides: sides_in, doc: doc_in };
    let output = Port { name: names::output(config, half), channels: channels_out, sides: sides_out, doc: doc_out };
    (input, output)
}

struct Network {
    graph: GraphBuilder,
}

impl Network {
    fn layer(&mut self, layer: &Layer, x: &str) -> Value {
        match layer {
            Layer::Affine { name, scale, offset } => self.affine(name, *scale, *offset, x),
            Layer::SoftClamp { name, limit } => self.soft_clamp(name, *limit, x),
            Layer::Conv(conv) => self.conv(conv, x),
            Layer::GroupNorm(norm) => self.group_norm(norm, x),
            Layer::Silu { name } => self.silu(name, x),
            Layer::Relu { name } => self.graph.node("Relu", name, &[x]),
            Layer::Upsample { name } => self.upsample(name, x),
            Layer::Resnet(resnet) => self.resnet(resnet, x),
            Layer::Attention(attention) => self.attention(attention, x),
            Layer::TinyBlock(block) => self.tiny_block(block, x),
        }
    }

    fn affine(&mut self, name: &str, scale: f32, offset: f32, x: &str) -> Value {
        let scale = self.graph.scalar(format!("{name}.scale"), scale);
        let offset = self.graph.scalar(format!("{name}.offset"), offset);
        let scaled = self.graph.node("Mul", format!("{name}.scaled"), &[x, &scale]);
        self.graph.node("Add", name, &[&scaled, &offset])
    }

    fn soft_clamp(&mut self, name: &str, limit: f32, x: &str) -> Value {
        let limit = self.graph.scalar(format!("{name}.limit"), limit);
        let unit = self.graph.node("Div", format!("{name}.unit"), &[x, &limit]);
        let tanh = self.graph.node("Tanh", format!("{name}.tanh"), &[&unit]);
        self.graph.node("Mul", name, &[&tanh, &limit])
    }

    fn conv(&mut self, conv: &Conv, x: &str) -> Value {
        let weight = self.graph.weight(format!("{}.weight", conv.name), &conv.weight_shape());
        let bias = conv.bias.then(|| self.graph.weight(format!("{}.bias", conv.name), &[conv.out_channels]));
        let (kernel, stride) = (conv.kernel as i64, conv.stride as i64);
        let same = (kernel - 1) / 2;
        // Top, left, bottom, right.
        let pads = match conv.padding {
            Padding::Same => [same; 4],
            Padding::BottomRight => [0, 0, 1, 1],
        };
        let attributes = vec![
            Attribute::ints("kernel_shape", &[kernel; 2]),
            Attribute::ints("pads", &pads),
            Attribute::ints("strides", &[stride; 2]),
        ];
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        self.graph.node_with("Conv", &conv.name, &inputs, attributes)
    }

    /// `[N, C, H, W]` as `[N, groups, -1]` through InstanceNormalization and back, then scale and shift for each channel.
    ///
    /// GroupNormalization was ill-defined in opset 18 and is missing before. In an fp16 graph the statistics are f32: sums
    /// of squares leave fp16's range at magnitudes of 256, and an epsilon of 1e-6 is not representable in it.
    fn group_norm(&mut self, norm: &GroupNorm, x: &str) -> Value {
        let GroupNorm { name, channels, groups, epsilon } = norm;
        let graph = &mut self.graph;
        let grouped_shape = graph.ints(format!("groups_{groups}.shape"), &[0, *groups as i64, -1]);
        let ones = graph.floats(format!("groups_{groups}.ones"), &vec![1.0; *groups]);
        let zeros = graph.floats(format!("groups_{groups}.zeros"), &vec![0.0; *groups]);
        let shape = graph.node("Shape", format!("{name}.shape"), &[x]);
        let mut value = graph.node("Reshape", format!("{name}.groups"), &[x, &grouped_shape]);
        if graph.is_fp16() {
            value = graph.cast(format!("{name}.fp32"), &value, ElementType::FLOAT);
        }
        let epsilon = vec![Attribute::float("epsilon", *epsilon)];
        let inputs = [&value, &ones, &zeros].map(String::as_str);
        value = graph.node_with("InstanceNormalization", format!("{name}.normalized"), &inputs, epsilon);
        if graph.is_fp16() {
            value = graph.cast(format!("{name}.fp16"), &value, ElementType::FLOAT16);
        }
        value = graph.node("Reshape", format!("{name}.channels"), &[&value, &shape]);
        // Four axes: tract takes its generic, ten times slower path where it has to add one.
        let weight = graph.weight(format!("{name}.weight"), &[1, *channels, 1, 1]);
        let bias = graph.weight(format!("{name}.bias"), &[1, *channels, 1, 1]);
        value = graph.node("Mul", format!("{name}.scaled"), &[&value, &weight]);
        graph.node("Add", name, &[&value, &bias])
    }

    fn silu(&mut self, name: &str, x: &str) -> Value {
        let sigmoid = self.graph.node("Sigmoid", format!("{name}.sigmoid"), &[x]);
        self.graph.node("Mul", name, &[x, &sigmoid])
    }

    fn upsample(&mut self, name: &str, x: &str) -> Value {
        let scales = self.graph.floats("upsample.scales".into(), &[1.0, 1.0, 2.0, 2.0]);
        let attributes = vec![
            Attribute::string("coordinate_transformation_mode", "asymmetric"),
            Attribute::string("mode", "nearest"),
            Attribute::string("nearest_mode", "floor"),
        ];
        self.graph.node_with("Resize", name, &[x, "", &scales], attributes)
    }

    fn resnet(&mut self, resnet: &Resnet, x: &str) -> Value {
        let mut branch = x.to_owned();
        for (norm, conv) in [(&resnet.norm1, &resnet.conv1), (&resnet.norm2, &resnet.conv2)] {
            branch = self.group_norm(norm, &branch);
            branch = self.silu(&format!("{}.silu", norm.name), &branch);
            branch = self.conv(conv, &branch);
        }
        let shortcut = resnet.shortcut.as_ref().map(|conv| self.conv(conv, x));
        self.graph.node("Add", &resnet.name, &[shortcut.as_deref().unwrap_or(x), &branch])
    }

    /// Projections are 1x1 convolutions: the weights stay as the checkpoint has them, and it runs as fast as with matrix
    /// products on transposed weights.
    fn attention(&mut self, attention: &Attention, x: &str) -> Value {
        let Attention { name, channels, norm } = attention;
        let [to_q, to_k, to_v, to_out] = attention.linears();
        let normed = self.group_norm(norm, x);
        let shape = self.graph.node("Shape", format!("{name}.shape"), &[&normed]);
        let flat = self.graph.ints(format!("{name}.positions.shape"), &[0, *channels as i64, -1]);

        let q = self.linear(&to_q, *channels, &normed);
        let k = self.linear(&to_k, *channels, &normed);
        let v = self.linear(&to_v, *channels, &normed);
        // Scaling q rather than the scores keeps the product small, which fp16 needs.
        let scale = self.graph.scalar(format!("{name}.scale"), (*channels as f32).sqrt().recip());
        let q = self.graph.node("Mul", format!("{to_q}.scaled"), &[&q, &scale]);
        let [q, k, v] = [(q, &to_q), (k, &to_k), (v, &to_v)]
            .map(|(value, linear)| self.graph.node("Reshape", format!("{linear}.positions"), &[&value, &flat]));
        let q = self.swap_last_axes(format!("{to_q}.transposed"), &q);
        let v = self.swap_last_axes(format!("{to_v}.transposed"), &v);

        let scores = self.graph.node("MatMul", format!("{name}.scores"), &[&q, &k]);
        let axis = vec![Attribute::int("axis", -1)];
        let weights = self.graph.node_with("Softmax", format!("{name}.softmax"), &[&scores], axis);
        let attended = self.graph.node("MatMul", format!("{name}.attended"), &[&weights, &v]);
        let attended = self.swap_last_axes(format!("{name}.attended.transposed"), &attended);
        let attended = self.graph.node("Reshape", format!("{name}.attended.image"), &[&attended, &shape]);
        let out = self.linear(&to_out, *channels, &attended);
        self.graph.node("Add", name, &[x, &out])
    }

    fn linear(&mut self, name: &str, channels: usize, x: &str) -> Value {
        let (padding, name) = (Padding::Same, name.to_owned());
        let conv =
            Conv { name, in_channels: channels, out_channels: channels, kernel: 1, stride: 1, padding, bias: true };
        self.conv(&conv, x)
    }

    fn swap_last_axes(&mut self, name: String, x: &str) -> Value {
        self.graph.node_with("Transpose", name, &[x], vec![Attribute::ints("perm", &[0, 2, 1])])
    }

    /// Steps inside are numbered as in the `nn.Sequential`s of the checkpoint.
    fn tiny_block(&mut self, block: &TinyBlock, x: &str) -> Value {
        let TinyBlock { name, pool, convs, skip } = block;
        let mut input = x.to_owned();
        if let Some(pool) = pool {
            let mut branch = self.conv(&pool.conv1, &input);
            branch = self.group_norm(&pool.norm, &branch);
            branch = self.graph.node("Relu", format!("{name}.pool.2"), &[&branch]);
            branch = self.conv(&pool.conv2, &branch);
            input = self.graph.node("Add", format!("{name}.pool"), &[&input, &branch]);
        }
        let mut branch = self.conv(&convs[0], &input);
        for (index, conv) in convs.iter().enumerate().skip(1) {
            branch = self.graph.node("Relu", format!("{name}.conv.{}", 2 * index - 1), &[&branch]);
            branch = self.conv(conv, &branch);
        }
        let skip = skip.as_ref().map(|conv| self.conv(conv, &input));
        let sum = self.graph.node("Add", format!("{name}.sum"), &[&branch, skip.as_deref().unwrap_or(&input)]);
        self.graph.node("Relu", name, &[&sum])
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{ExpectFile, expect_file};
    use vaekit::arch::layers;

    use super::*;
    use crate::folding::Folding;
    use crate::inspect::{Dim, ValueInfo};
    use crate::proto;
    use crate::vaes::{kl, tiny};

    #[test]
    fn kl_encoder() {
        check(&kl(4, |_| {}), Half::Encoder, Precision::Fp32, expect_file!["../tests/snapshots/kl_encoder.txt"]);
    }

    #[test]
    fn kl_decoder() {
        check(&kl(4, |_| {}), Half::Decoder, Precision::Fp32, expect_file!["../tests/snapshots/kl_decoder.txt"]);
    }

    #[test]
    fn tiny_encoder_and_decoder() {
        let config = tiny(4, false, None);
        check(&config, Half::Encoder, Precision::Fp32, expect_file!["../tests/snapshots/tiny_encoder.txt"]);
        check(&config, Half::Decoder, Precision::Fp32, expect_file!["../tests/snapshots/tiny_decoder.txt"]);
    }

    #[test]
    fn tiny_decoder_with_pool() {
        let config = tiny(32, true, None);
        check(&config, Half::Decoder, Precision::Fp32, expect_file!["../tests/snapshots/tiny_decoder_pool.txt"]);
    }

    #[test]
    fn sana_encoder() {
        let config = tiny(32, false, Some(4));
        check(&config, Half::Encoder, Precision::Fp32, expect_file!["../tests/snapshots/sana_encoder.txt"]);
    }

    #[test]
    fn fp16_normalises_in_f32() {
        let config = kl(16, |kl| (kl.mid_attention, kl.post_quant_conv) = (false, false));
        check(&config, Half::Decoder, Precision::Fp16, expect_file!["../tests/snapshots/kl_decoder_fp16.txt"]);
    }

    #[test]
    fn every_value_is_made_once_and_before_its_use() {
        for (family, config) in crate::vaes::families() {
            for (half, precision) in
                Half::BOTH.into_iter().flat_map(|half| [(half, Precision::Fp32), (half, Precision::Fp16)])
            {
                let (graph, weights) = graph(&config, half, &layers(&config, half), precision);
                let mut known: Vec<&str> = weights.iter().map(|weight| weight.name.as_str()).collect();
                known.extend(graph.initializer.iter().map(|constant| constant.name.as_str()));
                known.extend(graph.input.iter().map(|input| input.name.as_str()));
                for node in &graph.node {
                    for input in node.input.iter().filter(|input| !input.is_empty()) {
                        assert!(known.contains(&input.as_str()), "{family} {half}: {} reads {input}", node.name);
                    }
                    assert!(!known.contains(&node.output[0].as_str()), "{family} {half}: {} again", node.output[0]);
                    known.push(&node.output[0]);
                }
                assert_eq!(known.last(), Some(&graph.output[0].name.as_str()));
                let expected: Vec<String> =
                    vaekit::arch::tensors(&config, half).into_iter().map(|(name, _)| name).collect();
                let mut found: Vec<String> = weights.into_iter().map(|weight| weight.name).collect();
                found.sort();
                assert_eq!(found, {
                    let mut sorted = expected;
                    sorted.sort();
                    sorted
                });
            }
        }
    }

    #[test]
    fn folding_changes_epsilons_alone() {
        let config = kl(4, |_| {});
        let mut folded = layers(&config, Half::Decoder);
        let folding = Folding { half: Half::Decoder, stream: 3, conv1: Default::default() };
        folding.apply(&mut folded);
        let plain = text(&config, Half::Decoder, &layers(&config, Half::Decoder), Precision::Fp32);
        let folded = text(&config, Half::Decoder, &folded, Precision::Fp32);
        let epsilon = |k: i32| format!("epsilon={:e}", 1e-6f32 * 2f32.powi(-2 * k));
        assert_eq!(folded.replace(&epsilon(3), &epsilon(0)), plain);
    }

    fn check(config: &VaeConfig, half: Half, precision: Precision, expected: ExpectFile) {
        expected.assert_eq(&text(config, half, &layers(config, half), precision));
    }

    /// A graph as people read it.
    fn text(config: &VaeConfig, half: Half, layers: &[Layer], precision: Precision) -> String {
        let (graph, weights) = graph(config, half, layers, precision);
        let mut text = String::new();
        for value in &graph.input {
            writeln!(text, "input {}", value_info(value)).unwrap();
        }
        for constant in &graph.initializer {
            let element = ElementType(constant.data_type);
            writeln!(text, "constant {}: {element} {:?} {}", constant.name, constant.dims, values(constant)).unwrap();
        }
        for node in &graph.node {
            let inputs: Vec<String> = node
                .input
                .iter()
                .map(|input| match weights.iter().find(|weight| &weight.name == input) {
                    Some(weight) => format!("{input} {:?}", weight.dims),
                    None => input.clone(),
                })
                .collect();
            let attributes: String =
                node.attribute.iter().map(|attribute| format!(" {}", attribute_text(attribute))).collect();
            writeln!(text, "{} = {}({}){attributes}", node.output[0], node.op_type, inputs.join(", ")).unwrap();
        }
        for value in &graph.output {
            writeln!(text, "output {}", value_info(value)).unwrap();
        }
        text
    }

    fn value_info(value: &proto::ValueInfo) -> String {
        let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| match dim.value.as_ref().unwrap() {
            proto::DimensionValue::Value(n) => Dim::Fixed(*n),
            proto::DimensionValue::Param(name) => Dim::Named(name.clone()),
        });
        let info = ValueInfo {
            name: value.name.clone(),
            element: Some(ElementType(tensor.elem_type)),
            dims: Some(dims.collect()),
        };
        format!("{info}  # {}", value.doc_string)
    }

    fn values(constant: &proto::Tensor) -> String {
        match ElementType(constant.data_type) {
            ElementType::INT64 => format!(
                "{:?}",
                constant.raw_data.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>()
            ),
            ElementType::FLOAT => format!(
                "{:?}",
                constant.raw_data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>()
            ),
            _ => format!(
                "{:?}",
                constant
                    .raw_data
                    .chunks(2)
                    .map(|b| half::f16::from_le_bytes(b.try_into().unwrap()))
                    .collect::<Vec<_>>()
            ),
        }
    }

    fn attribute_text(attribute: &Attribute) -> String {
        let name = &attribute.name;
        match attribute {
            Attribute { f: Some(value), .. } => format!("{name}={value:e}"),
            Attribute { i: Some(value), .. } => format!("{name}={value}"),
            Attribute { s: Some(value), .. } => format!("{name}={}", String::from_utf8_lossy(value)),
            Attribute { ints, .. } => format!("{name}={ints:?}"),
        }
    }
}
