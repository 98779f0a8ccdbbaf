//! The `vaekit` program as a library, for `xtask` to share.

#![forbid(unsafe_code)]

pub mod args;
pub mod checkpoint;
pub mod commands;
pub mod convert;
pub mod engine;
pub mod failure;
pub mod files;
pub mod locate;
pub mod outputs;
pub mod picture;
pub mod platform;
pub mod trial;
pub mod ui;
pub mod verify;

use std::process::ExitCode;

use anyhow::Result;
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, Command, OutputArgs, RuntimeCommand};
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
    })
}

/// What ONNX Runtime and tract log goes to stderr with `-vv`.
fn log_libraries(verbose: u8) {
    let level = if verbose > 1 { LevelFilter::INFO } else { LevelFilter::OFF };
    // A second subscriber in one process is no reason to stop.
    let _ = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).try_init();
}
