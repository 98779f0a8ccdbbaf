//! The `vaekit` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    vaekit_cli::run(&vaekit_cli::args::Cli::parse())
}
