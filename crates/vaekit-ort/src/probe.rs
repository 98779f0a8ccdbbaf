//! A tiny model with a known answer, to learn whether a provider works here.

use ndarray::Array4;
use vaekit::{Session, block_on};

use crate::library::Runtime;
use crate::options::Options;
use crate::provider::Provider;
use crate::session::{self, Model, OpenError};

/// Opens the tiny model on `provider`, runs it and compares: not every GPU computes correctly.
pub(crate) fn probe(runtime: &Runtime, provider: Provider, options: &Options) -> Result<(), OpenError> {
    let fails = |reason: String| OpenError::Unavailable { provider, reason, needs: provider.needs() };
    let (mut session, _) =
        session::open_on(runtime, Model::Memory(&model()), provider, options).map_err(|e| match e {
            // Nothing is wrong with this model.
            OpenError::Model { reason, .. } => fails(reason),
            other => other,
        })?;
    let (input, expected) = (input(), expected());
    let mut output = Array4::from_elem(input.dim(), f32::NAN);
    block_on(session.run(input.view(), output.view_mut(), &mut ())).map_err(|failure| fails(failure.to_string()))?;
    match output.iter().zip(&expected).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(fails(format!("it computes {found} in a convolution that gives {expected}"))),
        None => Ok(()),
    }
}

/// `[1, 1, 4, 4]`, the numbers from 1 to 16.
pub(crate) fn input() -> Array4<f32> {
    Array4::from_shape_fn((1, 1, 4, 4), |(_, _, y, x)| (4 * y + x + 1) as f32)
}

/// What the tiny model makes of [`input`]: the sum of each pixel and its eight neighbours. Whole numbers this small are exact
/// even in f16.
pub(crate) fn expected() -> Array4<f32> {
    let input = input();
    Array4::from_shape_fn(input.dim(), |(_, _, y, x)| {
        let near = |a: usize, b: usize| a.abs_diff(b) <= 1;
        input.indexed_iter().filter(|((_, _, v, u), _)| near(*v, y) && near(*u, x)).map(|(_, value)| value).sum()
    })
}

/// An ONNX model of one convolution, 3 by 3, all ones, with a border of zeros: `x` `[n, 1, h, w]` to `y` of the same shape.
pub(crate) fn model() -> Vec<u8> {
    // The field numbers are those of onnx.proto, which is named beside each message.
    let opset = number(2, 17); // OperatorSetIdProto: version, of the default domain
    [number(1, 8), message(7, &graph()), message(8, &opset)].concat() // ModelProto: ir_version, graph, opset_import
}

fn graph() -> Vec<u8> {
    let ones: Vec<u8> = [1f32; 9].iter().flat_map(|one| one.to_le_bytes()).collect();
    // TensorProto: dims, data_type (1 is FLOAT), name, raw_data
    let weight =
        [number(1, 1), number(1, 1), number(1, 3), number(1, 3), number(2, 1), message(8, b"w"), message(9, &ones)];
    // AttributeProto: name, ints, type (7 is INTS)
    let pads = [message(1, b"pads"), number(8, 1).repeat(4), number(20, 7)];
    // NodeProto: input, output, name, op_type, attribute
    let node = [
        message(1, b"x"),
        message(1, b"w"),
        message(2, b"y"),
        message(3, b"conv"),
        message(4, b"Conv"),
        message(5, &pads.concat()),
    ];
    // GraphProto: node, name, initializer, input, output
    [
        message(1, &node.concat()),
        message(2, b"probe"),
        message(5, &weight.concat()),
        message(11, &value("x")),
        message(12, &value("y")),
    ]
    .concat()
}

/// ValueInfoProto (name, type) of a TypeProto (tensor_type) of an f32 tensor (elem_type, shape) `[n, 1, h, w]`.
pub(crate) fn value(name: &str) -> Vec<u8> {
    let named = |name: &str| message(1, &message(2, name.as_bytes())); // Dimension: dim_param
    let shape = [named("n"), message(1, &number(1, 1)), named("h"), named("w")].concat(); // Dimension: dim_value
    let tensor = [number(1, 1), message(2, &shape)].concat();
    [message(1, name.as_bytes()), message(2, &message(1, &tensor))].concat()
}

/// A number field of a protobuf message, for fields below 32 and numbers below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    if field < 16 { vec![field << 3, value] } else { vec![field << 3 | 0x80, field >> 4, value] }
}

/// A field of bytes: text or another message.
pub(crate) fn message(field: u8, bytes: &[u8]) -> Vec<u8> {
    let (low, high) = (bytes.len() & 0x7f, bytes.len() >> 7);
    let length = if high == 0 { vec![low as u8] } else { vec![low as u8 | 0x80, high as u8] };
    [vec![field << 3 | 2], length, bytes.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_known() {
        let rows = [[14., 24., 30., 22.], [33., 54., 63., 45.], [57., 90., 99., 69.], [46., 72., 78., 54.]];
        assert_eq!(expected().into_raw_vec_and_offset().0, rows.concat());
    }

    #[test]
    fn the_model_is_a_few_bytes_of_protobuf() {
        let model = model();
        assert_eq!(&model[..2], &[1 << 3, 8]);
        assert!(model.len() < 256, "{}", model.len());
    }
}
