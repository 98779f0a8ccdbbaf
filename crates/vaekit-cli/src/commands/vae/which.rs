//! `vaekit vae which`: the VAE that would be used, and why.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::args::VaeWhichArgs;
use crate::choose::{Chosen, choose};
use crate::ui::Ui;

/// The VAE that would be used.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct VaeWhich(Chosen);

/// Chooses as every command does, and opens nothing.
///
/// # Errors
/// As [`choose`].
pub fn run(args: &VaeWhichArgs, ui: &Ui) -> Result<VaeWhich> {
    Ok(VaeWhich(choose(&args.choice, ui)?))
}

impl fmt::Display for VaeWhich {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Chosen { name, place, reason, .. } = &self.0;
        write!(f, "{name}: {reason}")?;
        for path in place.paths() {
            write!(f, "\n  {}", path.display())?;
        }
        Ok(())
    }
}
