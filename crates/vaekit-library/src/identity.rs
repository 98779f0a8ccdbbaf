//! What a VAE is, whatever it is called.

use std::io;
use std::path::{Path, PathBuf};

use vaekit::WeightsError;
use vaekit_checkpoint::{CanonicalVae, CheckpointError, Options, WeightsHashes};
use vaekit_onnx::{ModelFolder, OpenError};

use crate::entry::{Entry, Kind};
use crate::file::source;

/// A VAE whose weights cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no VAE.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is no model folder.
    #[error(transparent)]
    Model(#[from] OpenError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A model folder that another program exported.
    #[error("{} does not say which weights it was made of; vaekit did not convert it", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
}

impl IdentityError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| IdentityError::Io { path: path.into(), source }
    }
}

/// The hashes of an entry's weights: read from a checkpoint, taken from the manifest of a model folder.
///
/// # Errors
/// [`IdentityError`].
pub fn weights(entry: &Entry) -> Result<WeightsHashes, IdentityError> {
    if entry.kind == Kind::Model {
        let folder = ModelFolder::open(&entry.folder)?;
        let facts = folder.facts().ok_or_else(|| IdentityError::Foreign { folder: entry.folder.clone() })?;
        return Ok(WeightsHashes::exact(&facts.source.weights_sha256));
    }
    let open = |path: &PathBuf| source(path).map_err(IdentityError::io(path));
    let sources = entry.paths().iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let options = Options { allow_unknown_scaling: true, ..Options::default() };
    Ok(CanonicalVae::open(sources, &options)?.weights_hashes()?)
}
