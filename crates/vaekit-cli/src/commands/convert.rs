//! `vaekit convert`: a checkpoint to a folder of ONNX models.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use vaekit_onnx::{FileEntry, Folding, Manifest, Precision, Verification};

use crate::args::ConvertArgs;
use crate::convert::{Conversion, Converted, convert};
use crate::ui::{Stages, Ui};
use crate::{checkpoint, platform};

/// What was converted.
#[derive(Debug, Serialize)]
pub struct ConvertReport {
    /// The model folder.
    pub output: PathBuf,
    /// For people: `AutoencoderKL, 4 channels, f8`.
    pub family: String,
    /// Parameters.
    pub parameters: u64,
    /// What the graphs compute in.
    pub precision: Precision,
    /// How the latents are scaled.
    pub scaling: Option<vaekit::Scaling>,
    /// Where that was learned from.
    pub scaling_source: String,
    /// Name, size and sha256 of each model.
    pub files: Vec<FileEntry>,
    /// What was folded for fp16.
    pub folded: Vec<Folding>,
    /// What was proved.
    pub verified: Vec<Verification>,
    /// Seconds of each stage.
    pub seconds: Stages,
    /// Most memory held, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// Converts.
///
/// # Errors
/// Of the kinds of [`crate::failure::Kind`].
pub fn run(args: &ConvertArgs, ui: &Ui) -> Result<ConvertReport> {
    let mut opening = Stages::default();
    let opened = opening.time("open", || checkpoint::open(&args.checkpoints, &args.checkpoint, args.hash, ui))?;
    let conversion = Conversion {
        checkpoint: &opened,
        name: args.vae_name.clone(),
        precision: args.precision.into(),
        verify: args.verify,
    };
    let Converted { manifest, seconds } = convert(&conversion, &args.output, ui)?;
    let Manifest { files, verified, facts } = manifest;
    let report = opened.vae.report();
    Ok(ConvertReport {
        output: args.output.clone(),
        family: report.family.clone(),
        parameters: report.parameters,
        precision: facts.precision,
        scaling: facts.config.latents.scaling,
        scaling_source: facts.source.scaling,
        files,
        folded: facts.folded,
        verified,
        seconds: opening.then(seconds),
        peak_memory_bytes: platform::peak_memory(),
    })
}

impl std::fmt::Display for ConvertReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}: {}, {} parameters, {}", self.output.display(), self.family, self.parameters, self.precision)?;
        match &self.scaling {
            Some(scaling) => writeln!(f, "scaling {scaling}, from {}", self.scaling_source)?,
            None => writeln!(f, "scaling unknown")?,
        }
        for file in &self.files {
            writeln!(f, "wrote   {} ({:.1} MB, sha256 {})", file.path, file.size as f64 / 1e6, &file.sha256[..16])?;
        }
        for folding in self.folded.iter().filter(|folding| !folding.is_none()) {
            writeln!(f, "folded  {folding}")?;
        }
        for proof in &self.verified {
            let Verification { half, engine, max_abs_error, psnr, .. } = proof;
            let psnr = psnr.map_or("infinite".into(), |psnr| format!("{psnr:.1} dB"));
            writeln!(f, "proved  {half} on {engine}: largest error {max_abs_error:.1e}, PSNR {psnr}")?;
        }
        write!(f, "time    {}", self.seconds)?;
        if let Some(bytes) = self.peak_memory_bytes {
            write!(f, "\nmemory  {} MB at most", bytes / 1_000_000)?;
        }
        Ok(())
    }
}
