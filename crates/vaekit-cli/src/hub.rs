//! The registry of known VAEs and the hub that has them, as this machine and its user have set them up.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, anyhow};
use etcetera::BaseStrategy;
use vaekit_hub::{CheckedFile, Event, HashSource, Hub, HubError, Registry, Settings};

use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// The file of a user's own registry.
pub const VARIABLE: &str = "VAEKIT_REGISTRY";

/// The VAEs that vaekit knows, and the user's own before them.
///
/// # Errors
/// [`Kind::BadInput`] if the user's registry cannot be read.
pub fn registry(ui: &Ui) -> Result<Registry> {
    let Some(path) = users_registry() else { return Ok(Registry::builtin()) };
    let text = match fs::read_to_string(&path) {
        // One that is named must be there.
        Err(error) if error.kind() == io::ErrorKind::NotFound && std::env::var_os(VARIABLE).is_none() => {
            return Ok(Registry::builtin());
        }
        text => text.with_context(|| format!("cannot read the registry {}", path.display())).of_kind(Kind::BadInput)?,
    };
    let users = Registry::parse(&text).with_context(|| format!("the registry {}", path.display()));
    let registry = Registry::builtin().with_users(users.of_kind(Kind::BadInput)?);
    for name in registry.overridden() {
        ui.detail(format_args!("`{name}` is the one of {}, not vaekit's", path.display()));
    }
    Ok(registry)
}

/// Where a user's own registry is, or would be: the file of [`VARIABLE`] (none if that is empty), else one in the system's
/// folder for configuration.
pub fn users_registry() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(path) => (!path.is_empty()).then(|| path.into()),
        None => Some(etcetera::choose_base_strategy().ok()?.config_dir().join("vaekit").join("registry.toml")),
    }
}

/// The hub that the environment names. Nothing is asked yet.
///
/// # Errors
/// [`Kind::Usage`] if a variable cannot be meant.
pub fn open() -> Result<Hub> {
    let home = vaekit_ort::home().context("this system has no folder for a user's data; set VAEKIT_HOME to one")?;
    let settings = Settings::from_env(home.join("known-hashes.json")).of_kind(Kind::Usage)?;
    Ok(Hub::new(settings))
}

/// A hub's failure, of the kind it has.
pub fn failure(error: HubError) -> Error {
    let kind = match error {
        HubError::Damaged { .. } | HubError::NotInstalled { .. } | HubError::Elsewhere { .. } => Some(Kind::BadInput),
        HubError::Io { .. } => None,
        _ => Some(Kind::Hub),
    };
    match kind {
        Some(kind) => crate::failure::Failure::error(kind, error),
        None => anyhow!(error),
    }
}

/// Runs work on a hub's files with a bar for each file, and notes for what goes wrong.
pub fn with_progress<T>(ui: &Ui, label: &str, work: impl FnOnce(&mut dyn FnMut(Event<'_>)) -> T) -> T {
    let bar = ui.transfer(label);
    let mut step = String::new();
    let result = work(&mut |event| {
        let (done, total) = match &event {
            Event::Fetching { done, total, .. } => (*done, *total),
            Event::Checking { done, total, .. } => (*done, Some(*total)),
            Event::Retrying { .. } | Event::Waiting { .. } => {
                bar.suspend(|| ui.note(&event));
                return;
            }
            Event::Asking { .. } => (0, None),
        };
        let now = event.to_string();
        if now != step {
            bar.reset();
            bar.set_message(format!("{label}: {now}"));
            bar.suspend(|| ui.detail(&now));
            step = now;
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

/// Who says that a file is the right one, for people.
pub fn proof(file: &CheckedFile) -> &'static str {
    match file.checked_against {
        Some(HashSource::Registry) => "sha256 as in the registry",
        Some(HashSource::FirstFetch) => "sha256 as when it was first fetched",
        Some(HashSource::Hub) => "sha256 as the hub says",
        None => "sha256 not known before; now recorded, a later change will be an error",
    }
}
