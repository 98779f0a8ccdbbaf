//! npm and Node.

use std::process::Command;

use anyhow::Result;
use vaekit_cli::ui::Ui;

use super::folder;
use crate::sh;

/// npm, whose program has another name on Windows.
pub(crate) fn npm() -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(folder());
    command
}

/// Node, in the workspace.
pub(crate) fn node() -> Command {
    let mut command = Command::new("node");
    command.current_dir(folder());
    command
}

/// Installs what `package-lock.json` says, unless that is there. Scripts of packages do not run.
pub(crate) fn install(ui: &Ui) -> Result<()> {
    // npm writes this file when it is done.
    let modified = |path: &str| folder().join(path).metadata().and_then(|metadata| metadata.modified()).ok();
    if modified("node_modules/.package-lock.json") >= modified("package-lock.json") {
        return Ok(());
    }
    ui.note("installing npm packages");
    sh::run(npm().args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]))
}
