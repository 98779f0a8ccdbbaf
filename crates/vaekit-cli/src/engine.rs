//! From a model folder to a VAE that is ready to run.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use vaekit::{Half, Session, Vae};
use vaekit_onnx::ModelFolder;
use vaekit_ort::{Choice, LoadError, OrtSession, Provider, Runtime};
use vaekit_tract::TractSession;

use crate::args::{EngineArg, EngineArgs};
use crate::failure::{Kind, OfKind};
use crate::locate;
use crate::ui::Ui;

/// A VAE, and how its engine was chosen.
pub struct Opened {
    /// The VAE.
    pub vae: Vae,
    /// For people and reports.
    pub report: EngineReport,
}

/// What runs, and what was passed over.
#[derive(Clone, Debug, Serialize)]
pub struct EngineReport {
    /// What runs, as [`vaekit::Engine`] prints.
    pub engine: String,
    /// What `auto` would rather have used, and why it could not.
    pub skipped: Vec<String>,
}

/// Opens halves of a model on the engine asked for.
///
/// `auto` takes ONNX Runtime with the first provider that works, and tract where there is no ONNX Runtime. A provider other
/// than the CPU that is asked for by name is ONNX Runtime's, so that is an error without it.
///
/// # Errors
/// [`Kind::Engine`] if what was asked for by name is not to be had, [`Kind::BadInput`] if the model lacks a half.
pub fn open(folder: &ModelFolder, halves: &[Half], args: &EngineArgs, ui: &Ui) -> Result<Opened> {
    require(folder, halves)?;
    let mut skipped = Vec::new();
    let runtime = choose(args, &mut skipped)?;
    let mut open_half = |half| -> Result<Option<Box<dyn Session>>> {
        if !halves.contains(&half) {
            return Ok(None);
        }
        let session = open_half(runtime.as_ref(), folder, half, args, &mut skipped);
        session.with_context(|| format!("the {half} of {}", locate::name(folder))).of_kind(Kind::Engine).map(Some)
    };
    let (encoder, decoder) = (open_half(Half::Encoder)?, open_half(Half::Decoder)?);
    let vae = Vae::new(folder.config().clone(), encoder, decoder);
    let engines: Vec<String> = Half::BOTH.into_iter().filter_map(|half| Some(vae.engine(half)?.to_string())).collect();
    let engine = engines.first().context("no half was asked for")?.clone();
    skipped.dedup();
    for reason in &skipped {
        ui.detail(format_args!("passed over {reason}"));
    }
    Ok(Opened { vae, report: EngineReport { engine, skipped } })
}

/// Makes sure that a model has these halves.
///
/// # Errors
/// [`Kind::BadInput`] if it lacks one.
pub fn require(folder: &ModelFolder, halves: &[Half]) -> Result<()> {
    for &half in halves {
        folder
            .model(half)
            .with_context(|| format!("{} has no {half}", locate::name(folder)))
            .of_kind(Kind::BadInput)?;
    }
    Ok(())
}

/// Makes sure that an engine is to be had, without opening a model on it.
///
/// # Errors
/// [`Kind::Engine`] if it is not, [`Kind::Usage`] if a provider is asked for that the engine does not have.
pub fn available(args: &EngineArgs) -> Result<()> {
    choose(args, &mut Vec::new()).map(drop)
}

/// ONNX Runtime, or `None` for tract.
fn choose(args: &EngineArgs, skipped: &mut Vec<String>) -> Result<Option<Runtime>> {
    let wants_provider = !matches!(args.provider, Choice::Auto | Choice::Named(Provider::Cpu));
    match args.engine {
        EngineArg::Tract => {
            let provider = args.provider;
            ensure_usage(!wants_provider, || {
                format!("--provider {provider} is ONNX Runtime's, and --engine is tract")
            })?;
            Ok(None)
        }
        EngineArg::Ort => Runtime::load().of_kind(Kind::Engine).map(Some),
        EngineArg::Auto => match Runtime::load() {
            Ok(runtime) => Ok(Some(runtime)),
            Err(error @ LoadError::NotFound { .. }) if !wants_provider => {
                skipped.push(format!("ort: {error}"));
                Ok(None)
            }
            Err(error) => Err(error).of_kind(Kind::Engine),
        },
    }
}

fn open_half(
    runtime: Option<&Runtime>,
    folder: &ModelFolder,
    half: Half,
    args: &EngineArgs,
    skipped: &mut Vec<String>,
) -> Result<Box<dyn Session>> {
    let path = folder.model(half).context("checked before")?.path.as_path();
    let Some(runtime) = runtime else {
        return Ok(Box::new(open_tract(path, args.threads)?));
    };
    let (session, report) = OrtSession::open(runtime, path, &args.ort_options())?;
    for passed_over in report.skipped {
        let reason = format!("ort on {}: {}", passed_over.provider, passed_over.reason);
        if !skipped.contains(&reason) {
            skipped.push(reason);
        }
    }
    Ok(Box::new(session))
}

/// tract takes a model's bytes, and keeps its own copy of the weights.
///
/// # Errors
/// If the file cannot be read or is no model for tract.
pub fn open_tract(path: &Path, threads: Option<NonZeroUsize>) -> Result<TractSession> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    TractSession::open(&bytes, &vaekit_tract::Options { threads }).with_context(|| path.display().to_string())
}

fn ensure_usage(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    let check = || -> Result<()> {
        ensure!(holds, message());
        Ok(())
    };
    check().of_kind(Kind::Usage)
}
