//! What a model folder is read from: ONNX files and manifests.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use vaekit_onnx::{Manifest, ModelInfo};

fuzz_target!(|bytes: &[u8]| {
    let _ = ModelInfo::read(Cursor::new(bytes));
    let _ = Manifest::from_json(bytes);
});
