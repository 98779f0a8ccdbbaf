//! `cargo xtask bench`: speed and memory, beside the peers, in one run.

mod cpu;
mod profile;
mod random_vae;
mod report;
mod web;

use anyhow::Result;
use vaekit_cli::ui::Ui;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Conversion, and vaekit's CPU engine beside bare ONNX Runtime and tract
    Cpu(cpu::Args),
    /// The npm package beside onnxruntime-web, in Chromium
    Web(web::Args),
}

pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Cpu(args) => cpu::run(args, ui),
        Command::Web(args) => web::run(args, ui),
    }
}
