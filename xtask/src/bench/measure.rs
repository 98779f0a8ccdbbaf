//! One measurement of one engine, in a process of its own that also tells its peak memory.

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use vaekit::{Half, Observer, Session, block_on};
use vaekit_cli::engine::{open_cpu, open_tract};
use vaekit_cli::platform::peak_memory;
use vaekit_cli::ui::Ui;
use vaekit_onnx::ModelFolder;
use vaekit_ort::{OrtSession, Provider, Runtime};
use vaekit_reference::Noise;
use vaekit_wgpu::{Gpu, GpuOptions, WgpuSession};

use super::random_vae::{self, Shape};
use super::report::{Conversion, Measurement};
use super::{profile, report};
use crate::{setup, sh};

/// Half of a VAE, and the side of the square picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) vae: Shape,
    pub(crate) half: Half,
    pub(crate) side: usize,
}

impl std::str::FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split(':');
            let vae = <Shape as clap::ValueEnum>::from_str(parts.next()?, true).ok()?;
            let half = Half::BOTH.into_iter().find(|half| Some(half.to_string().as_str()) == parts.clone().next())?;
            let side = parts.nth(1)?.parse().ok().filter(|side: &usize| *side > 0 && side.is_multiple_of(8))?;
            parts.next().is_none().then_some(Work { vae, half, side })
        };
        parse().ok_or_else(|| format!("`{text}` is not VAE:HALF:SIDE, such as sd1:decoder:512"))
    }
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.vae, self.half, self.side)
    }
}

/// One measurement in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) engine: Engine,
    pub(crate) work: Work,
    pub(crate) folder: PathBuf,
    /// Of a CPU engine.
    pub(crate) threads: usize,
    /// Whether a GPU engine gets SwiftShader.
    pub(crate) software: bool,
}

pub(crate) fn parse_job(text: &str) -> serde_json::Result<Job> {
    serde_json::from_str(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Engine {
    /// `ort` and nothing of vaekit's.
    BareOrt,
    Cpu,
    Tract,
    OrtWebGpu,
    Wgpu,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::BareOrt => "bare ONNX Runtime",
            Engine::Cpu => "vaekit-cpu",
            // As vaekit-tract sets it, see there.
            Engine::Tract => "tract, its direct convolution off",
            Engine::OrtWebGpu => "ONNX Runtime's WebGPU",
            Engine::Wgpu => "vaekit-wgpu",
        })
    }
}

/// A model folder of random weights, made unless it is there.
pub(crate) fn converted(shape: Shape, ui: &Ui) -> Result<PathBuf> {
    let folder = sh::target().join("bench");
    let converted = folder.join(shape.to_string());
    if !converted.join("vaekit.json").exists() {
        ui.note(format_args!("making a {shape} of random weights and converting it"));
        convert(shape, &random_vae::write(shape, &folder)?, &converted)?;
    }
    Ok(converted)
}

pub(crate) fn convert(shape: Shape, checkpoint: &Path, target: &Path) -> Result<Conversion> {
    let begin = Instant::now();
    let mut command = this_program()?;
    command.args(["convert", "--json", "--quiet", "--output"]).arg(target).arg(checkpoint);
    let report: serde_json::Value = serde_json::from_slice(&output(&mut command)?)?;
    Ok(Conversion {
        vae: shape,
        checkpoint_bytes: checkpoint.metadata()?.len(),
        seconds: begin.elapsed().as_secs_f64(),
        peak_memory_bytes: report["peak_memory_bytes"].as_u64(),
    })
}

/// Starts this program again for one measurement.
pub(crate) fn in_own_process(job: &Job) -> Result<Measurement> {
    let mut command = this_program()?;
    command.args(["bench", "job", &serde_json::to_string(job)?]);
    if job.engine == Engine::OrtWebGpu {
        setup::use_webgpu_runtime(&mut command)?;
    }
    if job.software {
        setup::use_software_gpu(&mut command);
    }
    Ok(serde_json::from_slice(&output(&mut command)?)?)
}

pub(crate) fn run(job: &Job) -> Result<()> {
    println!("{}", serde_json::to_string(&measure(job)?)?);
    Ok(())
}

fn measure(job: &Job) -> Result<Measurement> {
    let folder = ModelFolder::open(&job.folder)?;
    let latents = &folder.config().latents;
    let side = job.work.side / latents.downsample_factor;
    let (input, output) = match job.work.half {
        Half::Encoder => {
            ((1, 3, job.work.side, job.work.side), (1, folder.config().encoder_out_channels(), side, side))
        }
        Half::Decoder => ((1, latents.channels, side, side), (1, 3, job.work.side, job.work.side)),
    };
    let mut noise = Noise::new(0);
    let input = Array4::from_shape_simple_fn(input, || noise.normal());
    let model = &folder.model(job.work.half).context("no such half")?.path;
    let threads = NonZero::new(job.threads);
    let begin = Instant::now();
    match job.engine {
        Engine::BareOrt => {
            let runtime = Runtime::load()?;
            let builder = ort::session::Session::builder(runtime.environment())?;
            let mut builder = builder.with_intra_threads(job.threads).map_err(ort::Error::<()>::from)?;
            let mut session = builder.commit_from_file(model)?;
            let shape: Vec<i64> = input.shape().iter().map(|&side| side as i64).collect();
            let values = input.as_slice().context("standard layout")?;
            let opened = begin.elapsed().as_secs_f64();
            time(format!("ONNX Runtime {}", runtime.library().version), begin, opened, || {
                let input = ort::value::TensorRef::from_array_view((shape.clone(), values))?;
                let outputs = session.run(ort::inputs![input])?;
                let (_, image) = outputs[0].try_extract_tensor::<f32>()?;
                ensure!(image[0].is_finite(), "the output is not finite");
                Ok(())
            })
        }
        Engine::Cpu => {
            let mut session = open_cpu(model, &vaekit_cpu::Options { threads, ..Default::default() })??;
            let mut measured = time_session(begin, &mut session, &input, output)?;
            let steps = session.steps(size(&input)).context("planning")?;
            let run = |clock: &mut dyn Observer| {
                let mut output = Array4::zeros(output);
                block_on(session.run(input.view(), output.view_mut(), clock)).context("running")
            };
            measured.profile = profile::profile(&steps, run)?;
            measured.peak_flops = Some(profile::peak_flops(job.threads)?);
            Ok(measured)
        }
        Engine::Tract => time_session(begin, &mut open_tract(model, threads)?, &input, output),
        Engine::OrtWebGpu => {
            let options = vaekit_ort::Options { provider: Provider::WebGpu.into(), ..vaekit_ort::Options::default() };
            let (mut session, _) = OrtSession::open(&Runtime::load()?, model, &options)?;
            time_session(begin, &mut session, &input, output)
        }
        Engine::Wgpu => {
            let gpu = block_on(Gpu::request(&GpuOptions { software: job.software, ..GpuOptions::default() }))?;
            let file = File::open(model)?;
            let mut session = block_on(WgpuSession::open(&gpu, file, &vaekit_wgpu::Options::default()))?;
            let mut measured = time_session(begin, &mut session, &input, output)?;
            let steps = block_on(session.time(size(&input)))?;
            measured.profile = profile::by_kernel(steps.iter().map(|step| (step.kind, step.seconds, step.macs)));
            Ok(measured)
        }
    }
}

fn size(input: &Array4<f32>) -> [usize; 3] {
    [input.dim().1, input.dim().2, input.dim().3]
}

/// Times a session that was opened since `begin`.
fn time_session(
    begin: Instant,
    session: &mut dyn Session,
    input: &Array4<f32>,
    output: (usize, usize, usize, usize),
) -> Result<Measurement> {
    let opened = begin.elapsed().as_secs_f64();
    let mut output = Array4::zeros(output);
    let engine = session.engine().to_string();
    time(engine, begin, opened, || block_on(session.run(input.view(), output.view_mut(), &mut ())).context("running"))
}

/// Times a first run, from `begin` on, and the next ones.
fn time(engine: String, begin: Instant, open_seconds: f64, mut run: impl FnMut() -> Result<()>) -> Result<Measurement> {
    run()?;
    let first_seconds = begin.elapsed().as_secs_f64();
    let mut seconds = Vec::new();
    for _ in 0..report::RUNS {
        let begin = Instant::now();
        run()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let peak_memory_bytes = peak_memory();
    let (profile, peak_flops) = (Vec::new(), None);
    Ok(Measurement { engine, open_seconds, first_seconds, seconds, peak_memory_bytes, profile, peak_flops })
}

fn this_program() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("this program has no path")?))
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(output.stdout)
}
