//! The engine against an evaluation in f64 that knows neither ONNX nor these kernels.

mod numbers;
mod onnx;
mod runs;
mod shapes;
mod unknown;
#[path = "../../../vaekit-onnx/tests/it/vaes.rs"]
mod vaes;
mod weights;

use std::io::Cursor;
use std::num::NonZero;

use ndarray::Array4;
use vaekit::{Failure, Half, Observer, Session, VaeConfig, Weights, block_on};
use vaekit_cpu::{CpuSession, Options};
use vaekit_onnx::{Export, Source, write_model};

/// The bytes of one half's model.onnx.
fn model(config: &VaeConfig, weights: &dyn Weights, half: Half) -> Vec<u8> {
    let mut onnx = Vec::new();
    write_model(&Export::fp32(config, weights, Source::default()), half, &mut onnx, &mut |_| {}).unwrap();
    onnx
}

fn open(model: &[u8], threads: usize) -> CpuSession {
    let options = Options { threads: NonZero::new(threads), ..Options::default() };
    CpuSession::open(Cursor::new(model), &options).unwrap()
}

fn run(session: &mut CpuSession, input: &Array4<f32>, observer: &mut dyn Observer) -> Result<Array4<f32>, Failure> {
    let (n, c, h, w) = input.dim();
    let [channels, height, width] = session.output([c, h, w])?;
    let mut output = Array4::from_elem((n, channels, height, width), f32::NAN);
    block_on(session.run(input.view(), output.view_mut(), observer))?;
    Ok(output)
}
