//! `vaekit inspect`: what a checkpoint, a model folder or a model.onnx holds, or what made a picture or latents.

mod output;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use vaekit::{LatentSpace, Scaling, VaeConfig};
use vaekit_checkpoint::Report;
use vaekit_library::diffusers_weights;
use vaekit_onnx::{ModelFile, ModelFolder};

use crate::args::InspectArgs;
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;
use crate::{checkpoint, locate};
pub use output::OutputInspection;
use output::inspect_output;

/// What a path holds.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspection {
    /// A checkpoint.
    Checkpoint(Box<CheckpointInspection>),
    /// A model folder or a lone model.
    Model(Box<ModelInspection>),
    /// A picture or latents.
    Output(Box<OutputInspection>),
}

/// A checkpoint.
#[derive(Debug, Serialize)]
pub struct CheckpointInspection {
    /// The files, with their hashes.
    pub files: Vec<vaekit_onnx::SourceFile>,
    /// The network and its latents.
    pub config: VaeConfig,
    /// The weights' hash, whatever the layout.
    pub weights_sha256: String,
    /// The rest.
    #[serde(flatten)]
    pub report: Report,
}

/// A model folder or a lone model.
#[derive(Debug, Serialize)]
pub struct ModelInspection {
    /// What was inspected.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// The network and its latents.
    pub config: VaeConfig,
    /// vaekit's own facts, where there are some.
    pub facts: Option<vaekit_onnx::Facts>,
    /// The models.
    pub models: Vec<ModelSummary>,
}

/// A model.onnx.
#[derive(Debug, Serialize)]
pub struct ModelSummary {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// What wrote it.
    pub producer: String,
    /// Inputs: name, type, axes.
    pub inputs: Vec<String>,
    /// Outputs: name, type, axes.
    pub outputs: Vec<String>,
    /// Nodes by operator.
    pub operators: std::collections::BTreeMap<String, usize>,
    /// Bytes of weights by element type.
    pub weights: std::collections::BTreeMap<String, u64>,
}

/// Looks into a path, or into the two files of one VAE.
///
/// # Errors
/// [`Kind::BadInput`] if it is nothing of the kind.
pub fn run(args: &InspectArgs, ui: &Ui) -> Result<Inspection> {
    let path = &args.paths[0];
    let metadata =
        path.metadata().with_context(|| format!("cannot open {}", path.display())).of_kind(Kind::BadInput)?;
    let is_model =
        metadata.is_dir() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    if !is_model {
        let made = if args.paths.len() == 1 { inspect_output(path, &args.library, ui)? } else { None };
        return match made {
            Some(output) => Ok(Inspection::Output(Box::new(output))),
            None => inspect_checkpoint(&args.paths, args, ui),
        };
    }
    ensure_single(&args.paths)?;
    match diffusers_weights(path) {
        Some(weights) => inspect_checkpoint(&[weights], args, ui),
        None => inspect_model(path),
    }
}

fn ensure_single(paths: &[PathBuf]) -> Result<()> {
    let check = || -> Result<()> {
        ensure!(
            paths.len() == 1,
            "two paths are the two halves of one checkpoint, and {} is a model",
            paths[0].display()
        );
        Ok(())
    };
    check().of_kind(Kind::Usage)
}

fn inspect_checkpoint(paths: &[PathBuf], args: &InspectArgs, ui: &Ui) -> Result<Inspection> {
    let opened = checkpoint::inspect(paths, &args.checkpoint, ui)?;
    Ok(Inspection::Checkpoint(Box::new(CheckpointInspection {
        config: opened.vae.config().clone(),
        weights_sha256: opened.vae.weights_sha256().of_kind(Kind::BadInput)?,
        report: opened.vae.report().clone(),
        files: opened.files,
    })))
}

fn inspect_model(path: &Path) -> Result<Inspection> {
    let folder = ModelFolder::open(path).of_kind(Kind::BadInput)?;
    Ok(Inspection::Model(Box::new(ModelInspection {
        path: path.to_owned(),
        name: locate::name(&folder),
        config: folder.config().clone(),
        facts: folder.facts().cloned(),
        models: folder.models().iter().map(summary).collect(),
    })))
}

fn summary(model: &ModelFile) -> ModelSummary {
    let info = &model.info;
    ModelSummary {
        path: model.path.clone(),
        size: model.size,
        producer: format!("{} {}", info.producer, info.producer_version).trim().to_owned(),
        inputs: info.inputs.iter().map(ToString::to_string).collect(),
        outputs: info.outputs.iter().map(ToString::to_string).collect(),
        operators: info.operators.clone(),
        weights: info.initializers.iter().map(|(element, all)| (element.to_string(), all.bytes)).collect(),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Inspection::Checkpoint(checkpoint) => checkpoint.fmt(f),
            Inspection::Model(model) => model.fmt(f),
            Inspection::Output(output) => output.fmt(f),
        }
    }
}

impl fmt::Display for CheckpointInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        for (file, found) in self.files.iter().zip(&report.files) {
            writeln!(f, "file        {}, {}", file.name, found.format)?;
            let prefix = if found.prefix.is_empty() { String::new() } else { format!(" under `{}`", found.prefix) };
            writeln!(f, "layout      {}{prefix}", found.layout)?;
            if found.other_tensors > 0 {
                writeln!(f, "            in a whole checkpoint, beside {} other tensors", found.other_tensors)?;
            }
            writeln!(f, "sha256      {}", file.sha256.as_deref().unwrap_or("not computed, the file is large"))?;
        }
        writeln!(f, "family      {}", report.family)?;
        let dtypes: Vec<String> = report.dtypes.iter().map(|(dtype, n)| format!("{n} {dtype}")).collect();
        writeln!(f, "tensors     {} ({}), {} parameters", report.tensors, dtypes.join(", "), report.parameters)?;
        scaling(f, &self.config.latents, &report.scaling_source.to_string())?;
        writeln!(f, "weights     sha256 {}", self.weights_sha256)?;
        for ignored in &report.ignored {
            writeln!(f, "ignored     {ignored}")?;
        }
        for warning in &report.warnings {
            writeln!(f, "warning     {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ModelInspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name        {}", self.name)?;
        let LatentSpace { channels, downsample_factor, .. } = self.config.latents;
        writeln!(f, "family      {}, {channels} channels, f{downsample_factor}", self.config.class_name())?;
        match &self.facts {
            Some(facts) => {
                scaling(f, &self.config.latents, &facts.source.scaling)?;
                writeln!(f, "precision   {}", facts.precision)?;
                for file in &facts.source.files {
                    writeln!(
                        f,
                        "converted   from {}, sha256 {}",
                        file.name,
                        file.sha256.as_deref().unwrap_or("not computed")
                    )?;
                }
                writeln!(f, "weights     sha256 {}", facts.source.weights_sha256)?;
            }
            None => scaling(f, &self.config.latents, "config.json")?,
        }
        for model in &self.models {
            writeln!(
                f,
                "model       {}, {:.1} MB, by {}",
                model.path.display(),
                model.size as f64 / 1e6,
                model.producer
            )?;
            for input in &model.inputs {
                writeln!(f, "  takes     {input}")?;
            }
            for output in &model.outputs {
                writeln!(f, "  gives     {output}")?;
            }
        }
        Ok(())
    }
}

fn scaling(f: &mut fmt::Formatter<'_>, latents: &LatentSpace, source: &str) -> fmt::Result {
    match &latents.scaling {
        Some(scaling @ Scaling::Affine { .. }) => {
            writeln!(f, "scaling     scaling_factor {scaling}, learned from {source}")
        }
        Some(scaling) => writeln!(f, "scaling     {scaling}, learned from {source}"),
        None => writeln!(f, "scaling     not known; the graphs speak {} latents", latents.native),
    }
}
