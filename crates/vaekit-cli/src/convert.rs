//! A conversion: a checkpoint to a model folder.

use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use vaekit::Half;
use vaekit_onnx::{Export, FolderWriter, Manifest, Precision, Ranges, Source};
use vaekit_reference::probe_ranges;

use crate::checkpoint::Checkpoint;
use crate::failure::{Kind, OfKind};
use crate::files::Sweep;
use crate::ui::{Stages, Ui};
use crate::verify::{Written, verify};

/// What is to be converted, and how.
pub struct Conversion<'a> {
    /// The checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// A name for the VAE.
    pub name: Option<String>,
    /// Numbers inside the graphs.
    pub precision: Precision,
    /// Whether to prove the graphs.
    pub verify: bool,
}

/// What was converted.
pub struct Converted {
    /// The folder's manifest.
    pub manifest: Manifest,
    /// Seconds of each stage.
    pub seconds: Stages,
}

impl Conversion<'_> {
    /// A name for the folder's content: whatever its bytes depend on, hashed.
    ///
    /// # Errors
    /// If the weights cannot be read.
    pub fn key(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.checkpoint.weights_sha256()?);
        hash.update(serde_json::to_vec(self.checkpoint.vae.config())?);
        hash.update(self.name.as_deref().unwrap_or_default());
        hash.update(env!("CARGO_PKG_VERSION"));
        let key: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{key}-{}", self.precision))
    }

    fn source(&self) -> Result<Source> {
        let vae = &self.checkpoint.vae;
        let report = vae.report();
        Ok(Source {
            files: self.checkpoint.files.clone(),
            weights_sha256: self.checkpoint.weights_sha256()?.to_owned(),
            layout: report.layouts(),
            format: report.formats(),
            scaling: report.scaling_source.to_string(),
            ignored: report.ignored.iter().map(ToString::to_string).collect(),
        })
    }
}

/// Writes the folder, under its name only when it is whole and, if asked for, proved.
///
/// # Errors
/// [`Kind::BadInput`] if the weights cannot be read or fp16 cannot hold them, [`Kind::Verification`] if a graph is wrong.
pub fn convert(conversion: &Conversion<'_>, target: &Path, ui: &Ui) -> Result<Converted> {
    let vae = &conversion.checkpoint.vae;
    let halves = || Half::BOTH.into_iter().filter(|&half| vae.config().has(half));
    let mut seconds = Stages::default();
    let source = seconds.time("hash", || conversion.source())?;
    let name = conversion.name.clone();
    let export = match conversion.precision {
        Precision::Fp32 => Export::fp32(vae.config(), vae, source),
        Precision::Fp16 => {
            let ranges = seconds.time("probe", || ranges(conversion, ui))?;
            Export::fp16(vae.config(), vae, source, &ranges).of_kind(Kind::BadInput)?
        }
    };
    let export = export.named(name);
    let (mut writer, _sweep) = Sweep::over(|| FolderWriter::create(target, &export), |writer| writer.temporary())?;
    let mut verified = Vec::new();
    for half in halves() {
        let bar = ui.bar(&format!("writing the {half}"), 0);
        let path = seconds.time("write", || {
            writer.write_half(half, &mut |progress| {
                bar.set_length(progress.total);
                bar.set_position(progress.written);
            })
        })?;
        bar.finish_and_clear();
        if conversion.verify {
            let written = Written { half, path: &path, precision: conversion.precision };
            verified.extend(seconds.time("verify", || verify(vae.config(), vae, &written, ui))?);
        }
    }
    let manifest = writer.finish(verified).with_context(|| format!("cannot finish {}", target.display()))?;
    Ok(Converted { manifest, seconds })
}

fn ranges(conversion: &Conversion<'_>, ui: &Ui) -> Result<Ranges> {
    let vae = &conversion.checkpoint.vae;
    let mut ranges = Ranges::new();
    for half in Half::BOTH.into_iter().filter(|&half| vae.config().has(half)) {
        let bar = ui.bar(&format!("measuring the {half}"), 0);
        let found = probe_ranges(vae.config(), vae, half, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        ranges.extend(found);
    }
    Ok(ranges)
}
