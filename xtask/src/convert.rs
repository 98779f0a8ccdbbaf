//! `cargo xtask convert`: what `vaekit convert` does, from a checkout.

use anyhow::Result;
use vaekit_cli::args::ConvertArgs;
use vaekit_cli::commands::convert;
use vaekit_cli::ui::Ui;

pub(crate) fn run(args: &ConvertArgs, ui: &Ui) -> Result<()> {
    ui.print(&convert::run(args, ui)?)
}
