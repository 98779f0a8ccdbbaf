//! What was found in a checkpoint, for people and for manifests.

use std::collections::BTreeMap;

use serde::Serialize;
use vaekit::Scaling;

use crate::scaling::ScalingSource;
use crate::state_dict::Format;

/// What the files hold and where the facts come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// For people: `AutoencoderKL, 4 channels, f8`.
    pub family: String,
    /// The files.
    pub files: Vec<FileReport>,
    /// How many of the VAE's tensors have which type.
    pub dtypes: BTreeMap<String, usize>,
    /// The VAE's tensors.
    pub tensors: usize,
    /// Their elements.
    pub parameters: u64,
    /// How the latents are scaled, if it is known.
    pub scaling: Option<Scaling>,
    /// Where that was learned from.
    pub scaling_source: ScalingSource,
    /// Tensors beside the VAE's that were left out, by the first part of their names.
    pub ignored: Vec<Ignored>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl Report {
    /// The layout of each file's names, `diffusers` or `ldm under first_stage_model.`; equal neighbours once.
    pub fn layouts(&self) -> String {
        let layout = |file: &FileReport| match file.prefix.as_str() {
            "" => file.layout.clone(),
            prefix => format!("{} under {prefix}", file.layout),
        };
        self.of_files(layout)
    }

    /// The format of each file; equal neighbours once.
    pub fn formats(&self) -> String {
        self.of_files(|file| file.format.to_string())
    }

    fn of_files(&self, what: impl Fn(&FileReport) -> String) -> String {
        let mut found: Vec<String> = self.files.iter().map(what).collect();
        found.dedup();
        found.join(", ")
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FileReport {
    /// Its name.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// The layout of the VAE's names.
    pub layout: String,
    /// What stands before them.
    pub prefix: String,
    /// Tensors of the rest of a whole checkpoint.
    pub other_tensors: usize,
}

/// Tensors that were left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ignored {
    /// `loss.*`, `model_ema.*` ...
    pub group: String,
    /// How many.
    pub count: usize,
    /// One of them, under its name in the file.
    pub example: String,
}

impl std::fmt::Display for Ignored {
    /// `loss.* (56 tensors)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.group, self.count, if self.count == 1 { "tensor" } else { "tensors" })
    }
}
