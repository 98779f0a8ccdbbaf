//! The kernels: WGSL text, a twin on the CPU, and how much there is to dispatch, each as plain data.
//!
//! A kernel is a value: what its text depends on. Sizes come in a uniform. Its bindings are the uniform, then arrays that
//! are read, then one that is written. A twin computes what a dispatch computes, on the same arrays and the same uniform,
//! as simply as can be; tests and the [probe](crate::probe) compare the two.

mod case;
mod cases;
mod conv;
mod map;
mod norm;
mod softmax;
mod text;
mod weights;
mod winograd;

pub(crate) use text::image_head;

use crate::layout::Storage;
use crate::plan::Capabilities;

pub use case::{Case, GUARD};
pub use conv::{Conv, ConvParams, Tile, TileSize, Weights};
pub use map::{Map, MapParams};
pub use norm::{Merge, MergeParams, Moments, MomentsParams};
pub use softmax::{Softmax, SoftmaxParams};
pub use weights::{fold_upsample, pack_weights};
pub use winograd::{Filters, FiltersParams, Inputs, Outputs, POINTS, TILE, TilesParams};

/// A kernel, as far as its text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Convolutions, and products of matrices as convolutions of one tap.
    Conv(Conv),
    /// A function of each value.
    Map(Map),
    /// Mean and squared deviations of pieces of each channel.
    Moments(Moments),
    /// Those pieces merged to a scale and a shift for each channel.
    Merge(Merge),
    /// Scores of an attention to weights.
    Softmax(Softmax),
    /// Winograd: weights to points.
    Filters(Filters),
    /// Winograd: tiles to points.
    Inputs(Inputs),
    /// Winograd: points to outputs.
    Outputs(Outputs),
}

/// What is done to a value as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    /// Nothing.
    Plain,
    /// Scale and shift of its channel.
    Affine,
    /// SiLU after them.
    AffineSilu,
}

/// Words of a uniform.
pub const UNIFORM_WORDS: usize = 24;

/// A kernel's parameters as they are in the uniform buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uniform(pub [u32; UNIFORM_WORDS]);

impl Uniform {
    /// Of a kernel's parameters.
    pub fn new<P: bytemuck::Pod>(params: &P) -> Self {
        let mut words = [0; UNIFORM_WORDS];
        let params: &[u32] = bytemuck::cast_slice(bytemuck::bytes_of(params));
        words[..params.len()].copy_from_slice(params);
        Uniform(words)
    }

    /// A kernel's parameters.
    pub fn params<P: bytemuck::Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(&bytemuck::bytes_of(&self.0)[..size_of::<P>()])
    }
}

impl Kernel {
    /// For people.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Conv(conv) => conv.name(),
            Kernel::Map(_) => "map",
            Kernel::Moments(_) => "moments",
            Kernel::Merge(_) => "merge",
            Kernel::Softmax(_) => "softmax",
            Kernel::Filters(_) => "filters to points",
            Kernel::Inputs(_) => "tiles to points",
            Kernel::Outputs(_) => "points to outputs",
        }
    }

    /// Whether a device has the threads and the memory that a workgroup takes; all but the convolutions' are small.
    pub fn fits(&self, capabilities: &Capabilities) -> bool {
        match self {
            Kernel::Conv(conv) => conv.fits(capabilities),
            _ => true,
        }
    }

    /// The shader, whose entry point is `main`.
    pub fn wgsl(&self) -> String {
        match self {
            Kernel::Conv(kernel) => kernel.wgsl(),
            Kernel::Map(kernel) => kernel.wgsl(),
            Kernel::Moments(kernel) => kernel.wgsl(),
            Kernel::Merge(kernel) => kernel.wgsl(),
            Kernel::Softmax(kernel) => kernel.wgsl(),
            Kernel::Filters(kernel) => kernel.wgsl(),
            Kernel::Inputs(kernel) => kernel.wgsl(),
            Kernel::Outputs(kernel) => kernel.wgsl(),
        }
    }

    /// What is bound after the uniform; the last is written.
    pub fn bindings(&self) -> Vec<Storage> {
        match self {
            Kernel::Conv(kernel) => kernel.bindings(),
            Kernel::Map(kernel) => kernel.bindings(),
            Kernel::Moments(kernel) => kernel.bindings(),
            Kernel::Merge(kernel) => kernel.bindings(),
            Kernel::Softmax(kernel) => kernel.bindings(),
            Kernel::Filters(kernel) => kernel.bindings(),
            Kernel::Inputs(kernel) => kernel.bindings(),
            Kernel::Outputs(kernel) => kernel.bindings(),
        }
    }

    /// Computes what a dispatch with this uniform computes; `arrays` are the lanes of what is read.
    pub fn twin(&self, uniform: &Uniform, arrays: &[&[f32]], out: &mut [f32]) {
        match self {
            Kernel::Conv(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Map(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Moments(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Merge(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Softmax(kernel) => kernel.twin(&uniform.params(), out),
            Kernel::Filters(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Inputs(kernel) => kernel.twin(&uniform.params(), arrays, out),
            Kernel::Outputs(kernel) => kernel.twin(&uniform.params(), arrays, out),
        }
    }
}

/// `x * sigmoid(x)`.
fn silu(x: f32) -> f32 {
    x / (1.0 + (-x.max(-80.0)).exp())
}

/// Negative values become 0; NaN stays.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// What a prologue makes of a lane, with the scales and shifts of all `planes`.
fn apply(prologue: Prologue, scales: &[f32], planes: usize, channel: usize, x: f32) -> f32 {
    let affine = || x * scales[channel] + scales[planes * crate::layout::LANES + channel];
    match prologue {
        Prologue::Plain => x,
        Prologue::Affine => affine(),
        Prologue::AffineSilu => silu(affine()),
    }
}
