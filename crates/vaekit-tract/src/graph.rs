//! What is done to a decoded graph before tract sees it: sizes are checked, and f16 becomes f32.

use tract_onnx::{
    pb::{AttributeProto, GraphProto, TensorProto, ValueInfoProto, tensor_proto::DataType, type_proto},
    prelude::f16,
};

use crate::model::OpenError;

const F16: i32 = DataType::Float16 as i32;
const F32: i32 = DataType::Float as i32;

/// Checks every tensor of the graph, and of those inside its nodes, and widens f16 to f32.
///
/// tract can run f16, but slowly on most CPUs, and it counts in it: the mean of more than 65504 values, as a group
/// normalisation takes, would be one over infinity. It also has a transformation of its own, which comes after that count.
pub(crate) fn prepare(graph: &mut GraphProto) -> Result<(), OpenError> {
    graph.initializer.iter_mut().try_for_each(prepare_tensor)?;
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    values.for_each(widen_value);
    graph.node.iter_mut().flat_map(|node| &mut node.attribute).try_for_each(prepare_attribute)
}

fn prepare_attribute(attribute: &mut AttributeProto) -> Result<(), OpenError> {
    // The element type that Cast and the makers of constants name.
    if attribute.i == i64::from(F16) && ["to", "dtype"].contains(&attribute.name.as_str()) {
        attribute.i = F32.into();
    }
    attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(prepare_tensor)?;
    attribute.g.iter_mut().chain(&mut attribute.graphs).try_for_each(prepare)
}

fn prepare_tensor(tensor: &mut TensorProto) -> Result<(), OpenError> {
    check_tensor(tensor)?;
    if tensor.data_type == F16 {
        widen_tensor(tensor);
    }
    Ok(())
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
    // Values are in `raw_data`, or one by one in the field of their kind, where types below 32 bits are int32.
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

fn widen_tensor(tensor: &mut TensorProto) {
    let (raw, _) = tensor.raw_data.as_chunks();
    let raw = raw.iter().map(|&bytes| u16::from_le_bytes(bytes));
    // In `int32_data` the bits stand in the lower half.
    let bits = raw.chain(tensor.int32_data.iter().map(|&bits| bits as u16));
    tensor.raw_data = bits.flat_map(|bits| f16::from_bits(bits).to_f32().to_le_bytes()).collect();
    tensor.int32_data.clear();
    tensor.data_type = F32;
}

fn widen_value(value: &mut ValueInfoProto) {
    if let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        && tensor.elem_type == F16
    {
        tensor.elem_type = F32;
    }
}
