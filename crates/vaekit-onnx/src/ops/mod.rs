//! A model.onnx as the few operations that VAEs are made of, for engines of vaekit's own.
//!
//! Exporters write a group normalisation as six nodes and an attention as a dozen. [`Ops::read`] recognises those groups and
//! gives the operations, checked, with their weights in f32; whatever else is in a graph is refused by its node's name.

mod document;
mod recognise;
mod steps;
#[cfg(test)]
mod tests;

use std::io::{Read, Seek};

pub use steps::{Convolution, Function, Operand, Scales, Step, Steps, StepsError, Work};

use crate::walk::{InspectError, Reason};

/// A network as operations in the order in which they run.
///
/// Operation i makes value i + 1; value 0 is the input. Every value is an image `[N, C, H, W]` in f32.
#[derive(Debug)]
pub struct Ops {
    /// The operations; the operands of each are made before it.
    pub ops: Vec<Op>,
    /// Channels of every value.
    pub channels: Vec<usize>,
    /// The value that is the network's output.
    pub output: Value,
}

/// A value by number, see [`Ops`].
pub type Value = usize;

/// One operation.
#[derive(Debug)]
pub struct Op {
    /// The name of the last of its nodes.
    pub name: String,
    /// The first operand.
    pub input: Value,
    /// What is done.
    pub kind: OpKind,
}

/// What an operation does to its input x.
#[derive(Debug)]
pub enum OpKind {
    /// A convolution.
    Conv(Conv),
    /// A group normalisation.
    GroupNorm(GroupNorm),
    /// `x * sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `tanh(x)`.
    Tanh,
    /// `x * scale + offset`.
    Affine {
        /// Factor.
        scale: f32,
        /// Added after the factor.
        offset: f32,
    },
    /// Nearest neighbour, twice the size.
    Upsample,
    /// `x + other`, of one shape.
    Add {
        /// The other operand.
        other: Value,
    },
    /// `softmax(x k^T * scale) v` over positions, x being the queries.
    Attention {
        /// Keys.
        k: Value,
        /// Values.
        v: Value,
        /// Factor of the scores.
        scale: f32,
    },
}

/// A square convolution.
#[derive(Debug)]
pub struct Conv {
    /// `[out, in, size, size]` in row order.
    pub weight: Vec<f32>,
    /// `[out]`.
    pub bias: Vec<f32>,
    /// Channels in.
    pub inputs: usize,
    /// Taps along a side.
    pub size: usize,
    /// Input pixels from one output to the next.
    pub stride: usize,
    /// Rows of zeros above, columns of zeros to the left.
    pub before: usize,
    /// Rows of zeros below, columns of zeros to the right.
    pub after: usize,
}

/// A group normalisation with biased variance.
#[derive(Debug)]
pub struct GroupNorm {
    /// Equal ranges of channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// `[channels]`.
    pub weight: Vec<f32>,
    /// `[channels]`.
    pub bias: Vec<f32>,
}

/// Why a model was not read as operations.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The file cannot be read or is no ONNX model.
    #[error(transparent)]
    Read(#[from] InspectError),
    /// A tensor whose bytes are not those of its shape.
    #[error("tensor `{tensor}` {reason}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that is stored as ONNX lets it and no exporter of VAEs does.
    #[error("tensor `{tensor}` {reason}, which is not read")]
    Storage {
        /// Its name.
        tensor: String,
        /// How it is stored.
        reason: String,
    },
    /// Something that is none of the operations.
    #[error("node `{node}` ({operator}) {reason}")]
    Unsupported {
        /// The node's name, or that of its output.
        node: String,
        /// Its operator.
        operator: String,
        /// What is unlike a VAE.
        reason: String,
    },
    /// Not one image in and one out.
    #[error("the graph has {found}, expected one input [N, C, H, W] and one output")]
    Interface {
        /// What it has.
        found: String,
    },
}

impl OpsError {
    /// Whether the model is in order as far as can be told, and an engine that knows more of ONNX may run it.
    pub fn is_unsupported(&self) -> bool {
        match self {
            OpsError::Unsupported { .. } | OpsError::Interface { .. } | OpsError::Storage { .. } => true,
            OpsError::Read(_) | OpsError::Tensor { .. } => false,
        }
    }
}

impl From<Reason> for OpsError {
    fn from(reason: Reason) -> Self {
        OpsError::Read(reason.into())
    }
}

impl Ops {
    /// Reads a model, f32 or f16 inside; weights become f32. Takes memory for the weights once, and for copies of those that
    /// several nodes read. Channels of the input that the graph leaves open are those that its first convolution takes.
    ///
    /// # Errors
    /// [`OpsError`]; no bytes make it panic. Copies take no more memory than the file has bytes, so that all of it is at most
    /// twice the file, three times if its weights are f16, besides some tens of megabytes for as many names as are read.
    pub fn read(reader: impl Read + Seek) -> Result<Self, OpsError> {
        recognise::recognise(document::read(reader)?)
    }
}
