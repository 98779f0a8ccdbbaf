//! `cargo xtask bench cpu`: full-size VAEs with random weights on every CPU engine.
//!
//! Every measurement runs in a process of its own, which also tells its peak memory. Engines take turns, so that whatever
//! else the machine does hits all of them alike; medians and the spread are reported.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Array4, ArrayViewMut4};
use serde::{Deserialize, Serialize};
use vaekit::{Half, Observer, block_on};
use vaekit_cli::engine::{open_cpu, open_tract};
use vaekit_cli::files;
use vaekit_cli::platform::peak_memory;
use vaekit_cli::ui::Ui;
use vaekit_onnx::ModelFolder;
use vaekit_reference::Noise;

use super::random_vae::{self, Shape};
use super::report::{Conversion, Measurement, Report};
use super::{profile, report};
use crate::sh;

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, every engine runs once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only this, as VAE:HALF:SIDE; may be given several times [default: the four of the README]
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// Measure tract too, which takes minutes for the large ones
    #[arg(long)]
    tract: bool,
    /// One measurement, printed as JSON; what the benchmark starts itself
    #[arg(long, hide = true, value_parser = parse_job)]
    job: Option<Job>,
}

/// Half of a VAE, and the side of the square picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) vae: Shape,
    pub(crate) half: Half,
    pub(crate) side: usize,
}

const WORK: [Work; 4] = [
    Work { vae: Shape::Taesd, half: Half::Decoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Encoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 1024 },
];

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
struct Job {
    engine: Engine,
    work: Work,
    folder: PathBuf,
    threads: usize,
}

fn parse_job(text: &str) -> serde_json::Result<Job> {
    serde_json::from_str(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Engine {
    /// `ort` and nothing of vaekit's.
    BareOrt,
    Cpu,
    Tract,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::BareOrt => "bare ONNX Runtime",
            Engine::Cpu => "vaekit-cpu",
            Engine::Tract => "tract",
        })
    }
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    if let Some(job) = &args.job {
        println!("{}", serde_json::to_string(&measure(job)?)?);
        return Ok(());
    }
    let folder = sh::target().join("bench");
    let works = if args.only.is_empty() { &WORK[..] } else { &args.only };
    let mut report = Report::new(args.rounds, args.threads);
    for &work in works {
        let converted = folder.join(work.vae.to_string());
        if !report.conversions.iter().any(|conversion| conversion.vae == work.vae) {
            ui.note(format_args!("making a {} of random weights and converting it", work.vae));
            let checkpoint = random_vae::write(work.vae, &folder)?;
            report.conversions.push(convert(work.vae, &checkpoint, &converted)?);
        }
        let engines = [Engine::BareOrt, Engine::Cpu, Engine::Tract];
        let engines = &engines[..if args.tract { 3 } else { 2 }];
        for round in 0..args.rounds {
            for &engine in engines {
                ui.note(format_args!("{work}, round {}: {engine}", round + 1));
                let job = Job { engine, work, folder: converted.clone(), threads: args.threads };
                let mut command = this_program()?;
                command.args(["bench", "cpu", "--job", &serde_json::to_string(&job)?]);
                report.add(work, engine, serde_json::from_slice(&output(&mut command)?)?);
            }
        }
    }
    files::write_atomically(&folder.join("cpu.json"), serde_json::to_string_pretty(&report)?.as_bytes())?;
    ui.print(&report)
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

fn convert(shape: Shape, checkpoint: &Path, target: &Path) -> Result<Conversion> {
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
            let runtime = vaekit_ort::Runtime::load()?;
            let builder = ort::session::Session::builder(runtime.environment())?;
            let mut builder = builder.with_intra_threads(job.threads).map_err(ort::Error::<()>::from)?;
            let mut session = builder.commit_from_file(model)?;
            let shape: Vec<i64> = input.shape().iter().map(|&side| side as i64).collect();
            let values = input.as_slice().context("standard layout")?;
            let opened = begin.elapsed().as_secs_f64();
            time(begin, opened, || {
                let input = ort::value::TensorRef::from_array_view((shape.clone(), values))?;
                let outputs = session.run(ort::inputs![input])?;
                let (_, image) = outputs[0].try_extract_tensor::<f32>()?;
                ensure!(image[0].is_finite(), "the output is not finite");
                Ok(())
            })
        }
        Engine::Cpu => {
            let mut session = open_cpu(model, threads)??;
            let opened = begin.elapsed().as_secs_f64();
            let mut output = Array4::zeros(output);
            let run =
                |session: &mut dyn vaekit::Session, output: ArrayViewMut4<'_, f32>, observer: &mut dyn Observer| {
                    block_on(session.run(input.view(), output, observer)).context("running")
                };
            let mut measured = time(begin, opened, || run(&mut session, output.view_mut(), &mut ()))?;
            let steps = session.steps([input.dim().1, input.dim().2, input.dim().3]);
            measured.profile = profile::profile(&steps, |clock| run(&mut session, output.view_mut(), clock))?;
            measured.peak_flops = Some(profile::peak_flops(job.threads)?);
            Ok(measured)
        }
        Engine::Tract => {
            let mut session = open_tract(model, threads)?;
            let opened = begin.elapsed().as_secs_f64();
            let mut output = Array4::zeros(output);
            time(begin, opened, || {
                let session: &mut dyn vaekit::Session = &mut session;
                block_on(session.run(input.view(), output.view_mut(), &mut ())).context("running")
            })
        }
    }
}

/// Times a first run, from `begin` on, and the next ones.
fn time(begin: Instant, open_seconds: f64, mut run: impl FnMut() -> Result<()>) -> Result<Measurement> {
    run()?;
    let first_seconds = begin.elapsed().as_secs_f64();
    let mut seconds = Vec::new();
    for _ in 0..report::RUNS {
        let begin = Instant::now();
        run()?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    let peak_memory_bytes = peak_memory();
    Ok(Measurement { open_seconds, first_seconds, seconds, peak_memory_bytes, profile: Vec::new(), peak_flops: None })
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
