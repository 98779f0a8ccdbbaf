//! `vaekit runtime`: ONNX Runtime, installed or to be had.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use vaekit_ort::{Installed, Offer, Provider};

use crate::failure::{Kind, OfKind};
use crate::files::Sweep;
use crate::ui::Ui;

/// An installation.
#[derive(Debug, Serialize)]
pub struct InstallReport {
    /// What is installed now.
    #[serde(flatten)]
    pub installed: Installed,
    /// The library.
    pub library: PathBuf,
}

/// Installs the build that has a provider, in place of the one that is there.
///
/// # Errors
/// [`Kind::Engine`] if it is not to be had; nothing is changed then.
pub fn install(provider: Provider, ui: &Ui) -> Result<InstallReport> {
    install_into(&home()?, provider, ui)
}

/// As [`install`], into a folder that is vaekit's home.
///
/// # Errors
/// As [`install`].
pub fn install_into(home: &Path, provider: Provider, ui: &Ui) -> Result<InstallReport> {
    let make = || -> Result<_> {
        fs::create_dir_all(home)?;
        Ok(Sweep::over(|| tempfile::Builder::new().prefix(".runtime-").tempdir_in(home), |work| work.path())?)
    };
    let (work, _sweep) = make().with_context(|| format!("cannot write in {}", home.display()))?;
    let spinner = ui.spinner("looking for npm and pip");
    let installed = vaekit_ort::install(provider, home, work.path(), &mut |step| {
        ui.detail(step);
        spinner.set_message(step.to_string());
    });
    spinner.finish_and_clear();
    let installed = installed.of_kind(Kind::Engine)?;
    Ok(InstallReport { library: installed.library.clone(), installed })
}

impl std::fmt::Display for InstallReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Installed { provider, package, version, client, .. } = &self.installed;
        write!(f, "installed {package} {version} for {provider} with {client}: {}", self.library.display())
    }
}

/// What is installed and what can be.
#[derive(Debug, Serialize)]
pub struct ListReport {
    /// vaekit's home.
    pub home: PathBuf,
    /// What is installed there.
    pub installed: Option<Installed>,
    /// What can be installed on this machine.
    pub offers: Vec<Offer>,
}

/// Looks.
///
/// # Errors
/// If the system has no place for a user's data.
pub fn list() -> Result<ListReport> {
    let home = home()?;
    Ok(ListReport { installed: vaekit_ort::installed(&home), home, offers: vaekit_ort::offers() })
}

fn home() -> Result<PathBuf> {
    vaekit_ort::home().context("this system has no folder for a user's data; set VAEKIT_HOME to one")
}

impl std::fmt::Display for ListReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.installed {
            Some(Installed { provider, package, version, library, .. }) => {
                writeln!(f, "installed: {package} {version} for {provider}, {}", library.display())?;
            }
            None => writeln!(f, "installed: nothing in {}", self.home.display())?,
        }
        write!(f, "to be had:")?;
        for Offer { provider, package, version, client, client_is_here, bytes } in &self.offers {
            let megabytes = bytes.div_ceil(1_000_000);
            let missing = if *client_is_here { "" } else { " (not here)" };
            let name = provider.to_string();
            write!(f, "\n  {name:<10} {package} {version}, {megabytes} MB with {client}{missing}")?;
        }
        Ok(())
    }
}
