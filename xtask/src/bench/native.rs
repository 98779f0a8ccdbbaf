//! `cargo xtask bench native`: full-size VAEs with random weights.
//!
//! Every measurement runs in a process of its own, which also tells its peak memory. Engines take turns, so that whatever
//! else the machine does hits all of them alike; medians and the spread are reported.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use vaekit::{Half, Latents, block_on};
use vaekit_cli::args::{EngineArg, EngineArgs};
use vaekit_cli::platform::peak_memory;
use vaekit_cli::ui::Ui;
use vaekit_cli::{engine, files};
use vaekit_onnx::ModelFolder;
use vaekit_reference::Noise;

use super::random_vae::{self, Shape};
use crate::sh;

/// Options of the native benchmark.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Side of the square image in pixels
    #[arg(long, default_value_t = 512)]
    side: usize,
    /// Rounds; in each, every engine runs once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure tract too, which takes long on full-size VAEs
    #[arg(long)]
    tract: bool,
    /// Only this VAE: sd1 or taesd
    #[arg(long)]
    only: Option<Shape>,
    /// One measurement, printed as JSON; what the benchmark starts itself
    #[arg(long, hide = true, value_parser = parse_job)]
    job: Option<Job>,
}

/// One measurement in a process of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    engine: Engine,
    folder: PathBuf,
    side: usize,
}

fn parse_job(text: &str) -> serde_json::Result<Job> {
    serde_json::from_str(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Engine {
    /// `ort` and nothing of vaekit's.
    BareOrt,
    /// vaekit's pipeline on ONNX Runtime.
    Ort,
    /// vaekit's own engine.
    Cpu,
    /// vaekit's pipeline on tract.
    Tract,
}

/// What a process measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Measured {
    open_seconds: f64,
    decode_seconds: Vec<f64>,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Report {
    machine: String,
    side: usize,
    rounds: usize,
    conversions: Vec<Conversion>,
    decodes: Vec<Decode>,
}

#[derive(Serialize)]
struct Conversion {
    vae: Shape,
    checkpoint_bytes: u64,
    seconds: f64,
    peak_memory_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Decode {
    vae: Shape,
    engine: &'static str,
    open_seconds: f64,
    median_seconds: f64,
    seconds: Vec<f64>,
    peak_memory_bytes: Option<u64>,
    /// Median over bare ONNX Runtime's.
    ratio: f64,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    if let Some(job) = &args.job {
        println!("{}", serde_json::to_string(&measure(job)?)?);
        return Ok(());
    }
    let folder = sh::target().join("bench");
    let mut report = Report {
        machine: machine(),
        side: args.side,
        rounds: args.rounds,
        conversions: Vec::new(),
        decodes: Vec::new(),
    };
    for shape in [Shape::Taesd, Shape::Sd1].into_iter().filter(|&shape| args.only.is_none_or(|only| only == shape)) {
        ui.note(format_args!("making a {shape} of random weights"));
        let checkpoint = random_vae::write(shape, &folder)?;
        ui.note("converting it");
        let converted = folder.join(shape.to_string());
        report.conversions.push(convert(shape, &checkpoint, &converted)?);
        report.decodes.extend(decodes(shape, &converted, args, ui)?);
    }
    files::write_atomically(&folder.join("native.json"), serde_json::to_string_pretty(&report)?.as_bytes())?;
    ui.print(&report)
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

fn decodes(shape: Shape, folder: &Path, args: &Args, ui: &Ui) -> Result<Vec<Decode>> {
    let engines: &[(Engine, &str)] = &[
        (Engine::BareOrt, "bare ONNX Runtime"),
        (Engine::Ort, "vaekit on ONNX Runtime"),
        (Engine::Cpu, "vaekit's own engine"),
        (Engine::Tract, "vaekit on tract"),
    ];
    let engines = &engines[..if args.tract { 4 } else { 3 }];
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); engines.len()];
    for round in 0..args.rounds {
        for (&(engine, name), measured) in engines.iter().zip(&mut measured) {
            ui.note(format_args!("{shape}, round {}: {name}", round + 1));
            let job = Job { engine, folder: folder.to_owned(), side: args.side };
            let mut command = this_program()?;
            command.args(["bench", "native", "--job", &serde_json::to_string(&job)?]);
            measured.push(serde_json::from_slice(&output(&mut command)?)?);
        }
    }
    let mut decodes = Vec::new();
    for (&(_, engine), measured) in engines.iter().zip(&measured) {
        let seconds: Vec<f64> = measured.iter().flat_map(|one| one.decode_seconds.clone()).collect();
        let median_seconds = median(&seconds);
        let bare = decodes.first().map_or(median_seconds, |bare: &Decode| bare.median_seconds);
        decodes.push(Decode {
            vae: shape,
            engine,
            open_seconds: median(&measured.iter().map(|one| one.open_seconds).collect::<Vec<_>>()),
            median_seconds,
            seconds,
            peak_memory_bytes: measured.iter().filter_map(|one| one.peak_memory_bytes).max(),
            ratio: median_seconds / bare,
        });
    }
    Ok(decodes)
}

/// Runs that a process times, after one that it does not.
const RUNS: usize = 2;

fn measure(job: &Job) -> Result<Measured> {
    let folder = ModelFolder::open(&job.folder)?;
    let side = job.side / folder.config().latents.downsample_factor;
    let mut noise = Noise::new(0);
    let latents = Array4::from_shape_simple_fn((1, folder.config().latents.channels, side, side), || noise.normal());
    match job.engine {
        Engine::BareOrt => measure_bare(&folder, &latents),
        Engine::Ort => measure_vaekit(&folder, &latents, EngineArg::Ort),
        Engine::Cpu => measure_vaekit(&folder, &latents, EngineArg::Cpu),
        Engine::Tract => measure_vaekit(&folder, &latents, EngineArg::Tract),
    }
}

fn measure_vaekit(folder: &ModelFolder, latents: &Array4<f32>, engine: EngineArg) -> Result<Measured> {
    let begin = Instant::now();
    let provider = vaekit_ort::Provider::Cpu.into();
    let args = EngineArgs { engine, provider, ..EngineArgs::default() };
    let mut vae = engine::open(folder, &[Half::Decoder], &args, &Ui::quiet())?.vae;
    let open_seconds = begin.elapsed().as_secs_f64();
    let native = vae.config().latents.native;
    time(open_seconds, || {
        let latents = Latents { data: latents.clone(), domain: native };
        block_on(vae.decode(latents)).map(drop).context("decoding")
    })
}

/// What a program without vaekit would write.
fn measure_bare(folder: &ModelFolder, latents: &Array4<f32>) -> Result<Measured> {
    let runtime = vaekit_ort::Runtime::load()?;
    let begin = Instant::now();
    let model = &folder.model(Half::Decoder).context("no decoder")?.path;
    let mut session = ort::session::Session::builder(runtime.environment())?.commit_from_file(model)?;
    let open_seconds = begin.elapsed().as_secs_f64();
    let shape: Vec<i64> = latents.shape().iter().map(|&side| side as i64).collect();
    let values = latents.as_slice().context("standard layout")?;
    time(open_seconds, || {
        let input = ort::value::TensorRef::from_array_view((shape.clone(), values))?;
        let outputs = session.run(ort::inputs![input])?;
        let (_, image) = outputs[0].try_extract_tensor::<f32>()?;
        ensure!(image[0].is_finite(), "the image is not finite");
        Ok(())
    })
}

fn time(open_seconds: f64, mut run: impl FnMut() -> Result<()>) -> Result<Measured> {
    run()?;
    let mut decode_seconds = Vec::new();
    for _ in 0..RUNS {
        let begin = Instant::now();
        run()?;
        decode_seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(Measured { open_seconds, decode_seconds, peak_memory_bytes: peak_memory() })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
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

/// Processor, cores, system.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{name}, {cores} threads, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}; {side} by {side}, {} rounds of {RUNS}\n", self.machine, self.rounds, side = self.side)?;
        writeln!(f, "| conversion | checkpoint | time | peak memory |\n| --- | --- | --- | --- |")?;
        for Conversion { vae, checkpoint_bytes, seconds, peak_memory_bytes } in &self.conversions {
            let peak = megabytes(*peak_memory_bytes);
            writeln!(f, "| {vae} | {} MB | {seconds:.2} s | {peak} |", checkpoint_bytes / 1_000_000)?;
        }
        writeln!(
            f,
            "\n| decode | engine | open | median | spread | ratio | peak memory |\n| --- | --- | --- | --- | --- | --- | --- |"
        )?;
        for decode in &self.decodes {
            let Decode { vae, engine, open_seconds, median_seconds, seconds, ratio, .. } = decode;
            let (least, most) =
                seconds.iter().fold((f64::MAX, 0.0f64), |(least, most), &s| (least.min(s), most.max(s)));
            let peak = megabytes(decode.peak_memory_bytes);
            writeln!(
                f,
                "| {vae} | {engine} | {open_seconds:.2} s | {median_seconds:.3} s | {least:.3} to {most:.3} s | {ratio:.3} | {peak} |"
            )?;
        }
        Ok(())
    }
}

fn megabytes(bytes: Option<u64>) -> String {
    let mut text = String::new();
    match bytes {
        Some(bytes) => write!(text, "{} MB", bytes / 1_000_000),
        None => write!(text, "unknown"),
    }
    .expect("a String takes all");
    text
}
