//! The `vaekit` program as a library, for `xtask` to share.

#![forbid(unsafe_code)]

pub mod args;
pub mod cache;
pub mod checkpoint;
pub mod choose;
pub mod commands;
pub mod convert;
pub mod engine;
pub mod failure;
pub mod files;
pub mod gpu;
pub mod hub;
pub mod installed;
pub mod library;
pub mod locate;
pub mod made_by;
pub mod outputs;
pub mod picture;
pub mod platform;
pub mod tiles;
pub mod trial;
pub mod ui;
pub mod verify;
mod watch;

use std::process::ExitCode;

use anyhow::Result;
use tracing_subscriber::filter::LevelFilter;

use args::{CacheCommand, Cli, Command, OutputArgs, RuntimeCommand, VaeCommand};
use ui::Ui;

/// Runs a program's body with Ctrl-C, logging and exit codes in place.
pub fn main_with(output: &OutputArgs, body: impl FnOnce(&Ui) -> Result<()>) -> ExitCode {
    let ui = Ui::new(output);
    log_libraries(output.verbose);
    match files::sweep_on_interrupt().and_then(|()| body(&ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// `vaekit`.
pub fn run(cli: &Cli) -> ExitCode {
    main_with(&cli.output, |ui| match &cli.command {
        Command::Inspect(args) => ui.print(&commands::inspect::run(args, ui)?),
        Command::Convert(args) => ui.print(&commands::convert::run(args, ui)?),
        Command::Encode(args) => ui.print(&commands::encode::run(args, ui)?),
        Command::Decode(args) => ui.print(&commands::decode::run(args, ui)?),
        Command::Roundtrip(args) => ui.print(&commands::roundtrip::run(args, ui)?),
        Command::Compare(args) => ui.print(&commands::compare::run(args, ui)?),
        Command::Devices => ui.print(&commands::devices::run()),
        Command::Runtime(RuntimeCommand::Install { provider }) => ui.print(&commands::runtime::install(*provider, ui)?),
        Command::Runtime(RuntimeCommand::List) => ui.print(&commands::runtime::list()?),
        Command::Vae(VaeCommand::List(args)) => ui.print(&commands::vae::list::run(args, ui)?),
        Command::Vae(VaeCommand::Info(args)) => ui.print(&commands::vae::info::run(args, ui)?),
        Command::Vae(VaeCommand::Use(args)) => ui.print(&commands::vae::remember::run(args, ui)?),
        Command::Vae(VaeCommand::Which(args)) => ui.print(&commands::vae::which::run(args, ui)?),
        Command::Vae(VaeCommand::Fetch(args)) => ui.print(&commands::vae::fetch::run(args, ui)?),
        Command::Vae(VaeCommand::Path(args)) => ui.print(&commands::vae::path::run(args, ui)?),
        Command::Vae(VaeCommand::Verify(args)) => {
            let report = commands::vae::verify::run(args, ui)?;
            ui.print(&report)?;
            report.outcome()
        }
        Command::Vae(VaeCommand::Remove(args)) => ui.print(&commands::vae::remove::run(args, ui)?),
        Command::Cache(CacheCommand::List) => ui.print(&commands::cache::list()?),
        Command::Cache(CacheCommand::Clear { keys }) => ui.print(&commands::cache::clear(keys)?),
    })
}

/// What ONNX Runtime and tract log goes to stderr with `-vv`.
fn log_libraries(verbose: u8) {
    let level = if verbose > 1 { LevelFilter::INFO } else { LevelFilter::OFF };
    // A second subscriber in one process is no reason to stop.
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).try_init();
}
