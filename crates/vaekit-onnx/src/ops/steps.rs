//! Which operations become one step, so that between two convolutions an image is written once and read once.

use super::{Conv, GroupNorm, Op, OpKind, Ops, Value};

/// A network as fused steps, in the order in which they run.
///
/// `C` is what an engine keeps of a convolution: at first the operation itself, see [`Steps::convert`].
#[derive(Debug)]
pub struct Steps<C = Convolution> {
    /// The steps.
    pub steps: Vec<Step<C>>,
    /// The normalisations that [`Scales::Norm`] counts.
    pub norms: Vec<GroupNorm>,
    /// Channels of every value; 0 is the input.
    pub channels: Vec<usize>,
    /// The value that is the network's output.
    pub output: Value,
}

/// A step, which makes one value.
#[derive(Debug)]
pub struct Step<C = Convolution> {
    /// The name of the operation that it is for.
    pub name: String,
    /// What is computed.
    pub work: Work<C>,
    /// The value that is made.
    pub output: Value,
    /// Whether a normalisation follows a convolution, whose moments may be summed as the output is written.
    pub moments: bool,
}

/// What a step computes.
#[derive(Debug)]
pub enum Work<C = Convolution> {
    /// `conv(input) + residual`, and `max(x, 0)` of it where there is a ReLU. The convolution may have taken up a scale.
    Conv {
        /// The convolution.
        conv: C,
        /// What it reads.
        input: Operand,
        /// What is added, of the output's shape.
        residual: Option<Value>,
        /// Whether negative values become 0 at the end.
        relu: bool,
    },
    /// `function(input) + residual`.
    Map {
        /// The function.
        function: Function,
        /// What it reads.
        input: Operand,
        /// What is added, of the same shape.
        residual: Option<Value>,
    },
    /// `softmax(q k^T * scale) v` over positions.
    Attention {
        /// Queries, keys and values.
        qkv: [Value; 3],
        /// Factor of the scores.
        scale: f32,
    },
}

/// A convolution, maybe of an enlarged image.
#[derive(Debug)]
pub struct Convolution {
    /// The convolution; 3x3 of stride 1 with one row of zeros all around if `upsample`.
    pub conv: Conv,
    /// Whether its input is enlarged before, nearest neighbour, twice the size.
    pub upsample: bool,
}

/// What a [`Work::Map`] does to each value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `tanh(x)`.
    Tanh,
}

/// A value, and what is done to it as it is read. Zeros around an image are put there afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand {
    /// The value.
    pub value: Value,
    /// A scale and a shift for each channel.
    pub affine: Option<Scales>,
    /// SiLU after them.
    pub silu: bool,
}

/// Where scales and shifts come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scales {
    /// The network's n-th normalisation, of the value that is read.
    Norm(usize),
    /// The same for each channel.
    Fixed {
        /// Factor.
        scale: f32,
        /// Added after the factor.
        offset: f32,
    },
}

/// Operations that no step can do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation `{name}` {reason}")]
pub struct StepsError {
    name: String,
    reason: &'static str,
}

impl Steps {
    /// Fuses the operations of a network. Weights are moved, not copied.
    ///
    /// # Errors
    /// [`StepsError`] if an enlarged image is read by anything but 3x3 convolutions.
    pub fn fuse(ops: Ops) -> Result<Self, StepsError> {
        let Ops { ops, channels, output } = ops;
        let readers = readers(&ops, output);
        let read_on_the_fly = read_on_the_fly(&ops, &readers, output);
        let mut made = vec![false; channels.len()];
        made[0] = true;
        let steps = Steps { steps: Vec::new(), norms: Vec::new(), channels, output };
        let norms = vec![None; ops.len()];
        let mut fuser = Fuser { ops, readers, read_on_the_fly, made, steps, norms };
        for index in 0..fuser.ops.len() {
            fuser.op(index)?;
        }
        Ok(fuser.steps)
    }

    /// Turns each convolution, in order, into what an engine keeps of it.
    pub fn convert<C>(self, mut convert: impl FnMut(Convolution) -> C) -> Steps<C> {
        let steps = self.steps.into_iter().map(|Step { name, work, output, moments }| {
            let work = match work {
                Work::Conv { conv, input, residual, relu } => Work::Conv { conv: convert(conv), input, residual, relu },
                Work::Map { function, input, residual } => Work::Map { function, input, residual },
                Work::Attention { qkv, scale } => Work::Attention { qkv, scale },
            };
            Step { name, work, output, moments }
        });
        Steps { steps: steps.collect(), norms: self.norms, channels: self.channels, output: self.output }
    }
}

impl<C> Steps<C> {
    /// The last step that reads each value; none for the network's output.
    pub fn last_readers(&self) -> Vec<Option<usize>> {
        let mut last = vec![None; self.channels.len()];
        for (index, step) in self.steps.iter().enumerate() {
            step.work.reads().for_each(|value| last[value] = Some(index));
        }
        last[self.output] = None;
        last
    }
}

impl<C> Work<C> {
    /// The values that are read.
    pub fn reads(&self) -> impl Iterator<Item = Value> + use<C> {
        let (first, second, third) = match self {
            Work::Conv { input, residual, .. } | Work::Map { input, residual, .. } => (input.value, *residual, None),
            Work::Attention { qkv: [q, k, v], .. } => (*q, Some(*k), Some(*v)),
        };
        [Some(first), second, third].into_iter().flatten()
    }
}

impl Operand {
    /// A value as it is.
    pub fn plain(value: Value) -> Self {
        Operand { value, affine: None, silu: false }
    }
}

/// For each value the operations that read it; one that is the network's output has one more, which does not exist.
fn readers(ops: &[Op], output: Value) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); ops.len() + 1];
    for (index, op) in ops.iter().enumerate() {
        readers[op.input].push(index);
        match op.kind {
            OpKind::Add { other } => readers[other].push(index),
            OpKind::Attention { k, v, .. } => [k, v].into_iter().for_each(|value| readers[value].push(index)),
            _ => {}
        }
    }
    readers[output].push(ops.len());
    readers
}

/// Which values are never made, because whatever reads them computes them from their operands as it does so:
/// normalisations, scales, a SiLU after one of them, and enlargements.
fn read_on_the_fly(ops: &[Op], readers: &[Vec<usize>], output: Value) -> Vec<bool> {
    let mut never_made = vec![false; ops.len() + 1];
    for index in (0..ops.len()).rev() {
        let value = index + 1;
        let scales = |value: Value| {
            let made_by = value.checked_sub(1).map(|index| &ops[index].kind);
            matches!(made_by, Some(OpKind::GroupNorm(_) | OpKind::Affine { .. }))
        };
        let candidate = match ops[index].kind {
            OpKind::GroupNorm(_) | OpKind::Affine { .. } => true,
            OpKind::Silu => scales(ops[index].input),
            OpKind::Upsample => true,
            _ => false,
        };
        let can_read = |&reader: &usize| match ops.get(reader).map(|op| &op.kind) {
            Some(OpKind::Conv(_) | OpKind::Upsample | OpKind::Relu | OpKind::Tanh) => true,
            Some(OpKind::Silu) => scales(value),
            Some(OpKind::GroupNorm(_) | OpKind::Affine { .. } | OpKind::Add { .. } | OpKind::Attention { .. })
            | None => false,
        };
        never_made[value] = candidate && value != output && readers[value].iter().all(can_read);
    }
    // A SiLU can only be read with its scales.
    for index in 0..ops.len() {
        if matches!(ops[index].kind, OpKind::Silu) && !never_made[ops[index].input] {
            never_made[index + 1] = false;
        }
    }
    never_made
}

struct Fuser {
    ops: Vec<Op>,
    readers: Vec<Vec<usize>>,
    read_on_the_fly: Vec<bool>,
    /// The values that a step so far makes, or that became part of another.
    made: Vec<bool>,
    steps: Steps,
    /// The number of the normalisation that an operation is, once a step reads it.
    norms: Vec<Option<usize>>,
}

impl Fuser {
    fn op(&mut self, index: usize) -> Result<(), StepsError> {
        let value = index + 1;
        if self.made[value] || self.readers[value].is_empty() {
            return Ok(());
        }
        let input = self.ops[index].input;
        match self.ops[index].kind {
            OpKind::Upsample => self.check_upsample(index),
            _ if self.read_on_the_fly[value] => Ok(()),
            OpKind::Conv(_) => {
                self.conv(index);
                Ok(())
            }
            OpKind::Attention { k, v, scale } => {
                self.push(index, value, Work::Attention { qkv: [input, k, v], scale });
                Ok(())
            }
            OpKind::Add { other } => {
                let input = self.operand(input);
                self.push(index, value, Work::Map { function: Function::Identity, input, residual: Some(other) });
                Ok(())
            }
            OpKind::Relu | OpKind::Tanh => {
                let relu = matches!(self.ops[index].kind, OpKind::Relu);
                let function = if relu { Function::Relu } else { Function::Tanh };
                let input = self.operand(input);
                self.push(index, value, Work::Map { function, input, residual: None });
                Ok(())
            }
            OpKind::GroupNorm(_) | OpKind::Affine { .. } | OpKind::Silu => {
                let input = self.operand(value);
                self.push(index, value, Work::Map { function: Function::Identity, input, residual: None });
                Ok(())
            }
        }
    }

    /// An enlargement is part of the convolutions that read it.
    fn check_upsample(&self, index: usize) -> Result<(), StepsError> {
        let value = index + 1;
        let in_convolutions = self.readers[value].iter().all(|&reader| {
            let conv = self.ops.get(reader).map(|op| &op.kind);
            matches!(conv, Some(OpKind::Conv(Conv { size: 3, stride: 1, before: 1, after: 1, .. })))
        });
        if in_convolutions {
            return Ok(());
        }
        let name = self.ops[index].name.clone();
        Err(StepsError { name, reason: "enlarges an image that other than 3x3 convolutions read" })
    }

    fn conv(&mut self, index: usize) {
        let input = self.ops[index].input;
        let enlarged = match input.checked_sub(1).map(|made_by| &self.ops[made_by]) {
            Some(Op { kind: OpKind::Upsample, input, .. }) => Some(*input),
            _ => None,
        };
        let OpKind::Conv(conv) = &mut self.ops[index].kind else { return };
        let (weight, bias) = (std::mem::take(&mut conv.weight), std::mem::take(&mut conv.bias));
        let mut conv = Convolution { conv: Conv { weight, bias, ..*conv }, upsample: enlarged.is_some() };
        let input = self.operand(enlarged.unwrap_or(input));
        let mut value = index + 1;
        let residual = self.only_reader(value).and_then(|reader| {
            let Op { input, kind: OpKind::Add { other }, .. } = self.ops[reader] else { return None };
            let residual = if input == value { other } else { input };
            // The later of two summands takes up the sum.
            let ready = self.made[residual] && residual != value;
            ready.then(|| {
                value = reader + 1;
                residual
            })
        });
        if residual.is_none()
            && let Some((scaled, scale, offset)) = self.only_scaled(value)
        {
            conv.conv.weight.iter_mut().for_each(|weight| *weight *= scale);
            conv.conv.bias.iter_mut().for_each(|bias| *bias = *bias * scale + offset);
            self.made[value] = true;
            value = scaled;
        }
        let relu = self.only_reader(value).filter(|&reader| matches!(self.ops[reader].kind, OpKind::Relu));
        if let Some(relu) = relu {
            self.made[value] = true;
            value = relu + 1;
        }
        self.push(index, value, Work::Conv { conv, input, residual, relu: relu.is_some() });
    }

    /// The operation that alone reads a value.
    fn only_reader(&self, value: Value) -> Option<usize> {
        match self.readers[value][..] {
            [reader] if reader < self.ops.len() => Some(reader),
            _ => None,
        }
    }

    /// The scale and offset, and their result, that alone read a value and that no other step takes up, if the scale is a power
    /// of two: a weight times it is not rounded.
    fn only_scaled(&self, value: Value) -> Option<(Value, f32, f32)> {
        let reader = self.only_reader(value).filter(|&reader| !self.read_on_the_fly[reader + 1])?;
        match self.ops[reader].kind {
            OpKind::Affine { scale, offset } if scale.is_normal() && scale.to_bits().trailing_zeros() >= 23 => {
                Some((reader + 1, scale, offset))
            }
            _ => None,
        }
    }

    /// How a value is read: with what is computed on the fly.
    fn operand(&mut self, value: Value) -> Operand {
        let Some(index) = value.checked_sub(1).filter(|_| !self.made[value]) else { return Operand::plain(value) };
        let Op { input, kind, .. } = &mut self.ops[index];
        let input = *input;
        match kind {
            OpKind::Silu => Operand { silu: true, ..self.operand(input) },
            OpKind::GroupNorm(norm) => {
                let count = self.steps.norms.len();
                let norm = *self.norms[index].get_or_insert_with(|| {
                    let (weight, bias) = (std::mem::take(&mut norm.weight), std::mem::take(&mut norm.bias));
                    self.steps.norms.push(GroupNorm { weight, bias, ..*norm });
                    count
                });
                Operand { affine: Some(Scales::Norm(norm)), ..Operand::plain(input) }
            }
            &mut OpKind::Affine { scale, offset } => {
                Operand { affine: Some(Scales::Fixed { scale, offset }), ..Operand::plain(input) }
            }
            _ => Operand::plain(value),
        }
    }

    /// A step named after the operation `index`, which makes `output`.
    fn push(&mut self, index: usize, output: Value, work: Work) {
        self.made[index + 1] = true;
        self.made[output] = true;
        let is_norm = |&reader: &usize| matches!(self.ops.get(reader), Some(Op { kind: OpKind::GroupNorm(_), .. }));
        let moments = matches!(work, Work::Conv { .. }) && self.readers[output].iter().any(is_norm);
        self.steps.steps.push(Step { name: self.ops[index].name.clone(), work, output, moments });
    }
}
