//! `vaekit cache`: what is kept to be quick.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use vaekit_onnx::ModelFolder;

use crate::failure::{Kind, OfKind};
use crate::{cache, library};

/// What is kept.
#[derive(Debug, Serialize)]
pub struct CacheList {
    /// The folder of all.
    pub folder: PathBuf,
    /// The conversions.
    pub conversions: Vec<KeptConversion>,
    /// Files whose hashes are known.
    pub hashed_files: usize,
    /// Bytes of all conversions.
    pub size: u64,
}

/// A conversion.
#[derive(Debug, Serialize)]
pub struct KeptConversion {
    /// Its name in the cache.
    pub key: String,
    /// The files it was made of first; a copy under another name uses it too.
    pub sources: Vec<String>,
    /// The hash of the weights; absent for a folder that cannot be opened.
    pub weights_sha256: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Why it cannot be used; it is made again when needed.
    pub fault: Option<String>,
}

/// Shows what is kept.
///
/// # Errors
/// If the system has no folder for caches, or it cannot be read.
pub fn list() -> Result<CacheList> {
    let conversions: Vec<KeptConversion> = kept()?.iter().map(|folder| describe(folder)).collect();
    let size = conversions.iter().map(|kept| kept.size).sum();
    Ok(CacheList { folder: cache::home()?, conversions, hashed_files: library::index()?.n_files(), size })
}

fn describe(folder: &Path) -> KeptConversion {
    let opened = ModelFolder::open(folder);
    let source = opened.as_ref().ok().and_then(|opened| opened.facts()).map(|facts| &facts.source);
    KeptConversion {
        key: key(folder),
        sources: source.map(|s| s.files.iter().map(|file| file.name.clone()).collect()).unwrap_or_default(),
        weights_sha256: source.map(|source| source.weights_sha256.clone()),
        size: size_of(folder),
        fault: match conversion_of(folder) {
            Some(_) => Some("it is being made, or was left by a program that was killed".to_owned()),
            None => opened.as_ref().err().map(ToString::to_string),
        },
    }
}

/// What was removed.
#[derive(Debug, Default, Serialize)]
pub struct CacheClear {
    /// Keys of the conversions.
    pub removed: Vec<String>,
    /// Bytes that are free now.
    pub freed: u64,
    /// Conversions that another process is making; they stay.
    pub busy: Vec<String>,
}

/// Removes conversions; all, and the known hashes, if no key is given.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such key; the file system's.
pub fn clear(keys: &[String]) -> Result<CacheClear> {
    let kept = kept()?;
    let unknown = keys.iter().find(|wanted| !kept.iter().any(|folder| key(folder) == **wanted));
    if let Some(unknown) = unknown {
        return Err(anyhow!("the cache has no `{unknown}`; `vaekit cache list` shows what it has"))
            .of_kind(Kind::BadInput);
    }
    let mut report = CacheClear::default();
    for folder in kept.iter().filter(|folder| keys.is_empty() || keys.contains(&key(folder))) {
        let size = size_of(folder);
        if remove(folder).with_context(|| format!("cannot remove {}", folder.display()))? {
            report.removed.push(key(folder));
            report.freed += size;
        } else {
            report.busy.push(key(folder));
        }
    }
    if keys.is_empty() {
        let index = library::index()?.path().to_owned();
        report.freed += index.metadata().map_or(0, |metadata| metadata.len());
        ignore_missing(fs::remove_file(&index)).with_context(|| format!("cannot remove {}", index.display()))?;
    }
    Ok(report)
}

/// Removes a conversion unless it is being made; says whether.
fn remove(folder: &Path) -> io::Result<bool> {
    let unfinished = conversion_of(folder);
    let lock = cache::lock_file(unfinished.as_deref().unwrap_or(folder));
    let held = File::options().write(true).open(&lock);
    if let Ok(file) = &held
        && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
    {
        return Ok(false);
    }
    if unfinished.is_some() {
        fs::remove_dir_all(folder)?;
    } else {
        // Under another name first: half a folder in the place of a conversion would be in the way of the next.
        let hidden = folder.with_file_name(format!(".{}{UNFINISHED}{}-clear", key(folder), std::process::id()));
        fs::rename(folder, &hidden)?;
        fs::remove_dir_all(&hidden)?;
    }
    drop(held);
    ignore_missing(fs::remove_file(lock))?;
    Ok(true)
}

/// What stands between a conversion's key and the rest of the hidden name that it has until it is whole.
const UNFINISHED: &str = ".tmp-";

/// The folder that a hidden one was to become; `None` for a whole conversion.
fn conversion_of(folder: &Path) -> Option<PathBuf> {
    let name = key(folder);
    let (key, _) = name.strip_prefix('.')?.split_once(UNFINISHED)?;
    Some(folder.with_file_name(key))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// The folders of conversions, in order, with those that killed processes left.
fn kept() -> Result<Vec<PathBuf>> {
    let folder = cache::conversions()?;
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
    };
    let mut kept: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|path| path.is_dir()).collect();
    kept.sort();
    Ok(kept)
}

fn key(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

impl fmt::Display for CacheList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kept in &self.conversions {
            let (key, sources) = (&kept.key, kept.sources.join(" and "));
            let what = kept.fault.as_ref().map_or(sources, |fault| format!("cannot be used: {fault}"));
            writeln!(f, "{key}  {:>8.1} MB  {what}", kept.size as f64 / 1e6)?;
        }
        let (n, files, folder) = (self.conversions.len(), self.hashed_files, self.folder.display());
        writeln!(f, "{n} conversions, {:.1} MB; hashes of {files} files; in {folder}", self.size as f64 / 1e6)
    }
}

impl fmt::Display for CacheClear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.removed.len();
        writeln!(f, "removed {n} conversions, {:.1} MB", self.freed as f64 / 1e6)?;
        self.busy.iter().try_for_each(|key| writeln!(f, "kept    {key}, which another process is making"))
    }
}
