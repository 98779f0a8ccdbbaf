//! `vaekit vae verify`: whether fetched VAEs are still what they were.

use std::fmt;

use anyhow::{Result, anyhow};
use serde::Serialize;
use vaekit_hub::{CheckedFile, Entry, HubError};

use crate::args::VaeVerifyArgs;
use crate::failure::{Kind, OfKind};
use crate::hub;
use crate::ui::Ui;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The VAEs.
    pub vaes: Vec<VerifiedVae>,
}

/// A VAE that was read.
#[derive(Debug, Serialize)]
pub struct VerifiedVae {
    /// Its name.
    pub name: String,
    /// Its files, if they are right.
    pub files: Vec<CheckedFile>,
    /// What is wrong, if something is.
    pub error: Option<String>,
}

/// Reads the VAEs that are named, which must have been fetched, or all that have been.
///
/// # Errors
/// [`Kind::BadInput`] for names that are not known or not fetched. What is wrong with the others is in the report.
pub fn run(args: &VaeVerifyArgs, ui: &Ui) -> Result<Verified> {
    let registry = hub::registry(ui)?;
    let hub = hub::open()?;
    let entries: Vec<&Entry> = if args.names.is_empty() {
        registry.entries().iter().filter(|entry| hub.locate(entry).is_some()).collect()
    } else {
        args.names.iter().map(|name| registry.find(name)).collect::<Result<_, _>>().of_kind(Kind::BadInput)?
    };
    let verify = |entry: &Entry| {
        let name = entry.name.clone();
        match hub::with_progress(ui, &name, |events| hub.verify(entry, events)) {
            Ok(files) => Ok(VerifiedVae { name, files, error: None }),
            Err(error @ HubError::NotInstalled { .. }) => Err(hub::failure(error)),
            Err(error) => Ok(VerifiedVae { name, files: Vec::new(), error: Some(error.to_string()) }),
        }
    };
    Ok(Verified { vaes: entries.into_iter().map(verify).collect::<Result<_>>()? })
}

impl Verified {
    /// An error if something is wrong.
    ///
    /// # Errors
    /// [`Kind::BadInput`].
    pub fn outcome(&self) -> Result<()> {
        let wrong: Vec<&str> =
            self.vaes.iter().filter(|vae| vae.error.is_some()).map(|vae| vae.name.as_str()).collect();
        if wrong.is_empty() { Ok(()) } else { Err(anyhow!("damaged: {}", wrong.join(", "))).of_kind(Kind::BadInput) }
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for vae in &self.vaes {
            match &vae.error {
                Some(error) => writeln!(f, "{}: {error}", vae.name)?,
                None => writeln!(f, "{}: right", vae.name)?,
            }
            for file in &vae.files {
                writeln!(f, "  {}, {}", file.path.display(), hub::proof(file))?;
            }
        }
        if self.vaes.is_empty() {
            writeln!(f, "nothing has been fetched; `vaekit vae fetch NAME` fetches")?;
        }
        Ok(())
    }
}
