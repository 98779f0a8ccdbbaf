//! Why a file is no checkpoint, a tensor cannot be read, or files do not make a VAE.

use std::io;

use crate::infer::InferError;
use crate::pickle::PickleError;

/// A file that cannot be opened as a checkpoint.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct OpenError {
    /// The file's name.
    pub file: String,
    /// What is wrong with it.
    pub reason: OpenReason,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum OpenReason {
    /// No bytes.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// Something else than a checkpoint, or a kind of checkpoint that vaekit does not read.
    #[error("{found}")]
    Format {
        /// What it is, and what to do.
        found: String,
    },
    /// The header of a .safetensors file claims too much.
    #[error(
        "the safetensors header claims to be {found} bytes long, at most {limit} are accepted; the file is damaged or hostile"
    )]
    HeaderTooLong {
        /// Bytes claimed.
        found: u64,
        /// Bytes accepted.
        limit: u64,
    },
    /// The file ends early.
    #[error("the file is truncated: it has {found} bytes, its header needs {expected}; fetch it again")]
    Truncated {
        /// Bytes there.
        found: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// The pickle in it is refused.
    #[error(transparent)]
    Pickle(#[from] PickleError),
    /// The contents contradict themselves.
    #[error("{0}")]
    Malformed(String),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A tensor that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{name}` in {file} {reason}")]
pub struct ReadError {
    /// The tensor, under its name in the file.
    pub name: String,
    /// The file.
    pub file: String,
    /// Why not.
    pub reason: ReadReason,
}

/// Why a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadReason {
    /// There is none.
    #[error("does not exist")]
    NoTensor,
    /// Its element type is not a float that vaekit reads.
    #[error("is {0}, expected F64, F32, F16 or BF16")]
    Dtype(String),
    /// More elements than any VAE has.
    #[error("is {shape:?}, more than the {limit} elements that are accepted", limit = crate::tensor::MAX_ELEMENTS)]
    TooLarge {
        /// Its shape.
        shape: Vec<usize>,
    },
    /// It reaches beyond its storage.
    #[error("reaches to byte {needed} of its storage, which has {found}; the file is truncated or damaged")]
    OutOfBounds {
        /// Bytes of the storage.
        found: u64,
        /// Bytes needed.
        needed: u128,
    },
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// Why files do not make a VAE.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A tensor cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No file was given.
    #[error("no checkpoint was given")]
    NoFiles,
    /// The file's VAE is of another family.
    #[error(
        "{file} holds {family}, which vaekit does not support; it runs AutoencoderKL, AutoencoderKLFlux2, AsymmetricAutoencoderKL and AutoencoderTiny"
    )]
    Unsupported {
        /// The file.
        file: String,
        /// What it holds.
        family: String,
    },
    /// The file holds no VAE.
    #[error("{file} holds {found}, expected a VAE or a whole checkpoint with one")]
    NoVae {
        /// The file.
        file: String,
        /// What it holds instead.
        found: String,
    },
    /// Two files hold the same tensor.
    #[error("both {first} and {second} hold `{tensor}`; give the files of one VAE")]
    Twice {
        /// The canonical name.
        tensor: String,
        /// A file.
        first: String,
        /// Another.
        second: String,
    },
    /// The tensors contradict each other.
    #[error("{files}: {reason}")]
    Infer {
        /// The files.
        files: String,
        /// How.
        reason: InferError,
    },
    /// Tensors are missing.
    #[error("{files} lacks {count} of the {total} tensors of its {family}: {names}")]
    Missing {
        /// The files.
        files: String,
        /// What they hold the rest of.
        family: String,
        /// How many are missing.
        count: usize,
        /// Of how many.
        total: usize,
        /// The first of them, and what stands in their place.
        names: String,
    },
    /// A tensor has another shape.
    #[error("tensor `{tensor}` in {file} is {found:?}, expected {expected:?} for {reason}")]
    Shape {
        /// The name in the file.
        tensor: String,
        /// The file.
        file: String,
        /// Shape found.
        found: Box<[usize]>,
        /// Shape that fits the rest.
        expected: Box<[usize]>,
        /// The sizes it follows from.
        reason: String,
    },
    /// A tensor of the VAE that no layer has.
    #[error("tensor `{tensor}` in {file} belongs to no layer of an {family}; this network is of another kind")]
    Surplus {
        /// The name in the file.
        tensor: String,
        /// The file.
        file: String,
        /// The family that the rest makes.
        family: String,
    },
    /// A config cannot be used.
    #[error("{config}: {reason}")]
    Config {
        /// Which config.
        config: String,
        /// Why not.
        reason: String,
    },
    /// A config says something else than the tensors.
    #[error("{config} says {key} = {says}, the tensors of {files} say {found}; this config belongs to another VAE")]
    Conflict {
        /// Which config.
        config: String,
        /// The key.
        key: &'static str,
        /// The config's value.
        says: String,
        /// The files.
        files: String,
        /// The tensors' value.
        found: String,
    },
    /// The groups do not divide a width.
    #[error(
        "{files}: {groups} groups (norm_num_groups, {source_of_groups}) do not divide {width} channels; give its config.json with --config"
    )]
    Groups {
        /// The files.
        files: String,
        /// The groups.
        groups: usize,
        /// Where they come from.
        source_of_groups: &'static str,
        /// A width.
        width: usize,
    },
    /// The scaling follows from nothing.
    #[error(
        "{files} does not tell how its latents are scaled (no config.json, no known hash, metadata or name); give it with --scaling: {choices}"
    )]
    Scaling {
        /// The files.
        files: String,
        /// What can be given.
        choices: String,
    },
    /// The scaling given is another family's.
    #[error("the scaling given is for {given} latent channels, {files} has {found}; expected one of {choices}")]
    ScalingChannels {
        /// Channels of the scaling.
        given: usize,
        /// The files.
        files: String,
        /// Channels of the VAE.
        found: usize,
        /// What can be given.
        choices: String,
    },
    /// FLUX.2's statistics are broken.
    #[error("tensor `{tensor}` in {file} is {found}, expected {expected}")]
    Statistics {
        /// The tensor.
        tensor: String,
        /// The file.
        file: String,
        /// What it is.
        found: String,
        /// What would do.
        expected: String,
    },
}
