//! What the native benchmarks found, as a table and as JSON.

use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};
use vaekit_kernels::Level;

use super::measure::{Engine, Work};
use super::profile::Kind;
use super::random_vae::Shape;

/// Runs that a process times, after one that it does not.
pub(crate) const RUNS: usize = 2;

/// What a process measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// What ran, with its version.
    pub(crate) engine: String,
    pub(crate) open_seconds: f64,
    /// From nothing to the end of the first run.
    pub(crate) first_seconds: f64,
    pub(crate) seconds: Vec<f64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Of vaekit's engines.
    pub(crate) profile: Vec<Kind>,
    /// What vaekit-cpu's product of matrices reaches in the caches.
    pub(crate) peak_flops: Option<f64>,
}

#[derive(Serialize)]
pub(crate) struct Report {
    machine: String,
    /// What was built, by what, and what it is for.
    build: String,
    threads: usize,
    rounds: usize,
    pub(crate) conversions: Vec<Conversion>,
    results: Vec<Row>,
}

#[derive(Serialize)]
pub(crate) struct Conversion {
    pub(crate) vae: Shape,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) peak_memory_bytes: Option<u64>,
}

/// One engine at one work.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    work: Work,
    engine: Engine,
    /// Of all runs that were timed.
    spread: Spread,
    measurements: Vec<Measurement>,
}

/// Seconds of several runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(seconds: &[f64]) -> Self {
        let least = seconds.iter().copied().fold(f64::MAX, f64::min);
        Spread { median: median(seconds), least, most: seconds.iter().copied().fold(0.0, f64::max) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, least, most } = self;
        write!(f, "{median:.3} s | {least:.3} to {most:.3} s")
    }
}

impl Report {
    pub(crate) fn new(rounds: usize, threads: usize) -> Self {
        Report { machine: machine(), build: build(), threads, rounds, conversions: Vec::new(), results: Vec::new() }
    }

    pub(crate) fn add(&mut self, work: Work, engine: Engine, measurement: Measurement) {
        let at = self.results.iter().position(|row| (row.work, row.engine) == (work, engine)).unwrap_or_else(|| {
            self.results.push(Row { work, engine, spread: Spread::of(&[]), measurements: Vec::new() });
            self.results.len() - 1
        });
        let row = &mut self.results[at];
        row.measurements.push(measurement);
        row.spread = Spread::of(&row.seconds());
    }

    /// The engines that ran, each once.
    fn engines(&self) -> Vec<&str> {
        let mut engines: Vec<&str> = Vec::new();
        for engine in self.results.iter().flat_map(|row| &row.measurements).map(|one| one.engine.as_str()) {
            if !engines.contains(&engine) {
                engines.push(engine);
            }
        }
        engines
    }
}

impl Row {
    fn seconds(&self) -> Vec<f64> {
        self.measurements.iter().flat_map(|one| one.seconds.clone()).collect()
    }

    fn median_of(&self, get: impl Fn(&Measurement) -> f64) -> f64 {
        median(&self.measurements.iter().map(get).collect::<Vec<_>>())
    }

    fn peak(&self) -> Option<u64> {
        self.measurements.iter().filter_map(|one| one.peak_memory_bytes).max()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; {} threads, {} rounds of {RUNS} runs", self.machine, self.threads, self.rounds)?;
        writeln!(f, "{}; {}\n", self.build, self.engines().join(", "))?;
        writeln!(f, "| conversion | checkpoint | time | peak memory |\n| --- | --- | --- | --- |")?;
        for Conversion { vae, checkpoint_bytes, seconds, peak_memory_bytes } in &self.conversions {
            let peak = megabytes(*peak_memory_bytes);
            writeln!(f, "| {vae} | {} MB | {seconds:.2} s | {peak} |", checkpoint_bytes / 1_000_000)?;
        }
        writeln!(f, "\n| work | engine | median | spread | ratio | load to first picture | peak memory |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- |")?;
        for row in &self.results {
            let first = row.median_of(|one| one.first_seconds);
            // The peer comes first.
            let peer = self.results.iter().find(|other| other.work == row.work);
            let ratio = peer.map_or(f64::NAN, |peer| row.spread.median / peer.spread.median);
            let (Row { work, engine, spread, .. }, peak) = (row, megabytes(row.peak()));
            writeln!(f, "| {work} | {engine} | {spread} | {ratio:.2} | {first:.3} s | {peak} |")?;
        }
        for row in &self.results {
            let Some(Measurement { profile, peak_flops, .. }) = row.measurements.last() else { continue };
            if profile.is_empty() {
                continue;
            }
            write!(f, "\n{} on {}", row.work, row.engine)?;
            if let Some(peak) = peak_flops {
                write!(f, ", products of matrices reach {:.0} GFLOP/s", peak * 1e-9)?;
            }
            writeln!(f, ":\n")?;
            writeln!(f, "| kernel | time | GFLOP/s, counted as direct |\n| --- | --- | --- |")?;
            for Kind { kernel, seconds, macs } in profile {
                writeln!(f, "| {kernel} | {:.1} ms | {:.0} |", seconds * 1e3, 2e-9 * *macs as f64 / seconds)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

pub(crate) fn megabytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "unknown".into(), |bytes| format!("{} MB", bytes / 1_000_000))
}

/// vaekit's version, the compiler's, and the instructions that its kernels use here.
fn build() -> String {
    let rustc =
        Command::new("rustc").arg("--version").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    let rustc = rustc.as_deref().map_or("an unknown rustc", str::trim);
    format!("vaekit {} by {rustc}, {} instructions", env!("CARGO_PKG_VERSION"), Level::best().name())
}

/// Processor, cores, system.
pub(crate) fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown CPU", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{name}, {cores} threads, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}
