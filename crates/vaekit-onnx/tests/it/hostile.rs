//! Bytes from strangers: errors, never panics.

use std::io::Cursor;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use vaekit::Half;
use vaekit_onnx::{Facts, Manifest, ModelInfo, Precision};

use crate::model::model;
use crate::vaes::tiny;

fn check(bytes: &[u8], expected: Expect) {
    expected.assert_eq(&ModelInfo::read(Cursor::new(bytes)).unwrap_err().to_string());
}

/// A length-delimited field.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 128);
    [&[number << 3 | 2, value.len() as u8], value].concat()
}

#[test]
fn what_is_no_model_is_refused() {
    check(b"", expect!["the file holds no graph; it is no ONNX model"]);
    check(b"{\"class\": \"AutoencoderKL\"}", expect!["the byte 0 starts no protobuf field; the file is no ONNX model"]);
    check(b"PK\x03\x04", expect!["the byte 2 starts no protobuf field; the file is no ONNX model"]);
    check(
        &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        expect![
            "the value at byte 10 ends at 9223372036854775817, behind its message's end at 10; the file is truncated or no ONNX model"
        ],
    );
    check(
        &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        expect!["the byte 1 starts no protobuf field; the file is no ONNX model"],
    );
    check(&[0x38, 0x01], expect!["field 7 of ModelProto is a varint, expected bytes; the file is no ONNX model"]);
}

#[test]
fn truncated_models_are_refused() {
    let bytes = model(&tiny(4, false, None), Half::Decoder, Precision::Fp32);
    check(
        &bytes[..bytes.len() - 1],
        expect![
            "the value at byte 1070 ends at 10395, behind its message's end at 10394; the file is truncated or no ONNX model"
        ],
    );
}

#[test]
fn tensors_in_other_files_are_refused_by_name() {
    let location = [field(1, b"location"), field(2, b"../../secret")].concat();
    let tensor = [field(8, b"decoder.conv_in.weight"), field(13, &location), vec![14 << 3, 1]].concat();
    check(
        &field(7, &field(5, &tensor)),
        expect![
            "tensor `decoder.conv_in.weight` lies in another file (`../../secret`), which vaekit does not open on a model's word; save the model in one file"
        ],
    );
    // As an attribute of a node, as Constant has one.
    let attribute = field(5, &tensor);
    check(
        &field(7, &field(1, &field(5, &attribute))),
        expect![
            "tensor `decoder.conv_in.weight` lies in another file (`../../secret`), which vaekit does not open on a model's word; save the model in one file"
        ],
    );
}

#[test]
fn graphs_that_nest_for_ever_are_refused() {
    let mut graph = Vec::new();
    for _ in 0..9 {
        graph = field(1, &field(5, &field(6, &graph)));
    }
    check(&field(7, &graph), expect!["graphs are nested more than 8 deep"]);
}

#[test]
fn inputs_of_old_models_may_be_initializers() {
    let named = |number, name: &[u8]| field(number, &field(if number == 5 { 8 } else { 1 }, name));
    let graph = [named(11, b"sample"), named(11, b"w"), named(5, b"w")].concat();
    let info = ModelInfo::read(Cursor::new(field(7, &graph))).unwrap();
    assert_eq!(info.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["sample"]);
}

fn check_manifest(json: &str, expected: Expect) {
    expected.assert_eq(&Manifest::from_json(json.as_bytes()).unwrap_err().to_string());
}

#[test]
fn manifests_that_are_none_are_refused() {
    check_manifest("", expect!["the manifest is not one of vaekit's: EOF while parsing a value at line 1 column 0"]);
    check_manifest(
        "[]",
        expect![
            "the manifest is not one of vaekit's: invalid length 0, expected struct Version with 1 element at line 1 column 2"
        ],
    );
    check_manifest(
        "{\"format_version\": 2}",
        expect![
            "the manifest has format version 2, expected at most 1; use a newer vaekit, or convert the checkpoint again"
        ],
    );
    check_manifest(
        "{\"format_version\": 1}",
        expect!["the manifest is not one of vaekit's: missing field `files` at line 1 column 21"],
    );
}

#[test]
fn configs_that_describe_no_network_are_refused() {
    let bytes = model(&tiny(4, false, None), Half::Decoder, Precision::Fp32);
    let info = ModelInfo::read(Cursor::new(bytes)).unwrap();
    let json = &info.metadata["vaekit"];
    for (from, to, expected) in [
        (
            r#""block_out_channels":[4,4]"#,
            r#""block_out_channels":[]"#,
            expect!["the manifest's config has the length of block_out_channels = 0, expected 1 to 12"],
        ),
        (
            r#""block_out_channels":[4,4]"#,
            r#""block_out_channels":[4,1000000000]"#,
            expect!["the manifest's config has block_out_channels = 1000000000, expected 1 to 65536"],
        ),
        (
            r#""num_blocks":[1,1]"#,
            r#""num_blocks":[1]"#,
            expect!["the manifest's config has the length of num_blocks = 1, expected 2 to 2"],
        ),
        (
            r#""channels":4"#,
            r#""channels":0"#,
            expect!["the manifest's config has latents.channels = 0, expected 1 to 4096"],
        ),
    ] {
        assert!(json.contains(from), "{json}");
        expected.assert_eq(&Facts::from_json(&json.replace(from, to)).unwrap_err().to_string());
    }
}

#[test]
fn later_keys_of_this_format_are_kept() {
    let bytes = model(&tiny(4, false, None), Half::Decoder, Precision::Fp32);
    let json = &ModelInfo::read(Cursor::new(bytes)).unwrap().metadata["vaekit"];
    let with_more = json.replacen('{', r#"{"licence":"MIT","#, 1);
    let facts = Facts::from_json(&with_more).unwrap();
    assert_eq!(facts.other["licence"], "MIT");
    assert!(facts.to_json().contains(r#""licence":"MIT""#));
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..8), cut in 0usize..8000) {
        let mut bytes = model(&tiny(4, true, None), Half::Encoder, Precision::Fp16);
        for (at, byte) in changes {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 2));
        let _ = ModelInfo::read(Cursor::new(bytes));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ModelInfo::read(Cursor::new(bytes));
    }

    #[test]
    fn any_graph_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = ModelInfo::read(Cursor::new(field(7, &bytes)));
    }
}
