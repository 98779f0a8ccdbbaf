//! A network's steps with their convolutions in the form that the kernels want.

use vaekit_kernels::{Conv2d, Conv3x3, GroupNorm, Level, Upsample2xConv3x3, Window};
use vaekit_onnx::ops::{Convolution, Ops, Step, Steps, StepsError, Work};

use crate::step::Kernel;

/// The steps of a network, in order.
pub(crate) struct Schedule {
    pub(crate) network: Steps<Kernel>,
    pub(crate) norms: Vec<GroupNorm>,
}

impl Schedule {
    /// Bytes of weights held.
    pub(crate) fn bytes(&self) -> usize {
        let of_step = |step: &Step<Kernel>| match &step.work {
            Work::Conv { conv, .. } => conv.bytes(),
            Work::Map { .. } | Work::Attention { .. } => 0,
        };
        self.network.steps.iter().map(of_step).sum()
    }
}

/// Networks whose transformed filters take no more bytes than this keep them; others transform them at each run.
const KEPT: usize = 64 << 20;

/// Fuses the operations of a network and packs its weights.
pub(crate) fn schedule(level: Level, ops: Ops) -> Result<Schedule, StepsError> {
    let mut steps = Steps::fuse(ops)?;
    let keep = steps.steps.iter().map(transformed_bytes).sum::<usize>() <= KEPT;
    let norms = std::mem::take(&mut steps.norms);
    let norms = norms.iter().map(|norm| GroupNorm::new(norm.groups, norm.epsilon, &norm.weight, &norm.bias));
    Ok(Schedule { norms: norms.collect(), network: steps.convert(|conv| kernel(level, keep, conv)) })
}

/// Bytes of a step's filters, transformed: a 3x3 filter has 36 points, and four times as many where it enlarges.
fn transformed_bytes(step: &Step) -> usize {
    match &step.work {
        Work::Conv { conv: Convolution { conv, upsample }, .. } if conv.size == 3 => {
            conv.weight.len() / 9 * 36 * if *upsample { 4 } else { 1 } * size_of::<f32>()
        }
        _ => 0,
    }
}

fn kernel(level: Level, keep: bool, Convolution { conv, upsample }: Convolution) -> Kernel {
    let window = Window { size: conv.size, stride: conv.stride, before: conv.before, after: conv.after };
    let (weight, bias, inputs) = (&conv.weight, &conv.bias, conv.inputs);
    match window {
        Window::SAME if upsample => {
            let mut conv = Upsample2xConv3x3::new(level, weight, bias, inputs);
            if keep {
                conv.keep_transformed();
            }
            Kernel::Upsample2xConv3x3(conv)
        }
        Window::SAME => {
            let mut conv = Conv3x3::new(level, weight, bias, inputs);
            if keep {
                conv.keep_transformed();
            }
            Kernel::Conv3x3(conv)
        }
        _ => Kernel::Conv2d(Conv2d::new(level, window, weight, bias, inputs)),
    }
}
