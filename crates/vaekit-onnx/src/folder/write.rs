//! Writing a folder under another name first, so that a folder under its own name is always whole.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use vaekit::Half;

use super::files::Disk;
use super::{CONFIG, MANIFEST, MODEL, config_text, half_folder, model_entry, read_json};
use crate::manifest::{FileEntry, Manifest, Verification};
use crate::write::{Export, Progress, WriteError, Written, write_model};

/// Writes a model folder: [`create`](Self::create), [`write_half`](Self::write_half) for each half,
/// [`finish`](Self::finish).
///
/// Until then everything lies in a hidden folder beside the target, which goes away with the writer. A killed process leaves
/// it behind; the next writer of the same target removes it.
pub struct FolderWriter<'a> {
    export: &'a Export<'a>,
    target: PathBuf,
    staging: Staging,
    files: Vec<FileEntry>,
}

/// Why a model folder was not written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The file system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path like `..`.
    #[error("{} has no name to give a model folder", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// Something of the user's.
    #[error("{} is there and is no model folder of vaekit: {reason}; remove it or choose another name", path.display())]
    Foreign {
        /// The target.
        path: PathBuf,
        /// What gives it away.
        reason: String,
    },
    /// The graph.
    #[error(transparent)]
    Write(#[from] WriteError),
}

trait Doing<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, FolderError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, FolderError> {
        self.map_err(|source| FolderError::Io { action, path: path.into(), source })
    }
}

impl<'a> FolderWriter<'a> {
    /// Starts a folder that will be `target`, with the folders above it.
    ///
    /// # Errors
    /// [`FolderError`] if the target is there and is neither empty nor a model folder of vaekit, or cannot be written beside.
    pub fn create(target: impl AsRef<Path>, export: &'a Export<'a>) -> Result<Self, FolderError> {
        let target = target.as_ref().to_path_buf();
        let name = target.file_name().ok_or_else(|| FolderError::NoName { path: target.clone() })?;
        let parent = parent_of(&target);
        fs::create_dir_all(parent).doing("make the folder", parent)?;
        remove_leftovers(&target, name);
        check_replaceable(&target)?;
        let staging = Staging::create(parent, name)?;
        Ok(FolderWriter { export, target, staging, files: Vec::new() })
    }

    /// The folder as it is now: [`ModelFolder::open`](super::ModelFolder::open) takes it as soon as a half is written.
    pub fn path(&self) -> PathBuf {
        self.staging.path.join(STAGED)
    }

    /// The hidden folder that goes away with the writer; for a program that is interrupted to remove.
    pub fn temporary(&self) -> &Path {
        &self.staging.path
    }

    /// Writes one half's model and config, and returns the model's path, for verification.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn write_half(&mut self, half: Half, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf, FolderError> {
        let folder = self.path().join(half_folder(half));
        // Not with the folders above it: what an interrupted program has removed shall not come back.
        fs::create_dir(&folder).doing("make the folder", &folder)?;

        let path = folder.join(MODEL);
        let file = File::create(&path).doing("create", &path)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let Written { size, sha256 } = write_model(self.export, half, &mut out, progress)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error).doing("write", &path)?;
        file.sync_all().doing("write", &path)?;
        self.files.push(FileEntry { path: model_entry(half), size, sha256 });

        write_synced(&folder.join(CONFIG), &config_text(self.export.config(), half))?;
        Ok(path)
    }

    /// Writes the manifest and gives the folder its name, in place of an older model folder of vaekit.
    ///
    /// # Errors
    /// [`FolderError`]; the older folder is then still there.
    pub fn finish(mut self, verified: Vec<Verification>) -> Result<Manifest, FolderError> {
        let files = std::mem::take(&mut self.files);
        let manifest = Manifest { files, verified, facts: self.export.facts().clone() };
        write_synced(&self.path().join(MANIFEST), &manifest.to_json())?;
        self.rename()?;
        // Makes the new name last through a power cut where folders can be synced; elsewhere it does nothing.
        let _ = File::open(parent_of(&self.target)).and_then(|folder| folder.sync_all());
        Ok(manifest)
    }

    fn rename(&self) -> Result<(), FolderError> {
        check_replaceable(&self.target)?;
        let replaced = self.staging.path.join(REPLACED);
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &replaced).doing("replace", &self.target)?;
        }
        let renamed = fs::rename(self.path(), &self.target).doing("create", &self.target);
        if renamed.is_err() && replaces {
            fs::rename(&replaced, &self.target).doing("put back", &self.target)?;
        }
        renamed
    }
}

/// Inside the hidden folder: the model folder to be,
const STAGED: &str = "model";
/// the older one, for the moment between two renames,
const REPLACED: &str = "replaced";
/// and a file that its writer holds locked, so that others can tell whether that process lives.
const LOCK: &str = "lock";

/// A hidden folder beside the target, removed on drop.
struct Staging {
    path: PathBuf,
    lock: Option<File>,
}

impl Staging {
    fn create(parent: &Path, name: &OsStr) -> Result<Self, FolderError> {
        let mut attempt = 0;
        let path = loop {
            let mut hidden = staging_prefix(name);
            hidden.push(format!("{}-{attempt}", std::process::id()));
            let path = parent.join(hidden);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                made => break made.map(|()| path.clone()).doing("make the folder", &path)?,
            }
        };
        let mut staging = Staging { path, lock: None };
        let lock_path = staging.path.join(LOCK);
        let lock = File::create(&lock_path).doing("create", &lock_path)?;
        match lock.try_lock() {
            Ok(()) => staging.lock = Some(lock),
            // A file system without locks: without the file, nobody takes this folder for a dead process' one.
            Err(_) => fs::remove_file(&lock_path).doing("remove", &lock_path)?,
        }
        let staged = staging.path.join(STAGED);
        fs::create_dir(&staged).doing("make the folder", &staged)?;
        Ok(staging)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Windows removes no file that is open.
        self.lock = None;
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// `.NAME.tmp-`.
fn staging_prefix(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp-");
    hidden
}

/// Removes what killed writers of the same target left, and puts back a folder that one was about to replace. Best effort.
fn remove_leftovers(target: &Path, name: &OsStr) {
    let prefix = staging_prefix(name);
    let Ok(siblings) = fs::read_dir(parent_of(target)) else { return };
    for sibling in siblings.flatten() {
        if !sibling.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            continue;
        }
        let path = sibling.path();
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_err() {
            continue;
        }
        let replaced = path.join(REPLACED);
        if replaced.exists() && !target.exists() && fs::rename(&replaced, target).is_err() {
            continue;
        }
        drop(Staging { path, lock: Some(lock) });
    }
}

/// Nothing, an empty folder, or a model folder of vaekit with nothing else in it.
fn check_replaceable(target: &Path) -> Result<(), FolderError> {
    let foreign = |reason: String| Err(FolderError::Foreign { path: target.into(), reason });
    match fs::symlink_metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(_) if target.is_dir() => {}
        Ok(_) => return foreign("it is a file".into()),
        Err(error) => return Err(error).doing("look at", target),
    }
    let entries = file_names(target)?;
    if entries.is_empty() {
        return Ok(());
    }
    let manifest = target.join(MANIFEST);
    if !read_json(&Disk, &manifest).is_ok_and(|json| is_manifest(&json)) {
        return foreign(format!("it holds no {MANIFEST}"));
    }
    let halves = Half::BOTH.map(half_folder);
    for entry in entries {
        if halves.iter().any(|&half| entry == half) {
            for inner in file_names(&target.join(&entry))? {
                if ![MODEL, CONFIG, DESKTOP].iter().any(|&known| inner == known) {
                    return foreign(format!("it holds {}", Path::new(&entry).join(inner).display()));
                }
            }
        } else if entry != MANIFEST && entry != DESKTOP {
            return foreign(format!("it holds {}", entry.display()));
        }
    }
    Ok(())
}

/// macOS leaves one in every folder that was looked at.
const DESKTOP: &str = ".DS_Store";

/// Whether it is a manifest of any version.
fn is_manifest(json: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(json).is_ok_and(|json| json["format_version"].is_u64())
}

fn file_names(folder: &Path) -> Result<Vec<OsString>, FolderError> {
    let entries = fs::read_dir(folder).doing("list", folder)?;
    entries.map(|entry| entry.map(|entry| entry.file_name()).doing("list", folder)).collect()
}

fn parent_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn write_synced(path: &Path, text: &str) -> Result<(), FolderError> {
    let mut file = File::create(path).doing("create", path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).doing("write", path)
}
