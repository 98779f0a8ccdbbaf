//! The web UI's three ways to choose a VAE.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::entry::{Entry, Kind};
use crate::find::FindError;

/// AUTOMATIC1111's setting `sd_vae`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The checkpoint's own VAE file ([`own_vae`]) if there is one, else the VAE in the checkpoint.
    Automatic,
    /// The VAE in the checkpoint, whatever lies beside it.
    None,
    /// A VAE by its name, or whatever else says which.
    Named(String),
}

impl FromStr for Choice {
    type Err = Infallible;

    /// `Automatic` (or the web UI's old `auto`) and `None` in any case; anything else is a name.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "automatic" | "auto" => Choice::Automatic,
            "none" => Choice::None,
            _ => Choice::Named(text.into()),
        })
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Choice::Automatic => "Automatic",
            Choice::None => "None",
            Choice::Named(name) => name,
        })
    }
}

/// The endings of a VAE beside a checkpoint, the one that is preferred first.
const BESIDE: &[&str] = &["safetensors", "ckpt", "pt"];

/// The VAE that is a checkpoint's own by its name. For `anime.ckpt`, and the first that is there:
/// 1. `anime.vae.safetensors`, `anime.vae.ckpt`, `anime.vae.pt` in the same folder;
/// 2. an entry `anime.vae` with any such ending;
/// 3. an entry `anime`, with any ending, that is another file.
///
/// The web UI takes any VAE whose name begins with the checkpoint's. That would give `anime-2.vae.pt` to `anime.ckpt`, so here
/// the names have to be equal.
///
/// # Errors
/// [`FindError::Ambiguous`] if several entries are equally its own.
pub fn own_vae(checkpoint: &Path, entries: &[Entry]) -> Result<Option<PathBuf>, FindError> {
    let beside = BESIDE.iter().map(|ending| checkpoint.with_extension(format!("vae.{ending}")));
    if let Some(found) = beside.into_iter().find(|path| path.is_file()) {
        return Ok(Some(found));
    }
    let Some(stem) = checkpoint.file_stem().and_then(|stem| stem.to_str()) else { return Ok(None) };
    let marked = format!("{stem}.vae");
    let checkpoint = std::path::absolute(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    for wanted in [marked.as_str(), stem] {
        let is_own = |entry: &&Entry| {
            entry.kind == Kind::File && entry.stem() == wanted && entry.files.iter().all(|file| file.path != checkpoint)
        };
        let own: Vec<&Entry> = entries.iter().filter(is_own).collect();
        match own.as_slice() {
            [] => {}
            [only] => return Ok(only.paths().into_iter().next()),
            _ => {
                let candidates = own.iter().flat_map(|entry| entry.paths()).map(|path| path.display().to_string());
                return Err(FindError::Ambiguous { query: stem.into(), candidates: candidates.collect() });
            }
        }
    }
    Ok(None)
}
