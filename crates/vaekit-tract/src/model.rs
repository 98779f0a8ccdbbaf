//! From the bytes of an ONNX file to a model that tract can plan.

use prost::Message;
use tract_onnx::{
    pb::ModelProto,
    prelude::*,
    tract_hir::internal::{DimLike, Factoid},
};

use crate::{graph::prepare, guard::guarded};

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not the bytes of an ONNX model, or cut short.
    #[error("not an ONNX model, or a damaged one: {reason}")]
    NotOnnx {
        /// What the decoder said.
        reason: String,
    },
    /// Weights in other files.
    #[error(
        "tensor `{tensor}` is in another file (`{location}`), which vaekit does not open; save the model as one file"
    )]
    External {
        /// The tensor.
        tensor: String,
        /// The file, as the model names it.
        location: String,
    },
    /// A tensor that is not as long as it says.
    #[error("tensor `{tensor}` has {found} bytes, its shape {shape:?} needs {}", needed.map_or("too many".into(), |n| n.to_string()))]
    TensorSize {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Bytes found.
        found: usize,
        /// Bytes that the shape needs, if they can be counted.
        needed: Option<usize>,
    },
    /// Not one array `[N, C, H, W]` in and one out.
    #[error("the model has {found}, expected one f32 or f16 input [N, C, H, W] and one output")]
    Interface {
        /// Its inputs and outputs.
        found: String,
    },
    /// tract does not know an operator or an attribute.
    #[error("tract cannot read the graph: {reason}")]
    Unsupported {
        /// What tract said.
        reason: String,
    },
    /// No threads.
    #[error("tract cannot start {n} threads: {reason}")]
    Threads {
        /// How many were asked for.
        n: usize,
        /// What the system said.
        reason: String,
    },
}

/// A model as parsed, sizes still open.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) graph: InferenceModel,
    /// The input's channels, if the file fixes them.
    pub(crate) input_channels: Option<usize>,
}

impl Model {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let mut proto = ModelProto::decode(bytes).map_err(|error| OpenError::NotOnnx { reason: error.to_string() })?;
        match &mut proto.graph {
            Some(graph) => prepare(graph)?,
            None => return Err(OpenError::NotOnnx { reason: "it holds no graph".into() }),
        }
        let graph = guarded(|| tract_onnx::onnx().model_for_proto_model(&proto))
            .map_err(|reason| OpenError::Unsupported { reason })?;
        Self::check_interface(graph)
    }

    fn check_interface(graph: InferenceModel) -> Result<Self, OpenError> {
        let (inputs, outputs) = (graph.inputs.len(), graph.outputs.len());
        let wrong = |found: String| Err(OpenError::Interface { found });
        if (inputs, outputs) != (1, 1) {
            return wrong(format!("{inputs} inputs and {outputs} outputs"));
        }
        let Ok(input) = graph.input_fact(0) else {
            return wrong("an input of no known type".into());
        };
        if input.datum_type.concretize() != Some(DatumType::F32) {
            return wrong(format!("an input of type {:?}", input.datum_type));
        }
        let rank = input.shape.rank().concretize();
        if rank != Some(4) {
            return wrong(format!("an input of rank {rank:?}"));
        }
        let channels = input.shape.dim(1).and_then(|dim| dim.concretize());
        let input_channels = channels.and_then(|dim| dim.to_usize().ok());
        Ok(Model { graph, input_channels })
    }
}
