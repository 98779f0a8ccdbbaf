//! One step: what is read, what is computed, what is written.

use vaekit_kernels::layout::{Block, Shape, View};
use vaekit_kernels::{
    Affine, Conv2d, Conv3x3, Epilogue, GroupNorm, Io, Level, Moments, Prologue, Upsample2xConv3x3, Window, Workspace,
    attention,
};
use vaekit_onnx::ops::Value;

/// A step of a schedule, which makes one value.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) work: Work,
    pub(crate) output: Value,
    /// Whether a normalisation follows, for which the output's moments are summed as it is written.
    pub(crate) moments: bool,
}

/// What a step computes.
pub(crate) enum Work {
    Conv {
        kernel: Kernel,
        input: Operand,
        residual: Option<Value>,
        relu: bool,
    },
    /// `function(input) + residual`.
    Map {
        function: Function,
        input: Operand,
        residual: Option<Value>,
    },
    Attention {
        qkv: [Value; 3],
        scale: f32,
    },
}

/// A convolution's weights, in the form that its kernel wants.
pub(crate) enum Kernel {
    Conv3x3(Conv3x3),
    Upsample2xConv3x3(Upsample2xConv3x3),
    Conv2d(Conv2d),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Identity,
    Relu,
    Tanh,
}

/// A value, and what is done to it as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand {
    pub(crate) value: Value,
    /// A scale and a shift for each channel.
    pub(crate) affine: Option<Scales>,
    /// SiLU after them.
    pub(crate) silu: bool,
}

/// Where scales and shifts come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scales {
    /// The network's n-th normalisation.
    Norm(usize),
    /// The same for each channel.
    Fixed { scale: f32, offset: f32 },
}

/// A finished value.
pub(crate) struct Image<'a> {
    pub(crate) view: View<'a>,
    /// Where they were summed.
    pub(crate) moments: Option<&'a Moments>,
}

/// What every step needs.
pub(crate) struct Context<'a> {
    pub(crate) level: Level,
    pub(crate) norms: &'a [GroupNorm],
    pub(crate) workspace: &'a Workspace,
}

impl Operand {
    pub(crate) fn plain(value: Value) -> Self {
        Operand { value, affine: None, silu: false }
    }

    fn affine(&self, context: &Context<'_>, image: &Image<'_>) -> Option<Affine> {
        let channels = image.view.shape().channels;
        match self.affine {
            Some(Scales::Norm(norm)) => {
                let norm = &context.norms[norm];
                Some(match image.moments {
                    Some(moments) => norm.affine(moments),
                    None => norm.affine(&Moments::of(context.level, image.view)),
                })
            }
            Some(Scales::Fixed { scale, offset }) => Some(Affine::new(&vec![scale; channels], &vec![offset; channels])),
            None if self.silu => Some(Affine::new(&vec![1.0; channels], &vec![0.0; channels])),
            None => None,
        }
    }
}

impl Work {
    /// The values that are read.
    pub(crate) fn reads(&self) -> impl Iterator<Item = Value> {
        let (first, second, third) = match self {
            Work::Conv { input, residual, .. } | Work::Map { input, residual, .. } => (input.value, *residual, None),
            Work::Attention { qkv: [q, k, v], .. } => (*q, Some(*k), Some(*v)),
        };
        [Some(first), second, third].into_iter().flatten()
    }

    /// The kernel's name, for profiles.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Work::Conv { kernel: Kernel::Conv3x3(_), .. } => "conv 3x3",
            Work::Conv { kernel: Kernel::Upsample2xConv3x3(_), .. } => "upsample 2x and conv 3x3",
            Work::Conv { kernel: Kernel::Conv2d(conv), .. } => match conv.window() {
                Window { size: 1, .. } => "conv 1x1",
                Window { stride: 2, .. } => "conv 3x3 stride 2",
                _ => "conv 3x3 direct",
            },
            Work::Map { .. } => "pointwise",
            Work::Attention { .. } => "attention",
        }
    }

    /// The output's shape, for a first operand of this shape.
    pub(crate) fn output(&self, input: Shape) -> Shape {
        match self {
            Work::Conv { kernel, .. } => kernel.output(input),
            Work::Map { .. } | Work::Attention { .. } => input,
        }
    }

    /// Multiply-adds as a direct evaluation would take them; saturates.
    pub(crate) fn macs(&self, input: Shape) -> u64 {
        let factors = match self {
            Work::Conv { kernel, .. } => {
                let output = kernel.output(input);
                [kernel.taps(), input.channels, output.channels, output.pixels()]
            }
            Work::Map { .. } => [1, 1, input.channels, input.pixels()],
            Work::Attention { .. } => [2, input.channels, input.pixels(), input.pixels()],
        };
        factors.into_iter().fold(1, |product: u64, factor| product.saturating_mul(factor as u64))
    }

    /// Computes; `image` gives the values that [`reads`](Self::reads) names.
    pub(crate) fn run<'a>(
        &self,
        context: &Context<'_>,
        image: impl Fn(Value) -> Image<'a>,
        out: &mut [Block],
        moments: Option<&mut Moments>,
    ) {
        let Context { level, workspace, .. } = *context;
        match self {
            Work::Conv { kernel, input, residual, relu } => {
                let x = image(input.value);
                let affine = input.affine(context, &x);
                let residual = residual.map(|value| image(value).view);
                let epilogue = Epilogue { residual, relu: *relu };
                let io = Io { input: x.view, prologue: prologue(affine.as_ref(), input.silu), epilogue };
                kernel.run(io, out, moments, workspace);
            }
            Work::Map { function, input, residual } => {
                let x = image(input.value);
                let affine = input.affine(context, &x);
                prologue(affine.as_ref(), input.silu).apply(level, x.view, out);
                let residual = residual.map(|value| image(value).view);
                map(*function, x.view.shape(), residual, out);
            }
            Work::Attention { qkv, scale } => {
                attention(level, *scale, qkv.map(|value| image(value).view), out, workspace);
            }
        }
    }
}

fn prologue(affine: Option<&Affine>, silu: bool) -> Prologue<'_> {
    match affine {
        Some(affine) if silu => Prologue::AffineSilu(affine),
        Some(affine) => Prologue::Affine(affine),
        None => Prologue::Identity,
    }
}

/// For the few places where no convolution does it; lanes past the last channel stay 0.
fn map(function: Function, shape: Shape, residual: Option<View<'_>>, out: &mut [Block]) {
    let apply: fn(f32) -> f32 = match function {
        Function::Identity => |x| x,
        // Keeps NaN.
        Function::Relu => |x| if x < 0.0 { 0.0 } else { x },
        Function::Tanh => f32::tanh,
    };
    for (plane, out) in out.chunks_mut(shape.pixels().max(1)).enumerate() {
        if function != Function::Identity {
            out.iter_mut().flat_map(|block| &mut block.0).for_each(|x| *x = apply(*x));
        }
        if let Some(residual) = residual {
            for (out, residual) in out.iter_mut().zip(residual.plane(plane)) {
                out.0.iter_mut().zip(residual.0).for_each(|(out, residual)| *out += residual);
            }
        }
    }
}

impl Kernel {
    fn output(&self, input: Shape) -> Shape {
        match self {
            Kernel::Conv3x3(conv) => conv.output(input),
            Kernel::Upsample2xConv3x3(conv) => conv.output(input),
            Kernel::Conv2d(conv) => conv.output(input),
        }
    }

    /// Taps of the convolution that is computed, however it is.
    fn taps(&self) -> usize {
        match self {
            Kernel::Conv3x3(_) | Kernel::Upsample2xConv3x3(_) => 9,
            Kernel::Conv2d(conv) => conv.window().size * conv.window().size,
        }
    }

    fn run(&self, io: Io<'_>, out: &mut [Block], moments: Option<&mut Moments>, workspace: &Workspace) {
        match self {
            Kernel::Conv3x3(conv) => conv.run(io, out, moments, workspace),
            Kernel::Upsample2xConv3x3(conv) => conv.run(io, out, moments, workspace),
            Kernel::Conv2d(conv) => conv.run(io, out, moments, workspace),
        }
    }
}
