//! A model.onnx as operations, and their fusing.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use vaekit_cpu::{CpuSession, Options};

fuzz_target!(|bytes: &[u8]| {
    let one = Options { threads: std::num::NonZero::new(1) };
    if let Ok(session) = CpuSession::open(Cursor::new(bytes), &one) {
        let _ = session.steps([4, 3, 5]);
    }
});
