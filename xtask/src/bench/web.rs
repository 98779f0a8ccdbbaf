//! `cargo xtask bench web`: the npm package and onnxruntime-web on the same models, in the same Chromium.
//!
//! Every measurement has a browser of its own; engines take turns. `web/bench.mjs` is what runs in it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vaekit_cli::files;
use vaekit_cli::ui::Ui;

use super::measure::converted;
use super::random_vae::Shape;
use super::report::{Spread, machine, median, megabytes};
use crate::{sh, web};

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, both run once
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    /// Runs that a measurement times, after one that it does not
    #[arg(long, default_value_t = 2)]
    runs: usize,
    /// Threads of each; may be given several times
    #[arg(long, default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Only this decoder, as VAE:SIDE; may be given several times [default: taesd:512 sd1:256 sd1:512]
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// Decoders to run on WebGPU too, as VAE:SIDE; may be given several times [default: taesd:64 taesd:128]
    #[arg(long, value_name = "WORK")]
    gpu: Vec<Work>,
    /// This machine's GPU for WebGPU, rather than SwiftShader, which is the same everywhere and slow
    #[arg(long)]
    real_gpu: bool,
    /// Measure the package as it was built before
    #[arg(long)]
    no_build: bool,
}

/// A decoder, and the side of the square picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Work {
    vae: Shape,
    side: usize,
}

const WORK: [Work; 3] =
    [Work { vae: Shape::Taesd, side: 512 }, Work { vae: Shape::Sd1, side: 256 }, Work { vae: Shape::Sd1, side: 512 }];

const GPU_WORK: [Work; 2] = [Work { vae: Shape::Taesd, side: 64 }, Work { vae: Shape::Taesd, side: 128 }];

impl std::str::FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (vae, side) = text.split_once(':')?;
            let vae = <Shape as clap::ValueEnum>::from_str(vae, true).ok()?;
            let side = side.parse().ok().filter(|side: &usize| *side > 0 && side.is_multiple_of(8))?;
            Some(Work { vae, side })
        };
        parse().ok_or_else(|| format!("`{text}` is not VAE:SIDE, such as sd1:512"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    OnnxRuntime,
    Vaekit,
}

/// What the engines run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum On {
    Threads(usize),
    SwiftShader,
    Gpu,
}

/// What a browser measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Measurement {
    detail: String,
    open_seconds: f64,
    /// From the page's first import to the end of the first decode, model fetched.
    first_seconds: f64,
    seconds: Vec<f64>,
    /// Of the largest renderer process.
    peak_memory_bytes: Option<u64>,
    /// Scripts and modules that the page fetched.
    code_bytes: u64,
    brotli_bytes: u64,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    work: Work,
    on: On,
    engine: Engine,
    /// Of all runs that were timed.
    spread: Spread,
    measurements: Vec<Measurement>,
}

#[derive(Serialize)]
struct Report {
    machine: String,
    rounds: usize,
    results: Vec<Row>,
}

/// The peer, and where its files are inside the package.
const PEER: &str = "onnxruntime-web@1.30.0";

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    if !args.no_build {
        web::package(|module| module != "tract", ui)?;
    }
    let ort = peer(ui)?;
    let works = if args.only.is_empty() { &WORK[..] } else { &args.only };
    let mut report = Report { machine: machine(), rounds: args.rounds, results: Vec::new() };
    let on_threads =
        works.iter().flat_map(|&work| args.threads.iter().map(move |&threads| (work, On::Threads(threads))));
    let gpu = if args.real_gpu { On::Gpu } else { On::SwiftShader };
    // Who asks for certain works wants no others.
    let gpu_works = if args.gpu.is_empty() && args.only.is_empty() { &GPU_WORK[..] } else { &args.gpu };
    let only_gpu = args.only.is_empty() && !args.gpu.is_empty();
    let all = on_threads.filter(|_| !only_gpu).chain(gpu_works.iter().map(|&work| (work, gpu)));
    for (work, on) in all {
        let model = converted(work.vae, ui)?;
        let row = |engine| Row { work, on, engine, spread: Spread::of(&[]), measurements: Vec::new() };
        let mut rows = [row(Engine::OnnxRuntime), row(Engine::Vaekit)];
        for round in 0..args.rounds {
            for row in &mut rows {
                let Work { vae, side } = work;
                ui.note(format_args!("{vae} {side}, {on}, round {}: {}", round + 1, row.engine));
                row.measurements.push(measure(row, &model, &ort, args.runs)?);
                row.spread = Spread::of(&row.seconds());
            }
        }
        report.results.extend(rows);
    }
    let json = serde_json::to_string_pretty(&report)?;
    files::write_atomically(&sh::target().join("bench").join("web.json"), json.as_bytes())?;
    ui.print(&report)
}

/// onnxruntime-web's files.
fn peer(ui: &Ui) -> Result<PathBuf> {
    let folder = sh::target().join("bench").join("peer");
    let dist = folder.join("node_modules/onnxruntime-web/dist");
    if !dist.exists() {
        ui.note(format_args!("installing {PEER}"));
        std::fs::create_dir_all(&folder)?;
        let mut npm = web::npm();
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", PEER, "--prefix"]);
        sh::run(npm.arg(&folder).current_dir(&folder))?;
    }
    Ok(dist)
}

fn measure(row: &Row, model: &Path, ort: &Path, runs: usize) -> Result<Measurement> {
    let (gpu, threads) = match row.on {
        On::Threads(threads) => (None, threads),
        On::SwiftShader => (Some("swiftshader"), 1),
        On::Gpu => (Some("real"), 1),
    };
    let job = json!({
        "engine": row.engine, "model": model, "channels": 4, "side": row.work.side, "gpu": gpu, "threads": threads,
        "runs": runs, "ort": ort, "target": sh::target().join("web"),
    });
    let output = web::node().arg("bench.mjs").arg(job.to_string()).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start node")?;
    ensure!(output.status.success(), "the browser's measurement failed");
    serde_json::from_slice(&output.stdout).context("the browser's measurement")
}

impl Row {
    fn seconds(&self) -> Vec<f64> {
        self.measurements.iter().flat_map(|one| one.seconds.clone()).collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}; Chromium, {} rounds\n", self.machine, self.rounds)?;
        writeln!(
            f,
            "| decode | on | engine | median | spread | ratio | to first picture | peak memory | code, brotli |"
        )?;
        write!(f, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for pair in self.results.chunks(2) {
            for row in pair {
                let Row { work: Work { vae, side }, on, engine, spread, measurements } = row;
                let ratio = spread.median / pair[0].spread.median;
                let first = median(&measurements.iter().map(|one| one.first_seconds).collect::<Vec<_>>());
                let peak = megabytes(measurements.iter().filter_map(|one| one.peak_memory_bytes).max());
                let code = measurements.first().map_or(0, |one| one.brotli_bytes.div_ceil(1000));
                write!(
                    f,
                    "\n| {vae} {side} | {on} | {engine} | {spread} | {ratio:.2} | {first:.2} s | {peak} | {code} kB |"
                )?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            On::Threads(1) => f.write_str("1 thread"),
            On::Threads(threads) => write!(f, "{threads} threads"),
            On::SwiftShader => f.write_str("WebGPU, SwiftShader"),
            On::Gpu => f.write_str("WebGPU"),
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Engine::OnnxRuntime => "onnxruntime-web",
            Engine::Vaekit => "vaekit",
        })
    }
}
