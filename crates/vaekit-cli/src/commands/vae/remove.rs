//! `vaekit vae remove`: fetched VAEs, off the disk.

use std::fmt;

use anyhow::Result;
use indicatif::DecimalBytes;
use serde::Serialize;

use crate::args::VaeRemoveArgs;
use crate::failure::{Kind, OfKind};
use crate::hub;
use crate::ui::Ui;

/// What is gone.
#[derive(Debug, Serialize)]
pub struct Removed {
    /// The VAEs.
    pub names: Vec<String>,
    /// Bytes that are free now.
    pub freed: u64,
}

/// Removes VAEs from the hub's cache.
///
/// # Errors
/// [`Kind::BadInput`] for names that are not known, before anything is removed, and for what was not fetched.
pub fn run(args: &VaeRemoveArgs, ui: &Ui) -> Result<Removed> {
    let registry = hub::registry(ui)?;
    let entries = args.names.iter().map(|name| registry.find(name)).collect::<Result<Vec<_>, _>>();
    let hub = hub::open()?;
    let mut removed = Removed { names: Vec::new(), freed: 0 };
    for entry in entries.of_kind(Kind::BadInput)? {
        removed.freed += hub.remove(entry).map_err(hub::failure)?;
        removed.names.push(entry.name.clone());
    }
    Ok(removed)
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "removed {}, which frees {}", self.names.join(", "), DecimalBytes(self.freed))
    }
}
