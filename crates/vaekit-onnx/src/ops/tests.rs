//! Graphs that no exporter of VAEs writes.

use std::io::Cursor;

use prost::Message;

use super::{Conv, OpKind, Ops, OpsError, Steps, Work};
use crate::proto::{Dimension, DimensionValue, Graph, Node, Tensor, TensorShape, TensorType, Type, ValueInfo};

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        name: output.into(),
        op_type: operator.into(),
        attribute: Vec::new(),
    }
}

fn floats(name: &str, dims: &[i64], value: f32) -> Tensor {
    let count = dims.iter().product::<i64>() as usize;
    let raw_data = value.to_le_bytes().repeat(count);
    Tensor { dims: dims.into(), data_type: 1, name: name.into(), raw_data }
}

fn ints(name: &str, values: &[i64]) -> Tensor {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dims: vec![values.len() as i64], data_type: 7, name: name.into(), raw_data }
}

/// Channels that are given or open.
fn image(name: &str, channels: Option<i64>) -> ValueInfo {
    let axis = |value| Dimension { value: Some(value) };
    let named = |name: &str| axis(DimensionValue::Param(name.into()));
    let channels = channels.map_or_else(|| named("channels"), |channels| axis(DimensionValue::Value(channels)));
    let shape = TensorShape { dim: vec![named("n"), channels, named("h"), named("w")] };
    let tensor_type = TensorType { elem_type: 1, shape: Some(shape) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }), doc_string: String::new() }
}

/// From `x` to the output of the last node.
fn graph(channels: Option<i64>, node: Vec<Node>, initializer: Vec<Tensor>) -> Graph {
    let last = node.last().map_or("x", |node| &node.output[0]).to_owned();
    Graph {
        node,
        name: String::new(),
        initializer,
        doc_string: String::new(),
        input: vec![image("x", channels)],
        output: vec![image(&last, None)],
    }
}

/// A length-delimited field.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    [&bytes, value].concat()
}

fn read_bytes(graph: &[u8]) -> Result<Ops, OpsError> {
    Ops::read(Cursor::new(field(7, graph)))
}

fn read(graph: &Graph) -> Result<Ops, OpsError> {
    read_bytes(&graph.encode_to_vec())
}

/// So many 1x1 convolutions of one weight.
fn shared(n: usize) -> Graph {
    let names: Vec<String> = (0..=n).map(|i| if i == 0 { "x".into() } else { format!("y{i}") }).collect();
    let nodes = names.windows(2).map(|two| node("Conv", &[&two[0], "w"], &two[1])).collect();
    graph(Some(64), nodes, vec![floats("w", &[64, 64, 1, 1], 0.1)])
}

#[test]
fn copies_of_a_shared_weight_are_no_larger_than_the_file() {
    let ops = read(&shared(30)).unwrap().ops;
    assert!(ops.iter().all(|op| matches!(&op.kind, OpKind::Conv(conv) if conv.weight.len() == 64 * 64)));
    let error = read(&shared(300)).unwrap_err();
    assert!(error.is_unsupported());
    let expected = "(Conv) reads constants that other nodes read too, and copies for all would be larger than the file";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn ones_are_not_made_for_channels_that_only_the_input_claims() {
    let nodes = vec![
        node("Shape", &["x"], "shape"),
        node("Reshape", &["x", "groups"], "flat"),
        node("InstanceNormalization", &["flat", "one", "zero"], "normal"),
        node("Reshape", &["normal", "shape"], "back"),
        node("Relu", &["back"], "y"),
    ];
    let constants = || vec![ints("groups", &[0, 1, -1]), floats("one", &[1], 1.0), floats("zero", &[1], 0.0)];
    assert_eq!(read(&graph(Some(8), nodes.clone(), constants())).unwrap().ops.len(), 2);
    for channels in [1 << 40, i64::MAX] {
        let error = read(&graph(Some(channels), nodes.clone(), constants())).unwrap_err();
        assert!(error.is_unsupported(), "{error}");
    }
}

#[test]
fn channels_that_the_input_leaves_open_are_those_of_the_first_convolution() {
    let weights = || vec![floats("w", &[5, 3, 1, 1], 1.0), floats("v", &[2, 5, 1, 1], 1.0)];
    let nodes = [node("Tanh", &["x"], "t"), node("Conv", &["t", "w"], "c"), node("Conv", &["c", "v"], "y")];
    let ops = read(&graph(None, nodes.to_vec(), weights())).unwrap();
    assert_eq!(ops.channels, [3, 3, 5, 2]);
    let error = read(&graph(None, nodes[..1].to_vec(), weights())).unwrap_err();
    assert!(matches!(error, OpsError::Interface { .. }) && error.is_unsupported(), "{error}");
}

#[test]
fn what_another_engine_may_know_is_told_from_damage() {
    let check = |tensor: Vec<u8>, unsupported: bool, expected: &str| {
        let mut graph = graph(Some(1), vec![node("Conv", &["x", "w"], "y")], vec![]).encode_to_vec();
        graph.extend(field(5, &tensor));
        let error = read_bytes(&graph).unwrap_err();
        assert_eq!((error.is_unsupported(), error.to_string()), (unsupported, expected.to_owned()));
    };
    let head = |data_type| Tensor { data_type, raw_data: vec![], ..floats("w", &[1, 1, 1, 1], 0.0) }.encode_to_vec();
    // `int32_data` of an f16, and a float by itself.
    let expected = "tensor `w` has its values one by one, which is not read";
    check([head(10), field(5, &[0])].concat(), true, expected);
    check([head(1), vec![4 << 3 | 5, 0, 0, 0, 0]].concat(), true, expected);
    let raw = field(9, &[0; 4]);
    let expected = "tensor `w` has its bytes before its element type, which is not read";
    check([raw.clone(), head(1)].concat(), true, expected);
    check([head(11), raw].concat(), true, "node `y` (Conv) has a constant `w` of double");
    check([head(1), field(9, &[0; 8])].concat(), false, "tensor `w` has 2 values, its shape is [1, 1, 1, 1]");
    check(head(1), false, "tensor `w` has 0 values, its shape is [1, 1, 1, 1]");
}

/// A convolution, times a factor, less 1.
fn scaled(factor: f32) -> Steps {
    let nodes =
        vec![node("Conv", &["x", "w", "b"], "c"), node("Mul", &["c", "factor"], "m"), node("Sub", &["m", "one"], "y")];
    let constants = vec![
        floats("w", &[2, 1, 1, 1], 0.3),
        floats("b", &[2], 0.7),
        floats("factor", &[], factor),
        floats("one", &[], 1.0),
    ];
    Steps::fuse(read(&graph(Some(1), nodes, constants)).unwrap()).unwrap()
}

#[test]
fn a_factor_that_rounds_no_weight_is_taken_up_by_the_convolution() {
    for factor in [2.0, -0.25] {
        let steps = scaled(factor);
        let [step] = &steps.steps[..] else { panic!("{steps:?}") };
        let Work::Conv { conv, .. } = &step.work else { panic!("{step:?}") };
        let Conv { weight, bias, .. } = &conv.conv;
        assert_eq!((&weight[..], &bias[..]), (&[0.3 * factor; 2][..], &[0.7 * factor - 1.0; 2][..]));
        assert_eq!((&step.name[..], step.output), ("c", steps.output));
    }
    for factor in [3.0, 0.0, f32::INFINITY] {
        assert_eq!(scaled(factor).steps.len(), 2, "{factor}");
    }
}
