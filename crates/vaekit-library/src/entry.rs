//! One VAE of a folder.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::file::Stamped;

/// Endings of checkpoint files: those that the web UI and ComfyUI list and vaekit reads, the one that is preferred first.
pub const CHECKPOINT_ENDINGS: &[&str] = &["safetensors", "sft", "ckpt", "pt", "pth", "bin"];

/// Names under which diffusers writes a model's weights, the one that is preferred first.
const DIFFUSERS_WEIGHTS: &[&str] = &[
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.fp16.bin",
];

/// A VAE in a folder, found by its files' names alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path relative to the folder that was scanned, with slashes: `sdxl/sdxl_vae.safetensors`. For a folder of
    /// diffusers' or vaekit's, the folder's; for two halves, what their names have in common.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its checkpoint: one file, or the encoder's and the decoder's; for a model folder, the files in it that change with it.
    pub files: Vec<Stamped>,
    /// The model folder; else the folder that the files are in.
    pub folder: PathBuf,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A checkpoint file.
    File,
    /// `NAME_encoder` and `NAME_decoder`: a TAESD as published, and as ComfyUI keeps it.
    Halves,
    /// A folder that diffusers wrote.
    Diffusers,
    /// A folder of ONNX models, vaekit's or Optimum's.
    Model,
}

impl Entry {
    /// A VAE in files that are in no folder of VAEs: one file, or an encoder's and a decoder's.
    ///
    /// # Errors
    /// If a file is not there.
    pub fn of_files(name: &str, paths: &[PathBuf]) -> io::Result<Self> {
        let files = paths.iter().map(|path| Stamped::new(path)).collect::<io::Result<Vec<_>>>()?;
        let folder = files.first().and_then(|file| file.path.parent()).map(Path::to_owned).unwrap_or_default();
        let kind = if files.len() == 1 { Kind::File } else { Kind::Halves };
        Ok(Entry { name: name.into(), kind, files, folder })
    }

    /// What to open: the checkpoint's files, or the model folder.
    pub fn paths(&self) -> Vec<PathBuf> {
        match self.kind {
            Kind::Model => vec![self.folder.clone()],
            _ => self.files.iter().map(|file| file.path.clone()).collect(),
        }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The name without folders; of `PIPELINE/vae`, as diffusers keeps a pipeline's, `PIPELINE`.
    pub fn base_name(&self) -> &str {
        match self.name.rsplit_once('/') {
            Some((above, "vae")) if self.is_folder() => above.rsplit('/').next().unwrap_or(above),
            Some((_, base)) => base,
            None => &self.name,
        }
    }

    /// The base name without the ending of a checkpoint: `model.vae` of `model.vae.pt`.
    pub fn stem(&self) -> &str {
        if self.is_folder() { self.base_name() } else { without_ending(self.base_name()) }
    }

    /// The stem without `.vae`, by which a VAE beside a checkpoint is marked.
    pub fn bare(&self) -> &str {
        self.stem().strip_suffix(".vae").unwrap_or(self.stem())
    }

    pub(crate) fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Diffusers | Kind::Model)
    }
}

/// The name without one of [`CHECKPOINT_ENDINGS`].
pub(crate) fn without_ending(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() && is_checkpoint_ending(ending) => stem,
        _ => name,
    }
}

fn is_checkpoint_ending(ending: &str) -> bool {
    CHECKPOINT_ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

pub(crate) fn is_checkpoint(name: &str) -> bool {
    without_ending(name).len() < name.len()
}

/// Where a name's ending stands among [`CHECKPOINT_ENDINGS`].
pub(crate) fn ending_rank(name: &str) -> usize {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let rank = CHECKPOINT_ENDINGS.iter().position(|known| known.eq_ignore_ascii_case(ending));
    rank.unwrap_or(CHECKPOINT_ENDINGS.len())
}

/// The checkpoint in a folder that diffusers wrote.
pub fn diffusers_weights(folder: &Path) -> Option<PathBuf> {
    DIFFUSERS_WEIGHTS.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The same among names that were listed.
pub(crate) fn diffusers_weights_of<'a>(names: &[&'a str]) -> Option<&'a str> {
    DIFFUSERS_WEIGHTS.iter().find_map(|known| names.iter().copied().find(|name| name == known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, kind: Kind, expected: [&str; 3]) {
        let entry = Entry { name: name.into(), kind, files: vec![], folder: PathBuf::new() };
        assert_eq!([entry.base_name(), entry.stem(), entry.bare()], expected);
    }

    #[test]
    fn names() {
        check("a/mse.v2.SafeTensors", Kind::File, ["mse.v2.SafeTensors", "mse.v2", "mse.v2"]);
        check("model.vae.pt", Kind::File, ["model.vae.pt", "model.vae", "model"]);
        check("taesd", Kind::Halves, ["taesd", "taesd", "taesd"]);
        check("pipelines/sdxl/vae", Kind::Diffusers, ["sdxl", "sdxl", "sdxl"]);
        check("mse.pt", Kind::Model, ["mse.pt", "mse.pt", "mse.pt"]);
        check(".pt", Kind::File, [".pt", ".pt", ".pt"]);
    }
}
