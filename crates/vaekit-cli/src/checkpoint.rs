//! Checkpoints on disk, and the embedded one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vaekit_checkpoint::{CanonicalVae, Options, ReadAt, Source, sha256};
use vaekit_onnx::SourceFile;

use crate::args::CheckpointArgs;
use crate::failure::{Kind, OfKind};
use crate::files::parent;
use crate::platform;
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
    let mut files = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        let source = source(path, hash_all, ui).with_context(|| path.display().to_string()).of_kind(Kind::BadInput)?;
        files.push(SourceFile { name: source.name.clone(), sha256: source.sha256.clone() });
        sources.push(source);
    }
    let vae = CanonicalVae::open(sources, options).of_kind(Kind::BadInput)?;
    warn(&vae, ui);
    Ok(Checkpoint { vae, files })
}

/// Opens the embedded VAE.
///
/// # Errors
/// Never, unless the program was built with another file.
pub fn open_starter() -> Result<Checkpoint> {
    let mut source = Source::new("diffusion_pytorch_model.safetensors", STARTER_WEIGHTS.to_vec());
    source.config_json = Some(STARTER_CONFIG.to_owned());
    source.sha256 = Some(sha256(&source.data)?);
    let files = vec![SourceFile { name: source.name.clone(), sha256: source.sha256.clone() }];
    Ok(Checkpoint { vae: CanonicalVae::open(vec![source], &Options::default())?, files })
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
    let file = Positioned::open(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let config = parent(path).join("config.json");
    let sha256 = if hash_all || file.len <= MAX_HASHED {
        let spinner = ui.spinner(&format!("hashing {name}"));
        let hash = sha256(&file)?;
        spinner.finish_and_clear();
        Some(hash)
    } else {
        None
    };
    let config_json = config.is_file().then(|| fs::read_to_string(&config)).transpose()?;
    Ok(Source { name, data: Arc::new(file), config_json, sha256 })
}

/// A file that is read by position, from any thread: as lazy as a memory map, and a file that is truncated meanwhile is an
/// error rather than a signal.
struct Positioned {
    file: File,
    len: u64,
}

impl Positioned {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        ensure!(metadata.is_file(), "it is no file");
        Ok(Positioned { file, len: metadata.len() })
    }
}

impl ReadAt for Positioned {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        platform::read_exact_at(&self.file, buffer, offset)
    }
}
