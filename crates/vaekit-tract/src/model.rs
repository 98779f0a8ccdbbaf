//! From the bytes of an ONNX file to a model that tract can plan.

use prost::Message;
use tract_onnx::{
    pb::{ModelProto, TensorProto, tensor_proto::DataType},
    prelude::*,
    tract_hir::internal::{DimLike, Factoid},
};

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
    /// The input's element type in the file. Sessions take f32 whatever it is.
    pub(crate) input_type: DatumType,
    /// The input's channels, if the file fixes them.
    pub(crate) input_channels: Option<usize>,
}

impl Model {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let proto = ModelProto::decode(bytes).map_err(|error| OpenError::NotOnnx { reason: error.to_string() })?;
        let Some(graph) = &proto.graph else {
            return Err(OpenError::NotOnnx { reason: "it holds no graph".into() });
        };
        let attributes =
            graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
        graph.initializer.iter().chain(attributes).try_for_each(check_tensor)?;
        let graph = tract_onnx::onnx()
            .model_for_proto_model(&proto)
            .map_err(|error| OpenError::Unsupported { reason: one_line(&error) })?;
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
        let rank = input.shape.rank().concretize();
        let Some(input_type @ (DatumType::F32 | DatumType::F16)) = input.datum_type.concretize() else {
            return wrong(format!("an input of type {:?}", input.datum_type));
        };
        if rank != Some(4) {
            return wrong(format!("an input of rank {rank:?}"));
        }
        let channels = input.shape.dim(1).and_then(|dim| dim.concretize());
        let input_channels = channels.and_then(|dim| dim.to_usize().ok());
        Ok(Model { graph, input_type, input_channels })
    }
}

/// Refuses tensors whose values are not in the model, all of them: tract would open other files, or believe the shape.
fn check_tensor(tensor: &TensorProto) -> Result<(), OpenError> {
    if !tensor.external_data.is_empty() {
        let location = tensor.external_data.iter().find(|entry| entry.key == "location");
        return Err(OpenError::External {
            tensor: tensor.name.clone(),
            location: location.map(|entry| entry.value.clone()).unwrap_or_default(),
        });
    }
    let size = match tensor.data_type() {
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 8,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Complex128 => 16,
        _ => 1,
    };
    // Values are in `raw_data`, or each in its own field, where small types take an int32.
    let n_values = tensor.float_data.len()
        + tensor.int32_data.len()
        + tensor.int64_data.len()
        + tensor.double_data.len()
        + tensor.uint64_data.len()
        + tensor.string_data.len();
    let found = tensor.raw_data.len().saturating_add(n_values.saturating_mul(size));
    let needed = tensor.dims.iter().try_fold(size, |n, &side| n.checked_mul(usize::try_from(side).ok()?));
    if needed != Some(found) {
        return Err(OpenError::TensorSize { tensor: tensor.name.clone(), shape: tensor.dims.clone(), found, needed });
    }
    Ok(())
}

/// tract's error and what led to it, in one line.
pub(crate) fn one_line(error: &TractError) -> String {
    let chain: Vec<String> = error.chain().map(|cause| cause.to_string().trim().replace('\n', " ")).collect();
    chain.join(": ")
}
