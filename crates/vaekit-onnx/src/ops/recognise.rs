//! From nodes to operations: each value is followed as what it means, until an image comes out.

use std::collections::HashMap;

use super::document::{Attribute, Document, Node, Tensor, Values};
use super::{Conv, GroupNorm, Op, OpKind, Ops, OpsError, Value};
use crate::inspect::Dim;

pub(crate) fn recognise(document: Document) -> Result<Ops, OpsError> {
    let Document { nodes, tensors, inputs, outputs, bytes } = document;
    let ([input], [output]) = (&inputs[..], &outputs[..]) else {
        return Err(OpsError::Interface { found: format!("{} inputs and {} outputs", inputs.len(), outputs.len()) });
    };
    let channels = match input.dims.as_deref() {
        Some([_, Dim::Fixed(channels @ 1..), _, _]) => usize::try_from(*channels).ok(),
        Some([_, Dim::Named(_) | Dim::Unknown, _, _]) => first_conv_inputs(&nodes, &tensors),
        _ => None,
    };
    let channels = channels.ok_or_else(|| OpsError::Interface { found: format!("the input {input}") })?;
    let mut uses: HashMap<String, usize> = HashMap::new();
    for name in nodes.iter().flat_map(|node| &node.inputs) {
        *uses.entry(name.clone()).or_default() += 1;
    }
    let ops = Ops { ops: Vec::new(), channels: vec![channels], output: 0 };
    let left = usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_COPIES);
    let mut network = Network { ops, meanings: HashMap::new(), tensors, uses, left };
    network.meanings.insert(input.name.clone(), Meaning::Image(0));
    for node in nodes {
        network.node(node)?;
    }
    let missing = || OpsError::Interface { found: format!("an output `{}` that no node makes", output.name) };
    let meaning = network.meanings.remove(&output.name).ok_or_else(missing)?;
    let last = Node { name: output.name.clone(), operator: "output".into(), ..Node::default() };
    network.ops.output = network.image(&last, meaning)?;
    Ok(network.ops)
}

/// Bytes that copies of constants may take, whatever the file's length: of a network without weights, the ones and zeros of
/// its normalisations.
const LEAST_COPIES: usize = 1 << 20;

/// Channels that the first convolution takes; only convolutions change their number.
fn first_conv_inputs(nodes: &[Node], tensors: &HashMap<String, Tensor>) -> Option<usize> {
    let first = nodes.iter().find(|node| node.operator == "Conv")?;
    match tensors.get(first.inputs.get(1)?)?.dims[..] {
        [_, inputs, _, _] if inputs > 0 => Some(inputs),
        _ => None,
    }
}

/// What a value stands for.
#[derive(Clone, Debug)]
enum Meaning {
    Image(Value),
    /// An image's shape.
    Shape(Value),
    /// `image * scale`, not yet an operation: what follows may take up the factor.
    Scaled(Value, f32),
    Sigmoid(Value),
    /// An image between zeros, which the convolution takes up.
    Padded {
        image: Value,
        before: usize,
        after: usize,
    },
    /// An image's channels in `rows` equal ranges, `[N, rows, -1]`; with as many ranges as channels, its positions.
    Flat {
        image: Value,
        rows: usize,
        scale: f32,
    },
    /// Positions by channels.
    FlatTransposed {
        image: Value,
        scale: f32,
    },
    /// Each range of channels brought to mean 0 and variance 1; `flat` until it is an image again.
    Normalized {
        image: Value,
        groups: usize,
        epsilon: f32,
        weight: Option<Vec<f32>>,
        flat: bool,
    },
    /// `q k^T * scale`, or its softmax.
    Scores {
        q: Value,
        k: Value,
        scale: f32,
        softmax: bool,
    },
    /// `softmax(q k^T * scale) v`, positions by channels or the other way around.
    Attended {
        q: Value,
        k: Value,
        v: Value,
        scale: f32,
        transposed: bool,
    },
}

struct Network {
    ops: Ops,
    meanings: HashMap<String, Meaning>,
    tensors: HashMap<String, Tensor>,
    /// How many nodes have still to read each value.
    uses: HashMap<String, usize>,
    /// Bytes that may still be taken for what does not stand in the file by itself: copies of constants that several nodes
    /// read, ones and zeros.
    left: usize,
}

impl Network {
    fn node(&mut self, mut node: Node) -> Result<(), OpsError> {
        let constant = node.attributes.get_mut("value").and_then(|attribute| attribute.tensor.take());
        let node = &node;
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(node.refused("is of an operator set of its own"));
        }
        let [output] = &node.outputs[..] else {
            return Err(node.refused("has other than one output"));
        };
        if node.operator == "Constant" {
            let value = constant.ok_or_else(|| node.refused("is a constant without a tensor"))?;
            self.tensors.insert(output.clone(), value);
            return Ok(());
        }
        let first = match node.inputs.first().filter(|name| !self.tensors.contains_key(*name)) {
            Some(name) => self.meaning(node, name)?,
            // Commutative operators may have their constant in front.
            None => self.meaning(node, node.inputs.get(1).map_or("", String::as_str))?,
        };
        let meaning = match node.operator.as_str() {
            // What an fp16 graph computes in f16 is computed in f32 here.
            "Cast" | "Identity" => first,
            "Shape" => Meaning::Shape(self.image(node, first)?),
            "Conv" => self.conv(node, first)?,
            "Pad" => self.pad(node, first)?,
            "Relu" => self.push(node, first, OpKind::Relu)?,
            "Tanh" => self.push(node, first, OpKind::Tanh)?,
            "Sigmoid" => Meaning::Sigmoid(self.image(node, first)?),
            "Resize" => self.resize(node, first)?,
            "Reshape" => self.reshape(node, first)?,
            "Transpose" => transpose(node, first)?,
            "InstanceNormalization" => self.instance_norm(node, first)?,
            "GroupNormalization" => self.group_norm(node, first)?,
            "MatMul" => self.matmul(node, first)?,
            "Softmax" => softmax(node, first)?,
            "Mul" | "Div" => self.scale(node, first)?,
            "Add" | "Sub" => self.offset(node, first)?,
            _ => return Err(node.refused("is an operator that no VAE of the known families has")),
        };
        self.meanings.insert(output.clone(), meaning);
        Ok(())
    }

    fn meaning(&mut self, node: &Node, name: &str) -> Result<Meaning, OpsError> {
        if let Some(Meaning::Normalized { weight: Some(weight), .. }) = self.meanings.get(name) {
            let count = weight.len();
            self.copy(node, count)?;
        }
        self.meanings.get(name).cloned().ok_or_else(|| node.refused(&format!("reads `{name}`, which is not known")))
    }

    /// Takes room for so many floats from what is left for copies.
    fn copy(&mut self, node: &Node, floats: usize) -> Result<(), OpsError> {
        self.copy_bytes(node, floats.saturating_mul(size_of::<f32>()))
    }

    fn copy_bytes(&mut self, node: &Node, bytes: usize) -> Result<(), OpsError> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| {
            node.refused("reads constants that other nodes read too, and copies for all would be larger than the file")
        })?;
        Ok(())
    }

    /// The value of an image, for which what is pending becomes operations.
    fn image(&mut self, node: &Node, meaning: Meaning) -> Result<Value, OpsError> {
        match meaning {
            Meaning::Image(value) => Ok(value),
            Meaning::Scaled(value, scale) => Ok(self.emit(node, value, OpKind::Affine { scale, offset: 0.0 })),
            Meaning::Normalized { image, groups, epsilon, weight, flat: false } => {
                let channels = self.ops.channels[image];
                self.copy(node, channels.saturating_mul(2))?;
                let norm = GroupNorm {
                    groups,
                    epsilon,
                    weight: weight.unwrap_or_else(|| vec![1.0; channels]),
                    bias: vec![0.0; channels],
                };
                Ok(self.emit(node, image, OpKind::GroupNorm(norm)))
            }
            other => Err(node.refused(&format!("expects an image and finds {}", other.name()))),
        }
    }

    fn emit(&mut self, node: &Node, input: Value, kind: OpKind) -> Value {
        let channels = match &kind {
            OpKind::Conv(conv) => conv.bias.len(),
            _ => self.ops.channels[input],
        };
        self.ops.ops.push(Op { name: node.label().to_owned(), input, kind });
        self.ops.channels.push(channels);
        self.ops.ops.len()
    }

    fn push(&mut self, node: &Node, input: Meaning, kind: OpKind) -> Result<Meaning, OpsError> {
        let input = self.image(node, input)?;
        Ok(Meaning::Image(self.emit(node, input, kind)))
    }

    /// A constant, moved out where this is its last use.
    fn tensor(&mut self, node: &Node, name: &str) -> Result<Tensor, OpsError> {
        let uses = self.uses.entry(name.to_owned()).or_default();
        *uses = uses.saturating_sub(1);
        let last = *uses == 0;
        let bytes = self.tensors.get(name).filter(|_| !last).map_or(0, Tensor::bytes);
        self.copy_bytes(node, bytes)?;
        let tensor = if last { self.tensors.remove(name) } else { self.tensors.get(name).cloned() };
        tensor.ok_or_else(|| node.refused(&format!("needs the constant `{name}`")))
    }

    fn floats(&mut self, node: &Node, index: usize) -> Result<(Vec<usize>, Vec<f32>), OpsError> {
        let name = node.inputs.get(index).map_or("", String::as_str);
        match self.tensor(node, name)? {
            Tensor { dims, values: Values::Float(values) } => Ok((dims, values)),
            Tensor { values: Values::Other(element), .. } => {
                Err(node.refused(&format!("has a constant `{name}` of {element}")))
            }
            Tensor { values: Values::Int(_), .. } => Err(node.refused(&format!("has a constant `{name}` of int64"))),
        }
    }

    fn ints(&mut self, node: &Node, index: usize) -> Result<Vec<i64>, OpsError> {
        let name = node.inputs.get(index).map_or("", String::as_str);
        match self.tensor(node, name)?.values {
            Values::Int(values) => Ok(values),
            _ => Err(node.refused(&format!("has a constant `{name}` that is not int64"))),
        }
    }

    fn conv(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let (image, before, after) = match input {
            Meaning::Padded { image, before, after } => (image, before, after),
            other => (self.image(node, other)?, 0, 0),
        };
        let (dims, weight) = self.floats(node, 1)?;
        let &[outputs, inputs, size, width] = &dims[..] else {
            return Err(node.refused(&format!("has a weight of {dims:?}")));
        };
        let fits = inputs == self.ops.channels[image] && outputs > 0 && (1..=7).contains(&size) && size == width;
        if !fits {
            let channels = self.ops.channels[image];
            return Err(node.refused(&format!("has a weight of {dims:?} for an input of {channels} channels")));
        }
        let bias = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => self.floats(node, 2)?.1,
            None => {
                self.copy(node, outputs)?;
                vec![0.0; outputs]
            }
        };
        if bias.len() != outputs {
            return Err(node.refused(&format!("has {} biases for {outputs} outputs", bias.len())));
        }
        let strides = node.ints("strides", &[1, 1]);
        let pads = node.ints("pads", &[0; 4]);
        let (&[stride, across], &[top, left, bottom, right]) = (&strides[..], &pads[..]) else {
            return Err(node.refused("is no convolution over two axes"));
        };
        let plain = node.ints("dilations", &[1, 1]) == [1, 1] && node.int("group", 1) == 1;
        let square = stride == across && (1..=4).contains(&stride) && top == left && bottom == right;
        let small = (0..8).contains(&top) && (0..8).contains(&bottom);
        if !plain || !square || !small || !["", "NOTSET"].contains(&node.text("auto_pad")) {
            return Err(node.refused(&format!("is no plain square convolution: strides {strides:?}, pads {pads:?}")));
        }
        let (before, after) = (before + top as usize, after + bottom as usize);
        let conv = Conv { weight, bias, inputs, size, stride: stride as usize, before, after };
        Ok(Meaning::Image(self.emit(node, image, OpKind::Conv(conv))))
    }

    fn pad(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let image = self.image(node, input)?;
        let pads = self.ints(node, 1)?;
        let value = match node.inputs.get(2).filter(|name| !name.is_empty()) {
            Some(_) => self.floats(node, 2)?.1,
            None => Vec::new(),
        };
        let zeros = value.iter().all(|&value| value == 0.0) && ["", "constant"].contains(&node.text("mode"));
        match pads[..] {
            [0, 0, top @ 0..8, left, 0, 0, bottom @ 0..8, right] if zeros && top == left && bottom == right => {
                Ok(Meaning::Padded { image, before: top as usize, after: bottom as usize })
            }
            _ => Err(node.refused(&format!("pads by {pads:?}, or not with zeros"))),
        }
    }

    fn resize(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let (_, scales) = self.floats(node, 2)?;
        let nearest = node.text("mode") == "nearest"
            && node.text("coordinate_transformation_mode") == "asymmetric"
            && node.text("nearest_mode") == "floor";
        if scales != [1.0, 1.0, 2.0, 2.0] || !nearest {
            return Err(node.refused(&format!("scales by {scales:?}, or not by nearest neighbours")));
        }
        self.push(node, input, OpKind::Upsample)
    }

    fn reshape(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let shape = node.inputs.get(1).map_or("", String::as_str);
        if let Some(Meaning::Shape(like)) = self.meanings.get(shape) {
            let like = *like;
            return match input {
                Meaning::Normalized { image, groups, epsilon, weight, .. } if image == like => {
                    Ok(Meaning::Normalized { image, groups, epsilon, weight, flat: false })
                }
                // The image that the queries were made from has their sides.
                Meaning::Attended { q, k, v, scale, transposed: true } if self.same_sides(like, q) => {
                    Ok(Meaning::Image(self.emit(node, q, OpKind::Attention { k, v, scale })))
                }
                other => Err(node.refused(&format!("gives {} the shape of another image", other.name()))),
            };
        }
        let (image, scale) = match input {
            Meaning::Scaled(image, scale) => (image, scale),
            other => (self.image(node, other)?, 1.0),
        };
        match self.ints(node, 1)?[..] {
            [0, rows, -1] if rows > 0 => Ok(Meaning::Flat { image, rows: rows as usize, scale }),
            ref other => Err(node.refused(&format!("gives an image the shape {other:?}"))),
        }
    }

    /// Whether `image` is `other`'s input through convolutions of one tap, and has as many channels.
    fn same_sides(&self, image: Value, other: Value) -> bool {
        let Some(made) = other.checked_sub(1).map(|made| &self.ops.ops[made]) else { return image == other };
        let point = matches!(&made.kind, OpKind::Conv(Conv { size: 1, stride: 1, before: 0, after: 0, .. }));
        let alike = self.ops.channels[image] == self.ops.channels[other];
        alike && (image == other || point && made.input == image)
    }

    fn instance_norm(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let Meaning::Flat { image, rows: groups, scale: 1.0 } = input else {
            return Err(node.refused(&format!("normalises {}", input.name())));
        };
        let (scale, bias) = (self.floats(node, 1)?.1, self.floats(node, 2)?.1);
        let neutral = scale.iter().all(|&x| x == 1.0) && bias.iter().all(|&x| x == 0.0);
        if !neutral || scale.len() != groups || !self.ops.channels[image].is_multiple_of(groups) {
            return Err(node.refused("is no group normalisation"));
        }
        Ok(Meaning::Normalized { image, groups, epsilon: node.float("epsilon", 1e-5), weight: None, flat: true })
    }

    fn group_norm(&mut self, node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
        let image = self.image(node, input)?;
        let (weight, bias) = (self.floats(node, 1)?.1, self.floats(node, 2)?.1);
        let (groups, channels) = (node.int("num_groups", 0), self.ops.channels[image]);
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0 && channels.is_multiple_of(groups));
        match groups {
            // Opset 18 gives a scale for each group, 21 one for each channel.
            Some(groups) if weight.len() == channels && bias.len() == channels => {
                let norm = GroupNorm { groups, epsilon: node.float("epsilon", 1e-5), weight, bias };
                Ok(Meaning::Image(self.emit(node, image, OpKind::GroupNorm(norm))))
            }
            _ => Err(node.refused(&format!("has {} scales for {channels} channels", weight.len()))),
        }
    }

    fn matmul(&mut self, node: &Node, left: Meaning) -> Result<Meaning, OpsError> {
        let right = self.meaning(node, node.inputs.get(1).map_or("", String::as_str))?;
        match (left, right) {
            (Meaning::FlatTransposed { image: q, scale: a }, Meaning::Flat { image: k, rows, scale: b })
                if rows == self.ops.channels[k] && rows == self.ops.channels[q] =>
            {
                Ok(Meaning::Scores { q, k, scale: a * b, softmax: false })
            }
            (Meaning::Scores { q, k, scale, softmax: true }, Meaning::FlatTransposed { image: v, scale: 1.0 })
                if self.ops.channels[v] == self.ops.channels[q] =>
            {
                Ok(Meaning::Attended { q, k, v, scale, transposed: false })
            }
            (left, right) => Err(node.refused(&format!("multiplies {} by {}", left.name(), right.name()))),
        }
    }

    /// `Mul` and `Div`.
    fn scale(&mut self, node: &Node, first: Meaning) -> Result<Meaning, OpsError> {
        let constant = node.inputs.iter().position(|name| self.tensors.contains_key(name));
        let Some(constant) = constant else {
            let second = self.meaning(node, node.inputs.get(1).map_or("", String::as_str))?;
            return match (node.operator.as_str(), first, second) {
                ("Mul", Meaning::Sigmoid(gate), x) | ("Mul", x, Meaning::Sigmoid(gate)) => {
                    let x = self.image(node, x)?;
                    if x != gate {
                        return Err(node.refused("multiplies an image by the sigmoid of another"));
                    }
                    Ok(Meaning::Image(self.emit(node, x, OpKind::Silu)))
                }
                (_, first, second) => Err(node.refused(&format!("combines {} with {}", first.name(), second.name()))),
            };
        };
        if node.operator == "Div" && constant == 0 {
            return Err(node.refused("divides a constant"));
        }
        let (dims, values) = self.floats(node, constant)?;
        match (first, &values[..]) {
            (Meaning::Normalized { image, groups, epsilon, weight: None, flat: false }, _)
                if node.operator == "Mul" && per_channel(&dims, self.ops.channels[image]) =>
            {
                Ok(Meaning::Normalized { image, groups, epsilon, weight: Some(values), flat: false })
            }
            (Meaning::Scores { q, k, scale, softmax: false }, &[factor]) => {
                let factor = if node.operator == "Div" { factor.recip() } else { factor };
                Ok(Meaning::Scores { q, k, scale: scale * factor, softmax: false })
            }
            (x, &[factor]) => {
                let factor = if node.operator == "Div" { factor.recip() } else { factor };
                Ok(Meaning::Scaled(self.image(node, x)?, factor))
            }
            (x, _) => Err(node.refused(&format!("scales {} by a constant of {dims:?}", x.name()))),
        }
    }

    /// `Add` and `Sub`.
    fn offset(&mut self, node: &Node, first: Meaning) -> Result<Meaning, OpsError> {
        let constant = node.inputs.iter().position(|name| self.tensors.contains_key(name));
        let Some(constant) = constant else {
            let second = self.meaning(node, node.inputs.get(1).map_or("", String::as_str))?;
            let (x, other) = (self.image(node, first)?, self.image(node, second)?);
            if node.operator == "Sub" || self.ops.channels[x] != self.ops.channels[other] {
                return Err(node.refused("is no sum of two images alike"));
            }
            return Ok(Meaning::Image(self.emit(node, x, OpKind::Add { other })));
        };
        if node.operator == "Sub" && constant == 0 {
            return Err(node.refused("subtracts from a constant"));
        }
        let (dims, bias) = self.floats(node, constant)?;
        match (first, &bias[..]) {
            (Meaning::Normalized { image, groups, epsilon, weight, flat: false }, _)
                if node.operator == "Add" && per_channel(&dims, self.ops.channels[image]) =>
            {
                self.copy(node, bias.len())?;
                let weight = weight.unwrap_or_else(|| vec![1.0; bias.len()]);
                let norm = GroupNorm { groups, epsilon, weight, bias };
                Ok(Meaning::Image(self.emit(node, image, OpKind::GroupNorm(norm))))
            }
            (x, &[offset]) => {
                let (image, scale) = match x {
                    Meaning::Scaled(image, scale) => (image, scale),
                    other => (self.image(node, other)?, 1.0),
                };
                let offset = if node.operator == "Sub" { -offset } else { offset };
                Ok(Meaning::Image(self.emit(node, image, OpKind::Affine { scale, offset })))
            }
            (x, _) => Err(node.refused(&format!("adds a constant of {dims:?} to {}", x.name()))),
        }
    }
}

fn transpose(node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
    match (input, &node.ints("perm", &[])[..]) {
        (Meaning::Flat { image, scale, .. }, [0, 2, 1]) => Ok(Meaning::FlatTransposed { image, scale }),
        (Meaning::Attended { q, k, v, scale, transposed: false }, [0, 2, 1]) => {
            Ok(Meaning::Attended { q, k, v, scale, transposed: true })
        }
        (other, perm) => Err(node.refused(&format!("transposes {} by {perm:?}", other.name()))),
    }
}

fn softmax(node: &Node, input: Meaning) -> Result<Meaning, OpsError> {
    match (input, node.int("axis", -1)) {
        (Meaning::Scores { q, k, scale, softmax: false }, -1 | 2) => Ok(Meaning::Scores { q, k, scale, softmax: true }),
        (other, axis) => Err(node.refused(&format!("is over axis {axis} of {}", other.name()))),
    }
}

/// Whether a constant has one value for each channel of an image.
fn per_channel(dims: &[usize], channels: usize) -> bool {
    matches!(dims, [c, 1, 1] | [1, c, 1, 1] if *c == channels)
}

impl Meaning {
    fn name(&self) -> &'static str {
        match self {
            Meaning::Image(_) | Meaning::Scaled(..) => "an image",
            Meaning::Shape(_) => "a shape",
            Meaning::Sigmoid(_) => "a sigmoid",
            Meaning::Padded { .. } => "a padded image",
            Meaning::Flat { .. } | Meaning::FlatTransposed { .. } => "an image's positions",
            Meaning::Normalized { .. } => "a normalised image",
            Meaning::Scores { .. } => "an attention's scores",
            Meaning::Attended { .. } => "an attention's result",
        }
    }
}

impl Node {
    fn label(&self) -> &str {
        let output = self.outputs.first().map_or("", String::as_str);
        if self.name.is_empty() { output } else { &self.name }
    }

    fn refused(&self, reason: &str) -> OpsError {
        OpsError::Unsupported {
            node: self.label().to_owned(),
            operator: self.operator.clone(),
            reason: reason.to_owned(),
        }
    }

    fn attribute<T>(&self, name: &str, get: impl Fn(&Attribute) -> Option<T>) -> Option<T> {
        self.attributes.get(name).and_then(get)
    }

    fn ints(&self, name: &str, default: &[i64]) -> Vec<i64> {
        self.attribute(name, |attribute| Some(attribute.ints.clone())).unwrap_or_else(|| default.to_vec())
    }

    fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name, |attribute| attribute.int).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name, |attribute| attribute.float).unwrap_or(default)
    }

    fn text(&self, name: &str) -> &str {
        self.attributes.get(name).and_then(|attribute| attribute.text.as_deref()).unwrap_or_default()
    }
}
