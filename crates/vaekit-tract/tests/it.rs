//! A small graph, `Conv` then `Resize`, against the same arithmetic by hand.

use ndarray::{Array4, ArrayView4, s};
use proptest::prelude::*;
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};
use vaekit::{Session, block_on};
use vaekit_tract::{Options, TractSession};

/// Weights `[2, 3, 1, 1]` of the convolution, exact in f16.
const WEIGHTS: [f32; 6] = [1.0, -2.0, 0.5, 0.25, 3.0, -1.0];
const BIAS: [f32; 2] = [0.5, -8.0];

fn value(name: &str, element: DataType, dims: [&str; 4]) -> ValueInfoProto {
    let dim = dims.map(|dim| Dimension {
        value: Some(match dim.parse() {
            Ok(n) => dimension::Value::DimValue(n),
            Err(_) => dimension::Value::DimParam(dim.into()),
        }),
        ..Dimension::default()
    });
    let tensor = type_proto::Tensor { elem_type: element as i32, shape: Some(TensorShapeProto { dim: dim.into() }) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

fn floats(name: &str, element: DataType, dims: &[i64], values: &[f32]) -> TensorProto {
    let raw_data = match element {
        DataType::Float16 => values.iter().flat_map(|v| f16_bits(*v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    };
    TensorProto { name: name.into(), data_type: element as i32, dims: dims.into(), raw_data, ..TensorProto::default() }
}

fn f16_bits(value: f32) -> u16 {
    tract_onnx::prelude::f16::from_f32(value).to_bits()
}

fn node(op_type: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: op_type.into(),
        name: output.into(),
        input: input.iter().map(|&name| name.into()).collect(),
        output: vec![output.into()],
        attribute,
        ..NodeProto::default()
    }
}

fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::String as i32,
        s: value.as_bytes().into(),
        ..AttributeProto::default()
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i: value, ..AttributeProto::default() }
}

fn model(element: DataType) -> ModelProto {
    let nearest =
        ["mode", "coordinate_transformation_mode", "nearest_mode"].into_iter().zip(["nearest", "asymmetric", "floor"]);
    let graph = GraphProto {
        name: "test".into(),
        input: vec![value("sample", element, ["batch", "3", "height", "width"])],
        output: vec![value("moments", element, ["batch", "2", "height_out", "width_out"])],
        initializer: vec![
            floats("weight", element, &[2, 3, 1, 1], &WEIGHTS),
            floats("bias", element, &[2], &BIAS),
            floats("scales", DataType::Float, &[4], &[1.0, 1.0, 2.0, 2.0]),
        ],
        node: vec![
            node("Conv", &["sample", "weight", "bias"], "conv", vec![]),
            node(
                "Resize",
                &["conv", "", "scales"],
                "moments",
                nearest.map(|(name, value)| string(name, value)).collect(),
            ),
        ],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn by_hand(input: ArrayView4<'_, f32>) -> Array4<f32> {
    let (n, _, h, w) = input.dim();
    Array4::from_shape_fn((n, 2, 2 * h, 2 * w), |(n, c, y, x)| {
        BIAS[c] + (0..3).map(|i| WEIGHTS[3 * c + i] * input[[n, i, y / 2, x / 2]]).sum::<f32>()
    })
}

/// Values that keep every sum exact.
fn ramp(shape: (usize, usize, usize, usize)) -> Array4<f32> {
    let mut next = -32.0;
    Array4::from_shape_simple_fn(shape, || {
        next = if next >= 32.0 { -32.0 } else { next + 0.5 };
        next
    })
}

fn open(model: &ModelProto) -> TractSession {
    TractSession::open(&model.encode_to_vec(), &Options::default()).unwrap()
}

fn check(session: &mut TractSession, input: ArrayView4<'_, f32>) {
    let expected = by_hand(input);
    let mut output = Array4::from_elem(expected.dim(), f32::NAN);
    block_on(session.run(input, output.view_mut(), &mut ())).unwrap();
    assert_eq!(output, expected);
}

fn check_open_error(bytes: &[u8], expected: &str) {
    let error = TractSession::open(bytes, &Options::default()).err().expect("this must not open").to_string();
    assert!(error.starts_with(expected), "{error}");
}

fn check_run_error(input: (usize, usize, usize, usize), output: (usize, usize, usize, usize), expected: &str) {
    let mut output = Array4::zeros(output);
    let error =
        block_on(open(&model(DataType::Float)).run(ramp(input).view(), output.view_mut(), &mut ())).unwrap_err();
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn sizes_and_batches_in_turn() {
    let mut session = open(&model(DataType::Float));
    for shape in [(1, 3, 4, 6), (1, 3, 5, 3), (2, 3, 4, 6), (3, 3, 1, 1), (1, 3, 5, 3), (1, 3, 4, 6)] {
        check(&mut session, ramp(shape).view());
    }
}

#[test]
fn threads_give_the_same() {
    for threads in [1, 2, 3] {
        let options = Options { threads: std::num::NonZero::new(threads) };
        let mut session = TractSession::open(&model(DataType::Float).encode_to_vec(), &options).unwrap();
        check(&mut session, ramp((1, 3, 150, 130)).view());
    }
}

#[test]
fn input_views_and_pieces_of_outputs() {
    let whole = ramp((2, 3, 8, 8));
    check(&mut open(&model(DataType::Float)), whole.slice(s![1.., .., 2..6, 1..;2]));
    let mut output = Array4::zeros((3, 2, 8, 8));
    let piece = whole.slice(s![..1, .., ..4, ..4]);
    block_on(open(&model(DataType::Float)).run(piece, output.slice_mut(s![1..2, .., .., ..]), &mut ())).unwrap();
    assert_eq!(output.slice(s![1..2, .., .., ..]), by_hand(piece));
}

#[test]
fn f16_models_take_and_give_f32() {
    check(&mut open(&model(DataType::Float16)), ramp((2, 3, 4, 6)).view());
}

#[test]
fn f16_inside_and_f32_at_the_ends() {
    let mut model = model(DataType::Float16);
    let graph = model.graph.as_mut().unwrap();
    graph.input[0] = value("sample", DataType::Float, ["batch", "3", "height", "width"]);
    graph.output[0] = value("moments_f32", DataType::Float, ["batch", "2", "height_out", "width_out"]);
    let to = |element: DataType| vec![int("to", element as i64)];
    graph.node[0].input[0] = "sample_f16".into();
    graph.node.insert(0, node("Cast", &["sample"], "sample_f16", to(DataType::Float16)));
    graph.node.push(node("Cast", &["moments"], "moments_f32", to(DataType::Float)));
    // Values one by one, as some writers store them.
    graph.initializer[1].raw_data.clear();
    graph.initializer[1].int32_data = BIAS.map(|value| f16_bits(value).into()).to_vec();
    check(&mut open(&model), ramp((1, 3, 4, 6)).view());
}

#[test]
fn f16_statistics_count_beyond_the_range_of_f16() {
    let mut model = model(DataType::Float16);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer =
        vec![floats("ones", DataType::Float16, &[3], &[1.0; 3]), floats("zeros", DataType::Float16, &[3], &[0.0; 3])];
    graph.node = vec![node("InstanceNormalization", &["sample", "ones", "zeros"], "moments", vec![])];
    let input = ramp((1, 3, 300, 300));
    let mut output = Array4::zeros(input.dim());
    block_on(open(&model).run(input.view(), output.view_mut(), &mut ())).unwrap();
    for plane in output.slice(s![0, .., .., ..]).outer_iter() {
        assert!(plane.mean().unwrap().abs() < 1e-3);
        assert!((plane.std(0.0) - 1.0).abs() < 1e-3);
    }
}

#[test]
fn plans_can_be_made_ahead() {
    let mut session = open(&model(DataType::Float));
    session.prepare([3, 4, 6]).unwrap();
    check(&mut session, ramp((1, 3, 4, 6)).view());
    let error = session.prepare([4, 4, 6]).unwrap_err().to_string();
    assert_eq!(error, "the input has 4 channels, the model takes 3");
}

#[test]
fn wrong_shapes_are_errors() {
    check_run_error((1, 3, 4, 6), (1, 2, 4, 6), "the model gives [1, 2, 8, 12], expected [1, 2, 4, 6]");
    check_run_error((2, 3, 4, 6), (1, 2, 8, 12), "the output is for 1 items, the input holds 2");
    check_run_error((1, 5, 4, 6), (1, 2, 8, 12), "the input has 5 channels, the model takes 3");
}

#[test]
fn what_is_no_model_is_refused() {
    check_open_error(b"", "not an ONNX model, or a damaged one: it holds no graph");
    check_open_error(b"\x89PNG\r\n\x1a\n", "not an ONNX model, or a damaged one: failed to decode");
    let whole = model(DataType::Float).encode_to_vec();
    for end in 0..whole.len() {
        // A cut between two fields leaves a smaller model, which may even be one that opens.
        let _ = TractSession::open(&whole[..end], &Options::default());
    }
    check_open_error(&whole[..whole.len() / 2], "not an ONNX model, or a damaged one: failed to decode");
}

#[test]
fn other_graphs_are_refused() {
    let with = |change: fn(&mut GraphProto)| {
        let mut model = model(DataType::Float);
        change(model.graph.as_mut().unwrap());
        model.encode_to_vec()
    };
    check_open_error(
        &with(|graph| graph.input.push(value("mask", DataType::Float, ["batch", "1", "height", "width"]))),
        "the model has 2 inputs and 1 outputs, expected one f32 or f16 input [N, C, H, W] and one output",
    );
    check_open_error(
        &with(|graph| graph.input[0] = value("sample", DataType::Int64, ["batch", "3", "height", "width"])),
        "the model has an input of type I64",
    );
    check_open_error(
        &with(|graph| graph.initializer[0].raw_data.truncate(20)),
        "tensor `weight` has 20 bytes, its shape [2, 3, 1, 1] needs 24",
    );
    check_open_error(
        &with(|graph| graph.initializer[0].dims = vec![1 << 40, 1 << 40]),
        "tensor `weight` has 24 bytes, its shape [1099511627776, 1099511627776] needs too many",
    );
    check_open_error(
        &with(|graph| {
            let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
            graph.initializer[0].external_data = vec![entry("location", "../secret")];
        }),
        "tensor `weight` is in another file (`../secret`), which vaekit does not open; save the model as one file",
    );
}

#[test]
fn an_unknown_operator_is_named() {
    let mut model = model(DataType::Float);
    model.graph.as_mut().unwrap().node[1].op_type = "Upsidedown".into();
    let mut output = Array4::zeros((1, 2, 2, 2));
    let result = TractSession::open(&model.encode_to_vec(), &Options::default());
    let error = match result {
        Err(error) => error.to_string(),
        Ok(mut session) => {
            block_on(session.run(ramp((1, 3, 1, 1)).view(), output.view_mut(), &mut ())).unwrap_err().to_string()
        }
    };
    assert!(error.contains("Upsidedown"), "{error}");
}

#[test]
fn the_version_is_the_one_in_the_lock_file() {
    let lock = include_str!("../../../Cargo.lock");
    let version = vaekit_tract::engine().version;
    assert!(
        lock.contains(&format!("name = \"tract-onnx\"\nversion = \"{version}\"")),
        "{version} is not in Cargo.lock"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_models_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = model(DataType::Float).encode_to_vec();
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let options = Options { threads: std::num::NonZero::new(1) };
        if let Ok(mut session) = TractSession::open(&bytes, &options) {
            let mut output = Array4::zeros((1, 2, 8, 12));
            let _ = block_on(session.run(ramp((1, 3, 4, 6)).view(), output.view_mut(), &mut ()));
        }
    }
}
