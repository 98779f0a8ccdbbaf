//! Child processes and the project's places.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project's folder")
}

/// `target/`, wherever cargo was told to put it.
pub(crate) fn target() -> PathBuf {
    // Absolute: it goes to programs that run in other folders.
    std::env::var_os("CARGO_TARGET_DIR")
        .and_then(|target| std::path::absolute(target).ok())
        .unwrap_or_else(|| root().join("target"))
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    cargo_at(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A cargo as if somebody had started it: what `cargo run` says of this package is not for others, and build scripts that ask
/// for it (ring's) would run again, and all that depends on them be built again.
pub(crate) fn cargo_at(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| of_package(name)) {
        command.env_remove(name);
    }
    command
}

/// A command as one would type it, without its environment.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot start {line}"))?;
    ensure!(status.success(), "{line} failed: {status}");
    Ok(())
}
