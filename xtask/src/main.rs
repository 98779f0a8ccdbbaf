//! The project's tasks, one file a command. `cargo xtask --help` lists them.

mod bench;
mod convert;
mod demo;
mod layers;
mod setup;
mod sh;
mod test;
mod web;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vaekit_cli::args::{ConvertArgs, OutputArgs};

/// Tasks of the vaekit project
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Subcommand)]
enum Command {
    /// The main job: convert the starter VAE, prove it, encode a photograph and decode it; writes target/demo/
    Demo,
    /// Everything that CI checks, installing what it needs
    Test(test::Args),
    /// Installs what the tests need: ONNX Runtime, cargo-deny, npm packages, wasm targets, browsers on Debian
    Setup,
    /// Converts a checkpoint to a folder of ONNX models
    Convert(ConvertArgs),
    /// The browser package, its demo page, and their tests
    #[command(subcommand)]
    Web(web::Command),
    /// Measures speed and memory
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> ExitCode {
    let xtask = Xtask::parse();
    vaekit_cli::main_with(&xtask.output, |ui| match &xtask.command {
        Command::Demo => demo::run(ui),
        Command::Test(args) => test::run(args, ui),
        Command::Setup => setup::run(ui),
        Command::Convert(args) => convert::run(args, ui),
        Command::Web(command) => web::run(command, ui),
        Command::Bench(command) => bench::run(command, ui),
    })
}
