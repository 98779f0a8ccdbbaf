//! `vaekit vae use`: a VAE for all commands that name none.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use vaekit_library::{Choice, Remembered};

use crate::args::VaeUseArgs;
use crate::choose;
use crate::failure::{Kind, OfKind};
use crate::library;
use crate::ui::Ui;

/// What is remembered now.
#[derive(Debug, Serialize)]
pub struct VaeUse {
    /// The VAE; none if it was forgotten.
    pub vae: Option<String>,
    /// Where it is.
    pub paths: Vec<PathBuf>,
}

/// Remembers a VAE, which must be there.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE.
pub fn run(args: &VaeUseArgs, ui: &Ui) -> Result<VaeUse> {
    let file = library::remembered_file()?;
    let Some(name) = args.name.as_ref().filter(|_| !args.forget) else {
        Remembered::forget(&file)?;
        return Ok(VaeUse { vae: None, paths: Vec::new() });
    };
    let choice: Choice = name.parse().unwrap_or_else(|never| match never {});
    let remembered = match choice {
        Choice::Named(name) => {
            let chosen = choose::by_name(&name, &args.library, ui)?;
            let absolute = |path: &PathBuf| std::path::absolute(path).with_context(|| path.display().to_string());
            let paths = chosen.place.paths().iter().map(absolute).collect::<Result<_>>().of_kind(Kind::BadInput)?;
            Remembered { vae: chosen.name, paths }
        }
        choice => Remembered { vae: choice.to_string(), paths: Vec::new() },
    };
    remembered.save(&file)?;
    Ok(VaeUse { vae: Some(remembered.vae), paths: remembered.paths })
}

impl fmt::Display for VaeUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(vae) = &self.vae else {
            return write!(f, "nothing is remembered; commands without --vae use `starter`");
        };
        write!(f, "commands without --vae use `{vae}`")?;
        for path in &self.paths {
            write!(f, "\n  {}", path.display())?;
        }
        Ok(())
    }
}
