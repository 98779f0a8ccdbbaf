//! Which operations become one step, so that between two convolutions an image is written once and read once.

use vaekit_kernels::{Conv2d, Conv3x3, GroupNorm, Level, Upsample2xConv3x3, Window};
use vaekit_onnx::ops::{Conv, Op, OpKind, Ops, Value};

use crate::step::{Function, Kernel, Operand, Scales, Step, Work};

/// The steps of a network, in order.
pub(crate) struct Schedule {
    pub(crate) steps: Vec<Step>,
    pub(crate) norms: Vec<GroupNorm>,
    /// Channels of every value.
    pub(crate) channels: Vec<usize>,
    pub(crate) output: Value,
}

/// Operations that no step can do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("operation `{name}` {reason}")]
pub(crate) struct ScheduleError {
    name: String,
    reason: &'static str,
}

/// Networks whose transformed filters take no more bytes than this keep them; others transform them at each run.
const KEPT: usize = 64 << 20;

/// Fuses the operations of a network.
pub(crate) fn schedule(level: Level, ops: Ops) -> Result<Schedule, ScheduleError> {
    let Ops { ops, channels, output } = ops;
    let readers = readers(&ops, output);
    let read_on_the_fly = read_on_the_fly(&ops, &readers, output);
    let mut made = vec![false; channels.len()];
    made[0] = true;
    let schedule = Schedule { steps: Vec::new(), norms: Vec::new(), channels, output };
    let keep = transformed_bytes(&ops) <= KEPT;
    let mut scheduler = Scheduler { level, keep, ops, readers, read_on_the_fly, made, schedule };
    for index in 0..scheduler.ops.len() {
        scheduler.op(index)?;
    }
    Ok(scheduler.schedule)
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

/// Bytes of all filters, transformed: a 3x3 filter has 36 points, and four times as many where it enlarges.
fn transformed_bytes(ops: &[Op]) -> usize {
    let enlarges =
        |op: &Op| op.input.checked_sub(1).is_some_and(|made_by| matches!(ops[made_by].kind, OpKind::Upsample));
    let of_op = |op: &Op| match &op.kind {
        OpKind::Conv(Conv { weight, size: 3, .. }) => weight.len() / 9 * 36 * if enlarges(op) { 4 } else { 1 },
        _ => 0,
    };
    ops.iter().map(of_op).sum::<usize>() * size_of::<f32>()
}

struct Scheduler {
    level: Level,
    /// Whether transformed filters are kept.
    keep: bool,
    ops: Vec<Op>,
    readers: Vec<Vec<usize>>,
    read_on_the_fly: Vec<bool>,
    /// The values that a step so far makes, or that became part of another.
    made: Vec<bool>,
    schedule: Schedule,
}

impl Scheduler {
    fn op(&mut self, index: usize) -> Result<(), ScheduleError> {
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
    fn check_upsample(&self, index: usize) -> Result<(), ScheduleError> {
        let value = index + 1;
        let in_convolutions = self.readers[value].iter().all(|&reader| {
            let conv = self.ops.get(reader).map(|op| &op.kind);
            matches!(conv, Some(OpKind::Conv(Conv { size: 3, stride: 1, before: 1, after: 1, .. })))
        });
        if in_convolutions {
            return Ok(());
        }
        let name = self.ops[index].name.clone();
        Err(ScheduleError { name, reason: "enlarges an image that other than 3x3 convolutions read" })
    }

    fn conv(&mut self, index: usize) {
        let input = self.ops[index].input;
        let enlarged = match input.checked_sub(1).map(|made_by| &self.ops[made_by]) {
            Some(Op { kind: OpKind::Upsample, input, .. }) => Some(*input),
            _ => None,
        };
        let OpKind::Conv(conv) = &mut self.ops[index].kind else { return };
        // The weight goes where the kernel keeps it.
        let weight = std::mem::take(&mut conv.weight);
        let Conv { ref bias, inputs, size, stride, before, after, .. } = *conv;
        let window = Window { size, stride, before, after };
        let kernel = match (enlarged, window) {
            (Some(_), _) => {
                let mut conv = Upsample2xConv3x3::new(self.level, &weight, bias, inputs);
                if self.keep {
                    conv.keep_transformed();
                }
                Kernel::Upsample2xConv3x3(conv)
            }
            (None, Window::SAME) => {
                let mut conv = Conv3x3::new(self.level, &weight, bias, inputs);
                if self.keep {
                    conv.keep_transformed();
                }
                Kernel::Conv3x3(conv)
            }
            _ => Kernel::Conv2d(Conv2d::new(self.level, window, &weight, bias, inputs)),
        };
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
        let relu = self.only_reader(value).filter(|&reader| matches!(self.ops[reader].kind, OpKind::Relu));
        if let Some(relu) = relu {
            self.made[value] = true;
            value = relu + 1;
        }
        self.push(index, value, Work::Conv { kernel, input, residual, relu: relu.is_some() });
    }

    /// The operation that alone reads a value.
    fn only_reader(&self, value: Value) -> Option<usize> {
        match self.readers[value][..] {
            [reader] if reader < self.ops.len() => Some(reader),
            _ => None,
        }
    }

    /// How a value is read: with what is computed on the fly.
    fn operand(&mut self, value: Value) -> Operand {
        let Some(index) = value.checked_sub(1).filter(|_| !self.made[value]) else { return Operand::plain(value) };
        let Op { input, kind, .. } = &self.ops[index];
        match *kind {
            OpKind::Silu => Operand { silu: true, ..self.operand(*input) },
            OpKind::GroupNorm(ref norm) => {
                let norm = GroupNorm::new(norm.groups, norm.epsilon, &norm.weight, &norm.bias);
                self.schedule.norms.push(norm);
                Operand { affine: Some(Scales::Norm(self.schedule.norms.len() - 1)), ..Operand::plain(*input) }
            }
            OpKind::Affine { scale, offset } => {
                Operand { affine: Some(Scales::Fixed { scale, offset }), ..Operand::plain(*input) }
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
        self.schedule.steps.push(Step { name: self.ops[index].name.clone(), work, output, moments });
    }
}
