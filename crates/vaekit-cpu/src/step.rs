//! One step: what is read, what is computed, what is written.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use vaekit::{Piece, Statistics, Sums};
use vaekit_kernels::layout::{Block, Shape, View};
use vaekit_kernels::{
    Affine, Conv2d, Conv3x3, Epilogue, GroupNorm, GroupSums, Io, Level, Moments, Need, Prologue, Upsample2xConv3x3,
    Window, Workspace, attention, attention_blocks, attention_need,
};
use vaekit_onnx::ops::{Function, Operand, Scales, Value, Work};

/// A convolution's weights, in the form that its kernel wants.
pub(crate) enum Kernel {
    Conv3x3(Conv3x3),
    Upsample2xConv3x3(Upsample2xConv3x3),
    Conv2d(Conv2d),
}

/// A finished value.
pub(crate) struct Image<'a> {
    pub(crate) view: View<'a>,
    /// Where they were summed.
    pub(crate) moments: Option<&'a Moments>,
}

impl Image<'_> {
    /// What a normalisation sees of all of it.
    fn groups(&self, level: Level, norm: &GroupNorm) -> Vec<GroupSums> {
        match self.moments {
            Some(moments) => norm.groups(moments),
            None => norm.groups(&Moments::of(level, self.view)),
        }
    }
}

/// What every step needs.
pub(crate) struct Context<'a> {
    pub(crate) level: Level,
    pub(crate) norms: &'a [GroupNorm],
    pub(crate) workspace: &'a Workspace,
    /// Where an image is a piece of a larger one.
    pub(crate) watched: Option<&'a Watched<'a>>,
}

/// A piece, and what its normalisations saw, see [`vaekit::Piecewise`].
pub(crate) struct Watched<'a> {
    pub(crate) piece: &'a Piece<'a>,
    pub(crate) found: Mutex<Statistics>,
}

impl Watched<'_> {
    /// What a normalisation of an image goes by.
    fn groups(&self, context: &Context<'_>, norm: usize, image: &Image<'_>) -> Vec<GroupSums> {
        let given = self.piece.given.and_then(|given| given.norms.get(norm));
        let group_norm = &context.norms[norm];
        let found = match given {
            Some(_) => {
                let [rows, columns] = self.piece.own_of([image.view.shape().height, image.view.shape().width]);
                group_norm.groups(&Moments::of_region(context.level, image.view, rows, columns))
            }
            None => image.groups(context.level, group_norm),
        };
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.norms.len().max(norm + 1);
        all.norms.resize_with(count, Vec::new);
        all.norms[norm] = found.iter().map(|&GroupSums { count, sum, squares }| Sums { count, sum, squares }).collect();
        match given {
            Some(given) => {
                given.iter().map(|&Sums { count, sum, squares }| GroupSums { count, sum, squares }).collect()
            }
            None => found,
        }
    }
}

/// What is done to an image as it is read.
fn affine(operand: &Operand, context: &Context<'_>, image: &Image<'_>) -> Option<Affine> {
    let channels = image.view.shape().channels;
    match operand.affine {
        Some(Scales::Norm(norm)) => {
            let group_norm = &context.norms[norm];
            let groups = match context.watched {
                Some(watched) => watched.groups(context, norm, image),
                None => image.groups(context.level, group_norm),
            };
            Some(group_norm.affine_of(&groups))
        }
        Some(Scales::Fixed { scale, offset }) => Some(Affine::new(&vec![scale; channels], &vec![offset; channels])),
        None if operand.silu => Some(Affine::new(&vec![1.0; channels], &vec![0.0; channels])),
        None => None,
    }
}

/// What a step computes, and how much.
pub(crate) trait Compute {
    /// The kernel's name, for profiles.
    fn kind(&self) -> &'static str;

    /// The output's shape, for a first operand of this shape.
    fn output(&self, input: Shape) -> Shape;

    /// Multiply-adds as a direct evaluation would take them, for operands of these shapes; saturates.
    fn macs(&self, operands: &[Shape]) -> u64;

    /// What it takes from the workspace on so many threads, for a first operand of this shape.
    fn need(&self, input: Shape, threads: usize) -> Need;

    /// Blocks that it works in besides, for operands of these shapes.
    fn works_in(&self, level: Level, operands: &[Shape]) -> usize;

    /// Computes; `image` gives the values that [`reads`](Work::reads) names, `working` is as long as
    /// [`works_in`](Self::works_in) says.
    fn run<'a>(
        &self,
        context: &Context<'_>,
        image: impl Fn(Value) -> Image<'a>,
        working: &mut [Block],
        out: &mut [Block],
        moments: Option<&mut Moments>,
    );
}

impl Compute for Work<Kernel> {
    fn kind(&self) -> &'static str {
        match self {
            Work::Conv { conv: Kernel::Conv3x3(_), .. } => "conv 3x3",
            Work::Conv { conv: Kernel::Upsample2xConv3x3(_), .. } => "upsample 2x and conv 3x3",
            Work::Conv { conv: Kernel::Conv2d(conv), .. } => match conv.window() {
                Window { size: 1, .. } => "conv 1x1",
                Window { stride: 2, .. } => "conv 3x3 stride 2",
                _ => "conv 3x3 direct",
            },
            Work::Map { .. } => "pointwise",
            Work::Attention { .. } => "attention",
        }
    }

    fn output(&self, input: Shape) -> Shape {
        match self {
            Work::Conv { conv, .. } => conv.output(input),
            Work::Map { .. } | Work::Attention { .. } => input,
        }
    }

    fn macs(&self, operands: &[Shape]) -> u64 {
        let input = operands[0];
        let factors = match self {
            Work::Conv { conv, .. } => {
                let output = conv.output(input);
                [conv.taps(), input.channels, output.channels, output.pixels()]
            }
            Work::Map { .. } => [1, 1, input.channels, input.pixels()],
            Work::Attention { .. } => [2, input.channels, input.pixels(), operands[1].pixels()],
        };
        factors.into_iter().fold(1, |product: u64, factor| product.saturating_mul(factor as u64))
    }

    fn need(&self, input: Shape, threads: usize) -> Need {
        match self {
            Work::Conv { conv, .. } => conv.need(input, threads),
            Work::Map { .. } => Need::default(),
            Work::Attention { .. } => attention_need(),
        }
    }

    fn works_in(&self, level: Level, operands: &[Shape]) -> usize {
        match self {
            Work::Conv { .. } | Work::Map { .. } => 0,
            Work::Attention { .. } => attention_blocks(level, operands[1]),
        }
    }

    fn run<'a>(
        &self,
        context: &Context<'_>,
        image: impl Fn(Value) -> Image<'a>,
        working: &mut [Block],
        out: &mut [Block],
        moments: Option<&mut Moments>,
    ) {
        let Context { level, workspace, .. } = *context;
        match self {
            Work::Conv { conv, input, residual, relu } => {
                let x = image(input.value);
                let affine = affine(input, context, &x);
                let residual = residual.map(|value| image(value).view);
                let epilogue = Epilogue { residual, relu: *relu };
                let io = Io { input: x.view, prologue: prologue(affine.as_ref(), input.silu), epilogue };
                conv.run(io, out, moments, workspace);
            }
            Work::Map { function, input, residual } => {
                let x = image(input.value);
                let affine = affine(input, context, &x);
                prologue(affine.as_ref(), input.silu).apply(level, x.view, out);
                let residual = residual.map(|value| image(value).view);
                map(*function, x.view.shape(), residual, out);
            }
            Work::Attention { qkv, scale } => {
                attention(level, *scale, qkv.map(|value| image(value).view), out, working, workspace);
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
    const PIXELS: usize = 4096;
    let apply: fn(f32) -> f32 = match function {
        Function::Identity => |x| x,
        // Keeps NaN.
        Function::Relu => |x| if x < 0.0 { 0.0 } else { x },
        Function::Tanh => f32::tanh,
    };
    for (plane, out) in out.chunks_mut(shape.pixels().max(1)).enumerate() {
        if function != Function::Identity {
            let all = |blocks: &mut [Block]| blocks.iter_mut().flat_map(|b| &mut b.0).for_each(|x| *x = apply(*x));
            out.par_chunks_mut(PIXELS).for_each(all);
        }
        if let Some(residual) = residual {
            out.par_chunks_mut(PIXELS).zip(residual.plane(plane).par_chunks(PIXELS)).for_each(|(out, residual)| {
                for (out, residual) in out.iter_mut().zip(residual) {
                    out.0.iter_mut().zip(residual.0).for_each(|(out, residual)| *out += residual);
                }
            });
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

    fn need(&self, input: Shape, threads: usize) -> Need {
        match self {
            Kernel::Conv3x3(conv) => conv.need(input, threads),
            Kernel::Upsample2xConv3x3(conv) => conv.need(input, threads),
            Kernel::Conv2d(conv) => conv.need(input),
        }
    }

    /// Bytes of weights held.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Kernel::Conv3x3(conv) => conv.bytes(),
            Kernel::Upsample2xConv3x3(conv) => conv.bytes(),
            Kernel::Conv2d(conv) => conv.bytes(),
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
