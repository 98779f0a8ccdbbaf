//! Listing: folders and names of files to entries. No file is opened.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::entry::{Entry, Kind, diffusers_weights_of, ending_rank, is_checkpoint, without_ending};
use crate::file::Stamped;
use crate::natural;
use crate::places::{self, Holds, Place, Places};

/// Deepest folder below the one that was named.
const MAX_DEPTH: usize = 8;
/// More entries than anybody keeps: a disk was named, not a folder of VAEs.
const MAX_ENTRIES: usize = 200_000;
/// Parts of a pipeline of diffusers' that are no VAE and whose weights have the same file name, as they begin.
const OTHER_PARTS: &[&str] =
    &["unet", "transformer", "text_encoder", "image_encoder", "controlnet", "safety_checker", "prior"];

/// The VAEs of some folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// Them, in the order that people expect: without case, numbers by value.
    pub entries: Vec<Entry>,
    /// Folders that could not be read, and why.
    pub skipped: Vec<String>,
}

/// A folder that cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// It cannot be read.
    #[error("cannot list the VAE folder {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds too much.
    #[error("{} holds more than {MAX_ENTRIES} checkpoints; name the folder of VAEs in it", folder.display())]
    TooMany {
        /// The folder.
        folder: PathBuf,
    },
}

/// Lists the VAEs of folders, and of the folders in them. Each may be a folder of VAEs, a whole installation of
/// AUTOMATIC1111's web UI, Forge, SD.Next or ComfyUI, or its `models`. Of a whole ComfyUI the folders that its
/// `extra_model_paths.yaml` names are listed too.
///
/// A folder that is reached twice is listed once; hidden files are passed over.
///
/// # Errors
/// [`ScanError`] if one of the folders cannot be read. What cannot be read further down is skipped and said.
pub fn scan(folders: &[PathBuf]) -> Result<Library, ScanError> {
    let mut walk = Walk::default();
    for folder in folders {
        let error = |source| ScanError::Io { folder: folder.clone(), source };
        let folder = std::path::absolute(folder).map_err(error)?;
        fs::read_dir(&folder).map_err(error)?;
        let Places { places, problems } = places::places(&folder);
        walk.skipped.extend(problems);
        for Place { folder, holds } in places {
            walk.folder(&folder, "", holds, 0).map_err(|error| match error {
                Stop::TooMany => ScanError::TooMany { folder: folder.clone() },
                Stop::Io(source) => ScanError::Io { folder: folder.clone(), source },
            })?;
        }
    }
    let mut entries = walk.entries;
    entries.sort_by(|a, b| natural::compare(&a.name, &b.name).then_with(|| a.files.cmp(&b.files)));
    // A folder of checkpoints may be named as one of VAEs too.
    entries.dedup_by(|a, b| a.files == b.files && a.folder == b.folder);
    Ok(Library { entries, skipped: walk.skipped })
}

impl Library {
    /// The folders that are scanned if none is named: `working` if it is an installation (it has `models/VAE`), and `own` if
    /// it is there.
    pub fn default_folders(working: &Path, own: &Path) -> Vec<PathBuf> {
        let working = places::is_installation(working).then(|| working.to_owned());
        working.into_iter().chain(own.is_dir().then(|| own.to_owned())).collect()
    }
}

#[derive(Default)]
struct Walk {
    visited: HashSet<(PathBuf, Holds)>,
    entries: Vec<Entry>,
    skipped: Vec<String>,
}

enum Stop {
    Io(io::Error),
    TooMany,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Io(error)
    }
}

impl Walk {
    fn folder(&mut self, folder: &Path, relative: &str, holds: Holds, depth: usize) -> Result<(), Stop> {
        if !self.visited.insert((folder.canonicalize()?, holds)) {
            return Ok(());
        }
        let Listing { files, folders } = Listing::read(folder)?;
        if holds == Holds::Vaes
            && let Some(entry) = folder_entry(folder, relative, &files, &folders)
        {
            self.entries.push(entry);
            return Ok(());
        }
        let is_pipeline = files.iter().any(|(name, _)| name == "model_index.json");
        self.files(folder, relative, holds, files);
        if self.entries.len() > MAX_ENTRIES {
            return Err(Stop::TooMany);
        }
        for name in folders.iter().filter(|name| depth < MAX_DEPTH && !(is_pipeline && is_other_part(name))) {
            let below = folder.join(name);
            match self.folder(&below, &joined(relative, name), holds, depth + 1) {
                Err(Stop::Io(error)) => self.skipped.push(format!("{}: {error}", below.display())),
                done => done?,
            }
        }
        Ok(())
    }

    fn files(&mut self, folder: &Path, relative: &str, holds: Holds, files: Vec<(String, Stamped)>) {
        let mut checkpoints: Vec<&(String, Stamped)> = files.iter().filter(|(name, _)| is_checkpoint(name)).collect();
        // Of `taesd_encoder.pth` and `taesd_encoder.safetensors` the better format counts.
        checkpoints.sort_by_key(|(name, _)| ending_rank(name));
        let halves = |which| {
            let halves = checkpoints.iter().rev().filter_map(|(name, file)| Some((half(name, which)?, file)));
            halves.collect::<HashMap<&str, &Stamped>>()
        };
        let (encoders, decoders) = (halves("_encoder"), halves("_decoder"));
        let mut entry = |name: &str, kind, files| {
            self.entries.push(Entry { name: joined(relative, name), kind, files, folder: folder.into() });
        };
        for (name, file) in &checkpoints {
            if let Some(common) = half(name, "_decoder")
                && let Some(encoder) = encoders.get(common)
            {
                if decoders[common] == file {
                    entry(common, Kind::Halves, vec![(*encoder).clone(), file.clone()]);
                }
                continue;
            }
            let is_listed = match holds {
                _ if half(name, "_encoder").is_some_and(|common| decoders.contains_key(common)) => false,
                Holds::Vaes => true,
                Holds::Halves => half(name, "_encoder").or(half(name, "_decoder")).is_some(),
                Holds::BesideCheckpoints => without_ending(name).ends_with(".vae"),
            };
            if is_listed {
                entry(name, Kind::File, vec![file.clone()]);
            }
        }
    }
}

/// `taesd` of `taesd_encoder.pth`.
fn half<'a>(name: &'a str, which: &str) -> Option<&'a str> {
    without_ending(name).strip_suffix(which).filter(|common| !common.is_empty())
}

fn is_other_part(name: &str) -> bool {
    OTHER_PARTS.iter().any(|part| name.starts_with(part))
}

/// A folder that is one VAE as a whole.
fn folder_entry(folder: &Path, relative: &str, files: &[(String, Stamped)], folders: &[String]) -> Option<Entry> {
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (kind, files) = if let Some(weights) = diffusers_weights_of(&names) {
        (Kind::Diffusers, vec![files.iter().find(|(name, _)| name == weights)?.1.clone()])
    } else {
        let models: Vec<Stamped> = ["vae_encoder", "vae_decoder"]
            .iter()
            .filter(|half| folders.iter().any(|name| name == *half))
            .filter_map(|half| Stamped::new(&folder.join(half).join("model.onnx")).ok())
            .collect();
        if models.is_empty() {
            return None;
        }
        (Kind::Model, models)
    };
    let name = match relative {
        "" => folder.file_name()?.to_string_lossy().into_owned(),
        relative => relative.to_owned(),
    };
    Some(Entry { name, kind, files, folder: folder.into() })
}

fn joined(relative: &str, name: &str) -> String {
    if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") }
}

/// What is in a folder, without what is hidden.
struct Listing {
    files: Vec<(String, Stamped)>,
    folders: Vec<String>,
}

impl Listing {
    fn read(folder: &Path) -> io::Result<Self> {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A name that is no Unicode cannot be given on a command line that is.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with('.') {
                continue;
            }
            // A link is what it leads to; one that leads nowhere is nothing.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            if metadata.is_dir() {
                folders.push(name);
            } else {
                files.push((name, Stamped::of(entry.path(), &metadata)));
            }
        }
        folders.sort();
        Ok(Listing { files, folders })
    }
}
