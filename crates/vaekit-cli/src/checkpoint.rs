//! Checkpoints on disk, and the embedded one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use vaekit_checkpoint::{CanonicalVae, CheckpointError, Options, ReadAt, ScalingChoice, Source, sha256};
use vaekit_library::{Index, Stamped};
use vaekit_onnx::SourceFile;

use crate::args::CheckpointArgs;
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// Files up to this size are a VAE alone and are hashed whole; larger ones are whole checkpoints (SD1's smallest takes
/// 2.1 GB), of which only the VAE is read unless the hash is asked for.
const MAX_HASHED: u64 = 2_000_000_000;

/// The name of the embedded VAE.
pub const STARTER: &str = "starter";
const STARTER_WEIGHTS: &[u8] = include_bytes!("../../../models/starter/diffusion_pytorch_model.safetensors");
const STARTER_CONFIG: &str = include_str!("../../../models/starter/config.json");

/// A checkpoint that is open, and the files it is in.
pub struct Checkpoint {
    /// The VAE.
    pub vae: CanonicalVae,
    /// Its files.
    pub files: Vec<SourceFile>,
    weights_sha256: OnceLock<String>,
}

impl Checkpoint {
    fn new(sources: Vec<Source>, options: &Options) -> Result<Self, CheckpointError> {
        let file = |source: &Source| SourceFile { name: source.name.clone(), sha256: source.sha256.clone() };
        let files = sources.iter().map(file).collect();
        Ok(Checkpoint { vae: CanonicalVae::open(sources, options)?, files, weights_sha256: OnceLock::new() })
    }

    /// The hash of the weights alone ([`CanonicalVae::weights_sha256`]), computed once.
    ///
    /// # Errors
    /// [`Kind::BadInput`] if they cannot be read.
    pub fn weights_sha256(&self) -> Result<&str> {
        if let Some(known) = self.weights_sha256.get() {
            return Ok(known);
        }
        let computed = self.vae.weights_sha256().of_kind(Kind::BadInput)?;
        Ok(self.weights_sha256.get_or_init(|| computed))
    }
}

/// Opens a VAE that lies in one file or two.
///
/// A `config.json` beside a file is taken into account. Whole checkpoints are hashed only if `hash_all`.
///
/// # Errors
/// [`Kind::BadInput`] if a file cannot be read or is no VAE, [`Kind::Usage`] if `args` make no sense.
pub fn open(paths: &[PathBuf], args: &CheckpointArgs, hash_all: bool, ui: &Ui) -> Result<Checkpoint> {
    open_with(paths, &options(args)?, hash_all, ui)
}

/// As [`open`], but a scaling that nothing tells is no error.
///
/// # Errors
/// As [`open`].
pub fn inspect(paths: &[PathBuf], args: &CheckpointArgs, ui: &Ui) -> Result<Checkpoint> {
    open_with(paths, &Options { allow_unknown_scaling: true, ..options(args)? }, false, ui)
}

fn open_with(paths: &[PathBuf], options: &Options, hash_all: bool, ui: &Ui) -> Result<Checkpoint> {
    let read =
        |path: &PathBuf| source(path, hash_all, ui).with_context(|| path.display().to_string()).of_kind(Kind::BadInput);
    let sources = paths.iter().map(read).collect::<Result<_>>()?;
    let checkpoint = Checkpoint::new(sources, options).of_kind(Kind::BadInput)?;
    warn(&checkpoint.vae, ui);
    Ok(checkpoint)
}

/// As [`open`], for a VAE that is used again and again: hashes come from `index` where it has them, and go into it.
/// If nothing tells the scaling, the whole checkpoint `of` may.
///
/// # Errors
/// As [`open`].
pub fn open_indexed(
    paths: &[PathBuf],
    args: &CheckpointArgs,
    of: Option<&Path>,
    allow_unknown_scaling: bool,
    index: &mut Index,
    ui: &Ui,
) -> Result<Checkpoint> {
    let mut options = Options { allow_unknown_scaling, ..options(args)? };
    let read = |path: &PathBuf| {
        indexed_source(path, index, ui).with_context(|| path.display().to_string()).of_kind(Kind::BadInput)
    };
    let (files, sources): (Vec<Stamped>, Vec<Source>) = paths.iter().map(read).collect::<Result<_>>()?;
    if let (None, Some(of)) = (&options.scaling, of) {
        options.scaling = scaling_of(&sources, &options, of, ui)?;
    }
    let checkpoint = Checkpoint::new(sources, &options).of_kind(Kind::BadInput)?;
    warn(&checkpoint.vae, ui);
    let weights = match index.known_weights(&files) {
        Some(known) => known.clone(),
        None => {
            let spinner = ui.spinner("hashing the weights");
            let weights = checkpoint.vae.weights_hashes().of_kind(Kind::BadInput)?;
            spinner.finish_and_clear();
            index.learn_weights(&files, &weights);
            weights
        }
    };
    let _ = checkpoint.weights_sha256.set(weights.f32);
    if let Err(error) = index.save() {
        ui.detail(format_args!("cannot keep hashes in {}: {error}", index.path().display()));
    }
    Ok(checkpoint)
}

fn indexed_source(path: &Path, index: &mut Index, ui: &Ui) -> Result<(Stamped, Source)> {
    let (file, source) = (Stamped::new(path)?, vaekit_library::source(path)?);
    if file.size > MAX_HASHED && index.known_sha256(&file).is_none() {
        return Ok((file, source));
    }
    let spinner = ui.spinner(&format!("hashing {}", source.name));
    let sha256 = index.sha256(&file)?;
    spinner.finish_and_clear();
    Ok((file, source.with_sha256(sha256)))
}

/// The scaling of the VAE in the whole checkpoint `of`, for a VAE with as many channels that does not tell its own.
fn scaling_of(sources: &[Source], options: &Options, of: &Path, ui: &Ui) -> Result<Option<ScalingChoice>> {
    let lenient = Options { allow_unknown_scaling: true, ..options.clone() };
    let latents = |vae: &CanonicalVae| vae.config().latents.clone();
    let ours = latents(&CanonicalVae::open(sources.to_vec(), &lenient).of_kind(Kind::BadInput)?);
    if ours.scaling.is_some() {
        return Ok(None);
    }
    let whole = vaekit_library::source(of).with_context(|| of.display().to_string()).of_kind(Kind::BadInput)?;
    let whole = CanonicalVae::open(vec![whole], &Options { allow_unknown_scaling: true, ..Options::default() });
    let theirs = latents(&whole.of_kind(Kind::BadInput)?);
    let scaling = theirs.scaling.filter(|_| theirs.channels == ours.channels);
    if let Some(scaling) = &scaling {
        ui.note(format_args!("scaling {scaling}, from the checkpoint {}", of.display()));
    }
    Ok(scaling.map(ScalingChoice::Value))
}

/// Opens the embedded VAE.
///
/// # Errors
/// Never, unless the program was built with another file.
pub fn open_starter() -> Result<Checkpoint> {
    let mut source = Source::new("diffusion_pytorch_model.safetensors", STARTER_WEIGHTS.to_vec());
    source.config_json = Some(STARTER_CONFIG.to_owned());
    source.sha256 = Some(sha256(&source.data)?);
    Ok(Checkpoint::new(vec![source], &Options::default())?)
}

/// What the command line adds to a checkpoint.
fn options(args: &CheckpointArgs) -> Result<Options> {
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Options {
        config_json: args.config.as_ref().map(read).transpose().of_kind(Kind::BadInput)?,
        scaling: args.scaling.as_deref().map(str::parse).transpose().of_kind(Kind::Usage)?,
        ..Options::default()
    })
}

fn warn(vae: &CanonicalVae, ui: &Ui) {
    for warning in &vae.report().warnings {
        ui.note(format_args!("warning: {warning}"));
    }
}

fn source(path: &Path, hash_all: bool, ui: &Ui) -> Result<Source> {
    let source = vaekit_library::source(path)?;
    if !hash_all && source.data.len() > MAX_HASHED {
        return Ok(source);
    }
    let spinner = ui.spinner(&format!("hashing {}", source.name));
    let hash = sha256(&source.data)?;
    spinner.finish_and_clear();
    Ok(source.with_sha256(hash))
}
