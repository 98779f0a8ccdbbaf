//! One variant of a comparison: every picture through a VAE and back, with what it took.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use tempfile::TempDir;
use vaekit::cost::cost;
use vaekit::{Half, Images, VaeConfig, block_on};
use vaekit_compare::{LatentStatistics, Passage, Variant};
use vaekit_onnx::ModelFolder;

use crate::args::EngineArgs;
use crate::failure::{Kind, OfKind};
use crate::files::Sweep;
use crate::tiles::Tiles;
use crate::ui::Ui;
use crate::{engine, locate, picture, platform};

/// A picture that is to be compared.
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// Its file's name, or the whole path where names are not unlike.
    pub name: String,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
}

/// Extensions of the pictures that a folder stands for.
const EXTENSIONS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "tif", "tiff"];

/// The pictures that paths stand for: themselves, or those in a folder, by name. Each is read once, so that a broken one is
/// found before hours of work.
///
/// # Errors
/// [`Kind::BadInput`] if a path is not there, a folder holds no picture, or a picture cannot be read.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(pictures_in(path).of_kind(Kind::BadInput)?);
        } else {
            files.push(path.clone());
        }
    }
    let mut seen = HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let names: Vec<String> = files.iter().map(|path| name(path)).collect();
    let input = |path: &PathBuf| {
        let (height, width) = picture::read(path)?.images.size();
        let name = name(path);
        let unique = names.iter().filter(|other| **other == name).count() == 1;
        let name = if unique { name } else { path.display().to_string() };
        Ok(Input { path: path.clone(), name, width, height })
    };
    files.iter().map(input).collect()
}

fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        if path.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "{} holds no pictures ({})", folder.display(), EXTENSIONS.join(", "));
    found.sort();
    Ok(found)
}

/// Decoded pictures in 8 bits, kept in a temporary folder until they are compared: all of them together may be too large for
/// memory.
pub struct Decodings {
    folder: TempDir,
    _sweep: Sweep,
}

impl Decodings {
    /// An empty one.
    ///
    /// # Errors
    /// If there is no place for temporary files.
    pub fn new() -> Result<Self> {
        let make = || tempfile::Builder::new().prefix("vaekit-").tempdir();
        let (folder, sweep) = Sweep::over(make, |folder| folder.path()).context("no place for temporary files")?;
        Ok(Decodings { folder, _sweep: sweep })
    }

    fn path(&self, variant: usize, picture: usize) -> PathBuf {
        self.folder.path().join(format!("{variant}-{picture}.rgb"))
    }

    /// Keeps one.
    ///
    /// # Errors
    /// If it holds values that are no numbers, or the disk is full.
    fn put(&self, variant: usize, picture: usize, images: &Images) -> Result<()> {
        let path = self.path(variant, picture);
        fs::write(&path, images.to_rgb::<u8>(0)?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Gives one back.
    ///
    /// # Errors
    /// If it is not there any more.
    pub fn get(&self, variant: usize, picture: usize, input: &Input) -> Result<Images> {
        let path = self.path(variant, picture);
        let pixels = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Images::from_rgb(input.width, input.height, &pixels)?)
    }
}

/// A VAE that is to be compared.
pub struct Contestant {
    /// What people call it here.
    pub label: String,
    /// Its models.
    pub folder: ModelFolder,
    /// What it runs on.
    pub engine: EngineArgs,
}

/// Sends every picture through a VAE and back; what comes out is among the `decodings`.
///
/// # Errors
/// Of the kinds of [`Kind`].
pub fn run(
    contestant: &Contestant,
    index: usize,
    inputs: &[Input],
    decodings: &Decodings,
    bar: &ProgressBar,
    ui: &Ui,
) -> Result<(Variant, Vec<Passage>)> {
    let Contestant { label, folder, engine } = contestant;
    let measures_memory = platform::reset_peak_memory();
    bar.set_message(format!("{label}: opening"));
    let begin = Instant::now();
    let mut opened = engine::open(folder, &Half::BOTH, engine, ui)?;
    let open_seconds = begin.elapsed().as_secs_f64();
    let mut passages = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        bar.set_message(format!("{label}: {}", input.name));
        let mut trip = || -> Result<Passage> {
            let original = picture::read(&input.path)?.images;
            let begin = Instant::now();
            let posterior = block_on(opened.vae.encode(&original))?;
            let encode_seconds = begin.elapsed().as_secs_f64();
            let latents = LatentStatistics::new(&posterior, &folder.config().latents);
            let begin = Instant::now();
            let decoded = block_on(opened.vae.decode(posterior.mode()))?;
            let decode_seconds = begin.elapsed().as_secs_f64();
            let (height, width) = original.size();
            ensure!((height, width) == (input.height, input.width), "the picture has changed while it was compared");
            decodings.put(index, number, &decoded.cropped(height, width))?;
            Ok(Passage { latents, encode_seconds, decode_seconds })
        };
        passages.push(trip().with_context(|| format!("{} through {label}", input.name))?);
        bar.inc(work(folder.config(), input));
    }
    let facts = folder.facts();
    let variant = Variant {
        label: label.clone(),
        vae: locate::name(folder),
        family: folder.config().class_name().to_owned(),
        model_bytes: folder.models().iter().map(|model| model.size).sum(),
        engine: opened.report.engine,
        precision: facts.map(|facts| facts.precision.to_string()),
        tiles: (engine.tiles != Tiles::Never).then(|| engine.tiles.to_string()),
        weights_sha256: facts.map(|facts| facts.source.weights_sha256.clone()),
        latents: folder.config().latents.clone(),
        scaling_source: facts.map(|facts| facts.source.scaling.clone()),
        open_seconds: Some(open_seconds),
        peak_memory_bytes: measures_memory.then(platform::peak_memory).flatten(),
    };
    Ok((variant, passages))
}

/// Millions of multiply-adds of a trip, for the progress bar.
pub fn work(config: &VaeConfig, input: &Input) -> u64 {
    let space = &config.latents;
    let side = |side: usize| (side.next_multiple_of(space.image_multiple()) / space.downsample_factor) as u64;
    let positions = side(input.width) * side(input.height);
    Half::BOTH.into_iter().map(|half| cost(config, half, 4).macs.at(positions) / 1_000_000).sum::<u64>().max(1)
}
