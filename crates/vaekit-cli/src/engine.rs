//! From a model folder to a VAE that is ready to run.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use vaekit::{Half, Session, Vae};
use vaekit_cpu::{CpuSession, FreeMemory};
use vaekit_onnx::{ModelFolder, Precision};
use vaekit_ort::{Choice, LoadError, OrtSession, Provider, Runtime, Skipped};
use vaekit_tract::TractSession;
use vaekit_wgpu::Gpu;

use crate::args::{EngineArg, EngineArgs};
use crate::failure::{Kind, OfKind};
use crate::tiles::Tiles;
use crate::ui::Ui;
use crate::{gpu, locate, platform};

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
/// `auto` takes ONNX Runtime with the first GPU provider that works, else vaekit's own engine on a real GPU, else its CPU
/// engine, and for a graph that neither knows ONNX Runtime's CPU provider or tract. A provider that is asked for by name is
/// ONNX Runtime's, and with a device that is asked for it is a GPU or an error.
///
/// # Errors
/// [`Kind::Engine`] if what was asked for by name is not to be had, [`Kind::BadInput`] if the model lacks a half.
pub fn open(folder: &ModelFolder, halves: &[Half], args: &EngineArgs, ui: &Ui) -> Result<Opened> {
    require(folder, halves)?;
    let mut engines = Engines::new(args)?;
    let mut open_half = |half| -> Result<Option<Box<dyn Session>>> {
        if !halves.contains(&half) {
            return Ok(None);
        }
        let path = folder.model(half).context("checked before")?.path.as_path();
        let session = engines.open(path, args, folder.facts().map(|facts| facts.precision));
        session.with_context(|| format!("the {half} of {}", locate::name(folder))).of_kind(Kind::Engine).map(Some)
    };
    let (encoder, decoder) = (open_half(Half::Encoder)?, open_half(Half::Decoder)?);
    let mut vae = Vae::new(folder.config().clone(), encoder, decoder);
    vae.set_tiling(args.tiles.of(folder.config().latents.downsample_factor)?);
    let engine = match Half::BOTH.map(|half| vae.engine(half).map(ToString::to_string)) {
        [Some(encoder), Some(decoder)] if encoder != decoder => format!("{encoder} (encoder), {decoder} (decoder)"),
        [Some(engine), _] | [None, Some(engine)] => engine,
        [None, None] => bail!("no half was asked for"),
    };
    let skipped = engines.skipped;
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
    Engines::new(args).map(drop)
}

/// What there is to open a model with.
struct Engines {
    /// ONNX Runtime, unless another engine was asked for or there is none.
    runtime: Option<Runtime>,
    /// A GPU, where one was asked for or is the best there is.
    gpu: Option<Gpu>,
    skipped: Vec<String>,
}

impl Engines {
    fn new(args: &EngineArgs) -> Result<Self> {
        let wants_provider = matches!(args.provider, Choice::Named(_));
        let mut skipped = Vec::new();
        let on_cpu = matches!(args.engine, EngineArg::Cpu | EngineArg::Tract);
        if let Some(device) = args.device.as_ref().filter(|_| on_cpu) {
            let engine = args.engine.name();
            ensure_usage(false, || {
                format!("--device {device} is for GPUs and ONNX Runtime, and --engine is {engine}")
            })?;
        }
        let runtime = match args.engine {
            EngineArg::Cpu | EngineArg::Tract | EngineArg::Wgpu => {
                let (provider, engine) = (args.provider, args.engine.name());
                ensure_usage(!wants_provider, || {
                    format!("--provider {provider} is ONNX Runtime's, and --engine is {engine}")
                })?;
                None
            }
            EngineArg::Ort => Some(Runtime::load().of_kind(Kind::Engine)?),
            EngineArg::Auto if wants_provider => Some(Runtime::load().of_kind(Kind::Engine)?),
            EngineArg::Auto => match Runtime::load() {
                Ok(runtime) => Some(runtime),
                Err(error) => {
                    // That there is none is no news: the CPU needs none.
                    let broken = if matches!(error, LoadError::NotFound { .. }) { "GPUs" } else { "ort" };
                    skipped.push(format!("{broken}: {error}"));
                    None
                }
            },
        };
        let gpu = match args.engine {
            EngineArg::Wgpu => Some(gpu::request(args).context("--engine wgpu").of_kind(Kind::Engine)?),
            _ => None,
        };
        Ok(Engines { runtime, gpu, skipped })
    }

    fn open(&mut self, path: &Path, args: &EngineArgs, precision: Option<Precision>) -> Result<Box<dyn Session>> {
        match (args.engine, args.provider, &self.runtime) {
            (EngineArg::Cpu, ..) => Ok(Box::new(open_cpu(path, &cpu_options(args))??)),
            (EngineArg::Tract, ..) => Ok(Box::new(open_tract(path, args.threads)?)),
            (EngineArg::Wgpu, ..) => {
                let gpu = self.gpu.as_ref().context("requested before")?;
                Ok(Box::new(gpu::open(path, gpu, precision)?))
            }
            (EngineArg::Ort, _, Some(runtime)) | (EngineArg::Auto, Choice::Named(_), Some(runtime)) => {
                let (session, report) = OrtSession::open(runtime, path, &args.ort_options())?;
                self.skip(report.skipped);
                Ok(Box::new(session))
            }
            (EngineArg::Ort | EngineArg::Auto, ..) => self.open_best(path, args, precision),
        }
    }

    fn open_best(&mut self, path: &Path, args: &EngineArgs, precision: Option<Precision>) -> Result<Box<dyn Session>> {
        if let Some(runtime) = &self.runtime {
            match OrtSession::open_on_gpu(runtime, path, &args.ort_options()) {
                Ok((session, report)) => {
                    self.skip(report.skipped);
                    return Ok(Box::new(session));
                }
                Err(skipped) => self.skip(skipped),
            }
        }
        if args.engine == EngineArg::Auto {
            match gpu::open_best(path, &mut self.gpu, args, precision) {
                Ok(session) => return Ok(Box::new(session)),
                Err(error) => self.skip_one(format!("wgpu: {error:#}")),
            }
        }
        if let Some(device) = &args.device {
            bail!("--device {device} was asked for, and nothing runs on it: {}", self.skipped.join("; "));
        }
        match open_cpu(path, &cpu_options(args))? {
            Ok(session) => return Ok(Box::new(session)),
            Err(error) if error.is_unsupported() => self.skip_one(format!("cpu: {error}")),
            Err(error) => return Err(error.into()),
        }
        match &self.runtime {
            Some(runtime) => {
                let options = vaekit_ort::Options { provider: Provider::Cpu.into(), ..args.ort_options() };
                Ok(Box::new(OrtSession::open(runtime, path, &options)?.0))
            }
            None => Ok(Box::new(open_tract(path, args.threads)?)),
        }
    }

    fn skip(&mut self, skipped: Vec<vaekit_ort::Skipped>) {
        for Skipped { provider, reason } in skipped {
            self.skip_one(format!("ort on {provider}: {reason}"));
        }
    }

    /// Both halves pass over the same things.
    fn skip_one(&mut self, reason: String) {
        if !self.skipped.contains(&reason) {
            self.skipped.push(reason);
        }
    }
}

fn cpu_options(args: &EngineArgs) -> vaekit_cpu::Options {
    // Tiles before a system begins to swap, or ends the program; but what is wanted in one piece is tried.
    let measured = || -> FreeMemory { Arc::new(platform::available_memory) };
    vaekit_cpu::Options { threads: args.threads, memory: (args.tiles != Tiles::Never).then(measured) }
}

/// vaekit's own CPU engine, or why it does not take the model.
///
/// # Errors
/// If the file cannot be read.
pub fn open_cpu(path: &Path, options: &vaekit_cpu::Options) -> Result<Result<CpuSession, vaekit_cpu::OpenError>> {
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(CpuSession::open(file, options))
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
