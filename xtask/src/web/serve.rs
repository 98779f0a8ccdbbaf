//! `cargo xtask web serve`: the demo page on this machine.

use anyhow::{Result, ensure};
use vaekit_cli::ui::Ui;

use super::{folder, npm};
use crate::sh;

/// Options of the server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1; WebGPU and threads need that address or https
    #[arg(long, default_value_t = 5173)]
    port: u16,
    /// Leave out the headers that threads need, to see the page without
    #[arg(long)]
    not_isolated: bool,
    /// Serve what was built before
    #[arg(long)]
    no_build: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let demo = folder().join("demo");
    ensure!(demo.join("package.json").exists(), "there is no demo page in {}", demo.display());
    if !args.no_build {
        super::package(|_| true, ui)?;
        sh::run(npm::npm().args(["run", "--workspace", "demo", "build"]))?;
    }
    let mut node = npm::node();
    node.args(["serve.mjs", "demo/dist", "--port", &args.port.to_string()]);
    if args.not_isolated {
        node.arg("--not-isolated");
    }
    sh::run(&mut node)
}
