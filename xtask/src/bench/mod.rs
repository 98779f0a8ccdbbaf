//! `cargo xtask bench`: speed and memory, beside the peers, in one run.

mod cpu;
mod gpu;
mod measure;
mod profile;
mod random_vae;
mod report;
mod turns;
mod web;

use anyhow::Result;
use vaekit_cli::ui::Ui;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Conversion, and vaekit's CPU engine beside bare ONNX Runtime and tract
    Cpu(cpu::Args),
    /// vaekit's engine on WebGPU beside ONNX Runtime's WebGPU provider
    Gpu(gpu::Args),
    /// The npm package beside onnxruntime-web, in Chromium
    Web(web::Args),
    /// One measurement, printed as JSON: what the others start themselves
    #[command(hide = true)]
    Job {
        #[arg(value_parser = measure::parse_job)]
        job: measure::Job,
    },
}

pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Cpu(args) => cpu::run(args, ui),
        Command::Gpu(args) => gpu::run(args, ui),
        Command::Web(args) => web::run(args, ui),
        Command::Job { job } => measure::run(job),
    }
}
