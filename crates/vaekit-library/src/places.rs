//! Where programs keep their VAEs, given the folder of the program, of its models, or of the VAEs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::extra_paths::{self, ExtraPaths};

/// A folder to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) holds: Holds,
}

/// What of a folder's files are VAEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holds {
    /// All.
    Vaes,
    /// Halves alone; beside them lie other small decoders for previews.
    Halves,
    /// `NAME.vae.safetensors` and the like alone, beside checkpoints.
    BesideCheckpoints,
}

/// The folders below `models` that may hold VAEs, in lower case. AUTOMATIC1111's web UI, Forge and SD.Next have `VAE`,
/// `VAE-taesd` and `Stable-diffusion`; ComfyUI has `vae`, `vae_approx` and `checkpoints`.
const BELOW_MODELS: &[(&str, Holds)] = &[
    ("vae", Holds::Vaes),
    ("vae-taesd", Holds::Halves),
    ("vae_approx", Holds::Halves),
    ("stable-diffusion", Holds::BesideCheckpoints),
    ("checkpoints", Holds::BesideCheckpoints),
];

/// Where a download that brings its own Python keeps the program itself, in lower case.
const PROGRAM: &[&str] = &["webui", "comfyui"];

/// What a folder that a person names stands for.
pub(crate) struct Places {
    pub(crate) places: Vec<Place>,
    /// What could not be read of where else to look, for people.
    pub(crate) problems: Vec<String>,
}

/// The folders to scan for a folder that a person names: a whole installation, its `models`, or a folder of VAEs.
pub(crate) fn places(folder: &Path) -> Places {
    let inside = || PROGRAM.iter().filter_map(|program| child(folder, program)).find(|inside| is_installation(inside));
    let program = if is_installation(folder) { Some(folder.to_owned()) } else { inside() };
    let Some(program) = program else {
        return Places { places: vec![Place { folder: folder.into(), holds: Holds::Vaes }], problems: Vec::new() };
    };
    let ExtraPaths { places: elsewhere, problems } = extra_paths::read(&program);
    let models = models(&program);
    let below = |(name, holds): &(&str, Holds)| Some(Place { folder: child(models.as_ref()?, name)?, holds: *holds });
    Places { places: BELOW_MODELS.iter().filter_map(below).chain(elsewhere).collect(), problems }
}

/// Whether a folder is an installation of such a program.
pub(crate) fn is_installation(folder: &Path) -> bool {
    models(folder).is_some() || extra_paths::is_there(folder)
}

/// The folder of models in an installation, or the folder itself if it is one: it has a folder for VAEs.
fn models(folder: &Path) -> Option<PathBuf> {
    let is_models = folder.file_name().is_some_and(|name| name.eq_ignore_ascii_case("models"));
    let models = if is_models { Some(folder.to_owned()) } else { child(folder, "models") };
    models.filter(|models| child(models, "vae").is_some())
}

/// The folder of this name, whatever its case.
fn child(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().eq_ignore_ascii_case(name))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found.into_iter().next()
}
