//! The VAE that is used where none is asked for.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A default that a person chose once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// `Automatic`, `None`, or a VAE's name.
    pub vae: String,
    /// Where it was then, for a VAE that has a place: one file or folder, or two halves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathBuf>,
}

/// A default that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} the remembered VAE in {}: {reason}", path.display())]
pub struct RememberedError {
    action: &'static str,
    path: PathBuf,
    reason: String,
}

impl Remembered {
    /// Reads it from its file, if there is one.
    ///
    /// # Errors
    /// [`RememberedError`] if the file is there and makes no sense: what was chosen is not passed over silently.
    pub fn load(path: &Path) -> Result<Option<Self>, RememberedError> {
        let error = |reason: String| RememberedError { action: "read", path: path.into(), reason };
        match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map(Some).map_err(|reason| error(reason.to_string())),
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(error(reason.to_string())),
        }
    }

    /// Writes it, in place of an earlier one.
    ///
    /// # Errors
    /// [`RememberedError`] if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RememberedError> {
        let write = || -> io::Result<()> {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|reason| RememberedError { action: "keep", path: path.into(), reason: reason.to_string() })
    }

    /// Forgets it; nothing happens if there is none.
    ///
    /// # Errors
    /// [`RememberedError`] if the file cannot be removed.
    pub fn forget(path: &Path) -> Result<(), RememberedError> {
        match fs::remove_file(path) {
            Err(reason) if reason.kind() != io::ErrorKind::NotFound => {
                Err(RememberedError { action: "forget", path: path.into(), reason: reason.to_string() })
            }
            _ => Ok(()),
        }
    }
}
