//! `cargo xtask bench`: speed and memory, beside the peers, in one run.

mod native;
mod random_vae;

use anyhow::Result;
use vaekit_cli::ui::Ui;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Conversion, and vaekit on ONNX Runtime and tract beside bare ONNX Runtime
    Native(native::Args),
}

pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Native(args) => native::run(args, ui),
    }
}
