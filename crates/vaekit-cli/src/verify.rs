//! Whether written graphs compute what the checkpoint does, on every engine there is.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use ndarray::Array4;
use vaekit::{Half, Session, VaeConfig, Weights, block_on};
use vaekit_onnx::{Precision, Verification};
use vaekit_ort::{OrtSession, Runtime};
use vaekit_reference::{Comparison, Reference, compare, verification_input};

use crate::engine::{open_cpu, open_tract};
use crate::failure::{Failure, Kind, OfKind};
use crate::ui::Ui;

/// Seed of the inputs.
const SEED: u64 = 0;
/// Largest error of an fp32 graph, where the reference stays within [-1, 1]; in proportion where it goes further (a log
/// variance reaches -30).
const MAX_ABS_ERROR: f64 = 1e-3;
/// Least PSNR of an fp16 graph in dB.
const MIN_PSNR: f64 = 50.0;

/// One half that was written.
pub struct Written<'a> {
    /// Which.
    pub half: Half,
    /// Its model.onnx.
    pub path: &'a Path,
    /// What it computes in.
    pub precision: Precision,
}

/// Runs a written graph on every engine and compares it with [`vaekit_reference`] in f64.
///
/// # Errors
/// [`Kind::Verification`] if an engine's result lies too far off.
pub fn verify(config: &VaeConfig, weights: &dyn Weights, written: &Written<'_>, ui: &Ui) -> Result<Vec<Verification>> {
    let Written { half, path, precision } = *written;
    let input = verification_input(config, half, SEED)?;
    let spinner = ui.spinner(&format!("evaluating the {half} independently"));
    let expected = Reference::<f64>::new(config, weights).run(half, input.view())?;
    let magnitude = expected.iter().fold(1.0, |max: f64, value| max.max(value.abs()));
    let mut verified = Vec::new();
    for mut session in sessions(path, ui)? {
        let engine = session.engine().to_string();
        spinner.set_message(format!("verifying the {half} on {engine}"));
        let mut found = Array4::<f32>::zeros(expected.raw_dim());
        let run = block_on(session.run(input.view(), found.view_mut(), &mut ()));
        run.with_context(|| format!("the {half} does not run on {engine}")).of_kind(Kind::Verification)?;
        let comparison = compare(found.view(), expected.view(), MAX_ABS_ERROR * magnitude, 2.0 * magnitude)?;
        judge(&comparison, precision).with_context(|| format!("the {half} on {engine}")).of_kind(Kind::Verification)?;
        let Comparison { max_abs_error, mean_abs_error, psnr, .. } = comparison;
        verified.push(Verification {
            half,
            engine,
            reference: "vaekit-reference in f64".into(),
            input_shape: input.shape().to_vec(),
            seed: SEED,
            max_abs_error,
            mean_abs_error,
            psnr,
        });
    }
    spinner.finish_and_clear();
    Ok(verified)
}

/// ONNX Runtime, where it is installed, vaekit's own engine, and tract.
fn sessions(path: &Path, ui: &Ui) -> Result<Vec<Box<dyn Session>>> {
    let mut sessions: Vec<Box<dyn Session>> = Vec::new();
    match Runtime::load() {
        Ok(runtime) => sessions.push(Box::new(OrtSession::open(&runtime, path, &vaekit_ort::Options::default())?.0)),
        Err(error) => ui.note(format_args!("not verified on ONNX Runtime: {error}")),
    }
    sessions.push(Box::new(open_cpu(path, &vaekit_cpu::Options::default())??));
    sessions.push(Box::new(open_tract(path, None)?));
    Ok(sessions)
}

fn judge(comparison: &Comparison, precision: Precision) -> Result<()> {
    let Comparison { max_abs_error, tolerance, psnr, non_finite, count, .. } = comparison;
    let fault = match precision {
        _ if *non_finite > 0 => format!("{non_finite} of {count} values are NaN or infinite"),
        Precision::Fp32 if !comparison.holds() => {
            format!("the largest error is {max_abs_error:.2e}, allowed {tolerance:.2e}")
        }
        Precision::Fp16 if psnr.is_some_and(|psnr| psnr < MIN_PSNR) => {
            format!("PSNR is {:.1} dB, expected {MIN_PSNR} at least", psnr.unwrap_or_default())
        }
        _ => return Ok(()),
    };
    Err(Failure::error(Kind::Verification, anyhow!("{fault}; the graph is not the checkpoint")))
}
