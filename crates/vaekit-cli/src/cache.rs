//! Conversions that are kept: each VAE is converted once, however it is named and whoever asks.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use etcetera::BaseStrategy;
use vaekit_onnx::{ModelFolder, Precision};

use crate::checkpoint::Checkpoint;
use crate::convert::{Conversion, convert};
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// What is kept to be quick: `VAEKIT_CACHE`, else a folder of the system's for caches.
///
/// # Errors
/// If there is no such folder.
pub fn home() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("VAEKIT_CACHE").filter(|cache| !cache.is_empty()) {
        return Ok(cache.into());
    }
    let Ok(user) = etcetera::choose_base_strategy() else {
        bail!("this system has no folder for caches; set VAEKIT_CACHE to one")
    };
    Ok(user.cache_dir().join("vaekit"))
}

/// The folder of conversions.
///
/// # Errors
/// As [`home`].
pub fn conversions() -> Result<PathBuf> {
    Ok(home()?.join("converted"))
}

/// A checkpoint's conversion, made unless it is there.
///
/// It is kept under a hash of the weights and whatever else its bytes depend on, but not of its name: copies share it. Of
/// several processes that want the same one, one converts and the others wait for it; one that dies while it converts
/// leaves nothing that could be in the way.
///
/// # Errors
/// Those of the conversion.
pub fn converted(checkpoint: &Checkpoint, name: &str, precision: Precision, ui: &Ui) -> Result<ModelFolder> {
    let conversion = Conversion { checkpoint, name: None, precision, verify: false };
    let folder = conversions()?.join(conversion.key()?);
    let known_as = |folder: ModelFolder| folder.known_as(name.to_owned(), checkpoint.files.clone());
    if let Ok(kept) = ModelFolder::open(&folder) {
        return Ok(known_as(kept));
    }
    let _lock = wait_for(&folder, name, ui)?;
    if let Ok(kept) = ModelFolder::open(&folder) {
        return Ok(known_as(kept));
    }
    ui.note(format_args!("converting {name} once, into {}", folder.display()));
    convert(&conversion, &folder, ui)?;
    ModelFolder::open(&folder).map(known_as).of_kind(Kind::BadInput)
}

/// The file that a process locks while it makes `folder`. The system unlocks it when the process ends, however it does.
pub(crate) fn lock_file(folder: &Path) -> PathBuf {
    folder.with_added_extension("lock")
}

fn wait_for(folder: &Path, name: &str, ui: &Ui) -> Result<Option<File>> {
    let path = lock_file(folder);
    let open = || -> std::io::Result<File> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        File::options().create(true).truncate(false).write(true).open(&path)
    };
    let file = open().with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => {
            // A file system without locks: converting twice costs time and nothing else.
            ui.detail(format_args!("cannot lock {}: {error}", path.display()));
            return Ok(None);
        }
    }
    ui.note(format_args!("another process converts {name}; waiting for it"));
    let spinner = ui.spinner(&format!("waiting for {name}"));
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    spinner.finish_and_clear();
    Ok(Some(file))
}
