//! `cargo xtask web`: the browser package, its demo page, and their tests.

mod build;
mod npm;
mod serve;
mod test;
mod toolchain;

use std::path::PathBuf;

use anyhow::Result;
use vaekit_cli::ui::Ui;

use crate::sh;

/// What to do.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Builds the npm package: web/vaekit/dist
    Build(build::Args),
    /// Builds the package, and serves the demo page with the headers that threads need
    Serve(serve::Args),
    /// The core crates' tests as wasm in Node, and the package's in real browsers
    Test(test::Args),
}

pub(crate) fn run(command: &Command, ui: &Ui) -> Result<()> {
    match command {
        Command::Build(args) => build::run(args, ui),
        Command::Serve(args) => serve::run(args, ui),
        Command::Test(args) => test::run(args, ui),
    }
}

/// The npm workspace.
pub(crate) fn folder() -> PathBuf {
    sh::root().join("web")
}

pub(crate) use build::package;
pub(crate) use npm::{install, node, npm};
pub(crate) use toolchain::setup;
