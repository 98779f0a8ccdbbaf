//! `vaekit vae path`: where a VAE is.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::args::VaePathArgs;
use crate::choose;
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// Where a VAE is.
#[derive(Debug, Serialize)]
pub struct VaePath {
    /// Its name.
    pub name: String,
    /// Its file, an encoder's and a decoder's, or its folder.
    pub paths: Vec<PathBuf>,
}

/// Looks it up.
///
/// # Errors
/// [`Kind::BadInput`] if it is not installed, not known, or embedded; [`Kind::Usage`] for `Automatic` and `None`.
pub fn run(args: &VaePathArgs, ui: &Ui) -> Result<VaePath> {
    let chosen = choose::by_name(&args.name, &args.library, ui)?;
    let paths = chosen.place.paths().to_vec();
    if paths.is_empty() {
        return Err(anyhow!("`{}` is embedded in vaekit, it has no path", chosen.name)).of_kind(Kind::BadInput);
    }
    Ok(VaePath { name: chosen.name, paths })
}

impl fmt::Display for VaePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.paths.iter().try_for_each(|path| writeln!(f, "{}", path.display()))
    }
}
