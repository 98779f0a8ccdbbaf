//! A model as steps whose weights are with the device.

use vaekit_onnx::ops::{Convolution, Ops, Scales, Step, Steps, StepsError, Work};

use crate::kernels::{fold_upsample, pack_weights};
use crate::layout::{LANES, Shape, pack_channels};

/// A network without its weights, which are constants by number.
#[derive(Debug)]
pub struct Network {
    /// The steps.
    pub steps: Steps<Layer>,
    /// Bytes of each constant.
    pub constants: Vec<u64>,
    /// The constant of each normalisation: weights, then biases, each filled up to whole vectors.
    pub norms: Vec<usize>,
    /// The constant of each step's fixed scales and shifts, where it has some.
    pub fixed: Vec<Option<usize>>,
}

/// A convolution without its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Taps along a side.
    pub size: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows of zeros above, columns to the left.
    pub before: usize,
    /// Rows of zeros below, columns to the right.
    pub after: usize,
    /// Whether the input is enlarged before.
    pub upsample: bool,
    /// The constant that its biases and weights are.
    pub weights: usize,
}

impl Layer {
    /// The shape of the output.
    pub fn output(&self, input: Shape) -> Shape {
        let side = |input: usize| {
            let input = if self.upsample { input.saturating_mul(2) } else { input };
            let padded = input.saturating_add(self.before + self.after);
            if padded < self.size { 0 } else { (padded - self.size) / self.stride + 1 }
        };
        Shape::new(self.outputs, side(input.height), side(input.width))
    }
}

impl Network {
    /// Fuses a network's operations; `upload` gets each constant in its turn, before the next is packed, so that beside the
    /// model no more than one tensor is held.
    ///
    /// # Errors
    /// [`StepsError`] for operations in an order that no step can do.
    pub fn new(ops: Ops, mut upload: impl FnMut(Vec<f32>)) -> Result<Self, StepsError> {
        let mut constants = Vec::new();
        let mut keep = |values: Vec<f32>| {
            constants.push(4 * values.len() as u64);
            upload(values);
            constants.len() - 1
        };
        let mut steps = Steps::fuse(ops)?;
        let norms = std::mem::take(&mut steps.norms).into_iter().map(|norm| {
            let mut values = pack_channels(&norm.weight);
            values.extend(pack_channels(&norm.bias));
            steps.norms.push(vaekit_onnx::ops::GroupNorm { weight: Vec::new(), bias: Vec::new(), ..norm });
            keep(values)
        });
        let norms = norms.collect();
        let fixed = steps.steps.iter().map(|step| Some(keep(fixed_scales(step, &steps.channels)?))).collect();
        let steps = steps.convert(|Convolution { conv, upsample }| {
            let values = if upsample {
                pack_weights(&fold_upsample(&conv.weight), &conv.bias, conv.inputs, 4)
            } else {
                let taps = conv.size * conv.size;
                pack_weights(std::slice::from_ref(&conv.weight), &conv.bias, conv.inputs, taps)
            };
            let vaekit_onnx::ops::Conv { inputs, size, stride, before, after, bias, .. } = conv;
            Layer { inputs, outputs: bias.len(), size, stride, before, after, upsample, weights: keep(values) }
        });
        Ok(Network { steps, constants, norms, fixed })
    }
}

/// The scales and shifts of what a step reads where they are the same for each channel; lanes past the last stay 0.
fn fixed_scales(step: &Step, channels: &[usize]) -> Option<Vec<f32>> {
    let (Work::Conv { input, .. } | Work::Map { input, .. }) = &step.work else { return None };
    let (scale, offset) = match input.affine {
        Some(Scales::Fixed { scale, offset }) => (scale, offset),
        None if input.silu => (1.0, 0.0),
        Some(Scales::Norm(_)) | None => return None,
    };
    let channels = channels[input.value];
    let lanes = channels.next_multiple_of(LANES);
    let mut values = vec![0.0; 2 * lanes];
    values[..channels].fill(scale);
    values[lanes..][..channels].fill(offset);
    Some(values)
}
