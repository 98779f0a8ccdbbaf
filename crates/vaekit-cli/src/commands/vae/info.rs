//! `vaekit vae info`: all that is known of one VAE.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use vaekit::Scaling;
use vaekit_checkpoint::{Sameness, WeightsHashes};
use vaekit_hub::{Entry, HubError};
use vaekit_library::{SHORT_HASH_DIGITS, Stamped};
use vaekit_onnx::ModelFolder;

use super::known::Known;
use crate::args::{CheckpointArgs, VaeInfoArgs};
use crate::choose::{self, Chosen, Place};
use crate::failure::{self, Kind, OfKind};
use crate::library::Shelf;
use crate::ui::Ui;
use crate::{checkpoint, hub};

/// All that is known of a VAE.
#[derive(Debug, Serialize)]
pub struct Info {
    /// What the registry says, if it knows the VAE.
    pub known: Option<Known>,
    /// What its files say, if it is here.
    #[serde(flatten)]
    pub installed: Option<VaeInfo>,
}

/// One VAE that is here.
#[derive(Debug, Serialize)]
pub struct VaeInfo {
    /// Its name.
    pub name: String,
    /// Its files; none for the embedded one.
    pub files: Vec<FileInfo>,
    /// The family and its latents, for people.
    pub family: String,
    /// How its latents are scaled, if that is known.
    pub scaling: Option<Scaling>,
    /// Where that was learned from.
    pub scaling_source: String,
    /// Hashes of its weights; absent for what another program exported.
    pub weights: Option<WeightsHashes>,
    /// Installed VAEs that are known to have the same weights.
    pub same: Vec<Same>,
}

/// A file or model folder.
#[derive(Debug, Serialize)]
pub struct FileInfo {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes; absent for a folder.
    pub size: Option<u64>,
    /// Of the whole file, which also begins with the short hash; absent for a folder.
    pub sha256: Option<String>,
}

/// An installed VAE with the same weights.
#[derive(Debug, Serialize)]
pub struct Same {
    /// Its name.
    pub name: String,
    /// How far they are the same.
    pub weights: Sameness,
}

/// Finds a VAE, in the folders or in the registry, and reads it if it is here.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE, or it is none; [`Kind::Usage`] for `Automatic` and `None`.
pub fn run(args: &VaeInfoArgs, ui: &Ui) -> Result<Info> {
    let (registry, hub) = (hub::registry(ui)?, hub::open()?);
    let known = |entry: &Entry| Known::new(entry, &registry, &hub);
    let chosen = match choose::by_name(&args.name, &args.library, ui) {
        Ok(chosen) => chosen,
        Err(error) => {
            let not_here = matches!(failure::cause(&error), Some(HubError::NotInstalled { .. }));
            let entry = registry.find(&args.name).ok().filter(|_| not_here).ok_or(error)?;
            return Ok(Info { known: Some(known(entry)), installed: None });
        }
    };
    // A file of the same name may be another VAE: what was fetched is known, anything else by its hash.
    let fetched = registry.find(&chosen.name).ok().map(known).filter(|known| known.is_at(chosen.place.paths()));
    if fetched.as_ref().is_some_and(|fetched| !fetched.runs) {
        return Ok(Info { known: fetched, installed: None });
    }
    let installed = read(&chosen, args, ui)?;
    let of_hash = || {
        let hashes = installed.files.iter().filter_map(|file| file.sha256.as_deref());
        hashes.filter_map(|sha256| registry.of_content(sha256)).map(known).next()
    };
    Ok(Info { known: fetched.or_else(of_hash), installed: Some(installed) })
}

/// Reads a VAE that is here.
fn read(chosen: &Chosen, args: &VaeInfoArgs, ui: &Ui) -> Result<VaeInfo> {
    let mut shelf = Shelf::open(&args.library, ui)?;
    let mut info = match &chosen.place {
        Place::Starter => {
            let starter = checkpoint::open_starter()?;
            let weights = starter.vae.weights_hashes()?;
            of_checkpoint(chosen, &starter, Vec::new(), weights)
        }
        Place::Checkpoint(paths) => {
            let options = CheckpointArgs::default().or_scaling(&chosen.scaling);
            let opened = checkpoint::open_indexed(paths, &options, None, true, &mut shelf.index, ui)?;
            let stamped = |path: &PathBuf| Stamped::new(path).with_context(|| path.display().to_string());
            let stamps = paths.iter().map(stamped).collect::<Result<Vec<_>>>().of_kind(Kind::BadInput)?;
            let weights = match shelf.index.known_weights(&stamps) {
                Some(known) => known.clone(),
                None => opened.vae.weights_hashes().of_kind(Kind::BadInput)?,
            };
            let mut files = Vec::new();
            for file in stamps {
                let sha256 = shelf.index.sha256(&file).of_kind(Kind::BadInput)?;
                files.push(FileInfo { path: file.path, size: Some(file.size), sha256: Some(sha256) });
            }
            of_checkpoint(chosen, &opened, files, weights)
        }
        Place::Model(path) => of_model(chosen, &ModelFolder::open(path).of_kind(Kind::BadInput)?),
    };
    if let Some(weights) = &info.weights {
        let others =
            shelf.entries.iter().filter(|entry| !entry.paths().iter().eq(info.files.iter().map(|file| &file.path)));
        let same = others.filter_map(|entry| {
            let weights = shelf.known_weights(entry)?.sameness(weights)?;
            Some(Same { name: entry.name.clone(), weights })
        });
        info.same = same.collect();
    }
    shelf.save(ui);
    Ok(info)
}

fn of_checkpoint(
    chosen: &Chosen,
    opened: &checkpoint::Checkpoint,
    files: Vec<FileInfo>,
    weights: WeightsHashes,
) -> VaeInfo {
    let report = opened.vae.report();
    VaeInfo {
        name: chosen.name.clone(),
        files,
        family: report.family.clone(),
        scaling: opened.vae.config().latents.scaling.clone(),
        scaling_source: report.scaling_source.to_string(),
        weights: Some(weights),
        same: Vec::new(),
    }
}

fn of_model(chosen: &Chosen, folder: &ModelFolder) -> VaeInfo {
    let latents = &folder.config().latents;
    let source = folder.facts().map(|facts| &facts.source);
    VaeInfo {
        name: chosen.name.clone(),
        files: vec![FileInfo { path: folder.path().to_owned(), size: None, sha256: None }],
        family: format!(
            "{}, {} channels, f{}",
            folder.config().class_name(),
            latents.channels,
            latents.downsample_factor
        ),
        scaling: latents.scaling.clone(),
        scaling_source: source.map_or("config.json".into(), |source| source.scaling.clone()),
        weights: source.map(|source| WeightsHashes::exact(&source.weights_sha256)),
        same: Vec::new(),
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.known, &self.installed) {
            (Some(known), Some(installed)) => write!(f, "{known}\n{installed}"),
            (Some(known), None) => known.fmt(f),
            (None, Some(installed)) => installed.fmt(f),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for VaeInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name        {}", self.name)?;
        for file in &self.files {
            write!(f, "file        {}", file.path.display())?;
            match file.size {
                Some(size) => writeln!(f, ", {:.1} MB", size as f64 / 1e6)?,
                None => writeln!(f)?,
            }
            if let Some(sha256) = &file.sha256 {
                writeln!(f, "short hash  {}", &sha256[..SHORT_HASH_DIGITS])?;
                writeln!(f, "sha256      {sha256}")?;
            }
        }
        if self.files.is_empty() {
            writeln!(f, "file        embedded in vaekit")?;
        }
        writeln!(f, "family      {}", self.family)?;
        match &self.scaling {
            Some(scaling) => writeln!(f, "scaling     {scaling}, learned from {}", self.scaling_source)?,
            None => writeln!(f, "scaling     not known; give it with --scaling where it is used")?,
        }
        if let Some(WeightsHashes { f32, f16, bf16 }) = &self.weights {
            writeln!(f, "weights     sha256 {f32}")?;
            for (rounded, hash) in [("F16", f16), ("BF16", bf16)] {
                if let Some(hash) = hash {
                    writeln!(f, "            {hash} rounded to {rounded}")?;
                }
            }
        }
        for same in &self.same {
            writeln!(f, "also here   {}, {}", same.name, same.weights)?;
        }
        Ok(())
    }
}
