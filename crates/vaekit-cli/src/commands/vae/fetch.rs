//! `vaekit vae fetch`: known VAEs from the hub.

use std::fmt;

use anyhow::Result;
use indicatif::DecimalBytes;
use serde::Serialize;
use vaekit_hub::{CheckedFile, Entry, OnChange};

use crate::args::VaeFetchArgs;
use crate::failure::{Kind, OfKind};
use crate::hub;
use crate::ui::Ui;

/// What is here now.
#[derive(Debug, Serialize)]
pub struct Fetched {
    /// The VAEs, as asked for.
    pub vaes: Vec<FetchedVae>,
}

/// A VAE that is here now.
#[derive(Debug, Serialize)]
pub struct FetchedVae {
    /// Its name.
    pub name: String,
    /// Its licence.
    pub licence: String,
    /// Whether vaekit converts and runs it.
    pub runs: bool,
    /// Its files, checked.
    pub files: Vec<CheckedFile>,
}

/// Fetches what is missing and checks everything.
///
/// # Errors
/// [`Kind::BadInput`] for names that are not known, before anything is fetched; [`Kind::Hub`] if the hub cannot be reached,
/// refuses, or sends something else.
pub fn run(args: &VaeFetchArgs, ui: &Ui) -> Result<Fetched> {
    let registry = hub::registry(ui)?;
    let entries = args.names.iter().map(|name| registry.find(name)).collect::<Result<Vec<_>, _>>();
    let entries = entries.of_kind(Kind::BadInput)?;
    let hub = hub::open()?;
    let on_change = if args.trust_new { OnChange::TrustNew } else { OnChange::Refuse };
    let fetch = |entry: &Entry| {
        let fetched = hub::with_progress(ui, &entry.name, |events| hub.fetch(entry, on_change, events));
        let files = fetched.map_err(hub::failure)?;
        let (name, licence) = (entry.name.clone(), entry.licence.clone());
        Ok(FetchedVae { name, licence, runs: entry.family.runs(), files })
    };
    Ok(Fetched { vaes: entries.into_iter().map(fetch).collect::<Result<_>>()? })
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for vae in &self.vaes {
            let fetched = if vae.files.iter().all(|file| file.was_here) { "was here" } else { "fetched" };
            writeln!(f, "{}: {fetched}; licence: {}", vae.name, vae.licence)?;
            for file in &vae.files {
                writeln!(f, "  {}, {}, {}", file.path.display(), DecimalBytes(file.size), hub::proof(file))?;
            }
            if !vae.runs {
                writeln!(f, "  vaekit cannot run VAEs of this family yet")?;
            }
        }
        Ok(())
    }
}
