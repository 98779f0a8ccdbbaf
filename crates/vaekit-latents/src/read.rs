//! Reading: from bytes to latents that say what they are.

use ndarray::Array4;
use vaekit::{Domain, Latents};

use crate::{Format, Provenance, element::Stored, npy, npz, safetensors_file, shape};

/// What the caller knows about a file that the file may not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Raw or scaled, whatever the file says. Values are then taken as they stand.
    pub domain: Option<Domain>,
    /// Which array to read, where there are several.
    pub tensor: Option<String>,
    /// The image's height and width in pixels, if the file holds packed tokens `[B, S, 64]` or `[B, S, 128]`.
    pub token_size: Option<(usize, usize)>,
}

/// A file of latents, read.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentFile {
    /// The values `[N, C, h, w]`, f32, in standard layout.
    pub data: Array4<f32>,
    /// Raw or scaled, if anything says so.
    pub domain: Option<Domain>,
    /// What says so.
    pub domain_source: DomainSource,
    /// vaekit's own metadata.
    pub provenance: Option<Provenance>,
    /// How many values are NaN or infinite.
    pub n_non_finite: usize,
}

/// How it is known whether latents are raw or scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainSource {
    /// [`ReadOptions::domain`].
    Caller,
    /// The file's [`Provenance`].
    Metadata,
    /// ComfyUI's convention: a tensor `latent_format_version_0` says that `latent_tensor` is raw, or, with the 128 channels of
    /// FLUX.2, packed and scaled as ComfyUI's VAE nodes give and take it.
    ComfyUi,
    /// ComfyUI's convention for its oldest files, which lack that tensor: SD1's scaled latents. As in ComfyUI's `LoadLatent`, the
    /// values were divided by 0.18215 and are raw.
    OldComfyUi,
    /// Packed tokens only exist in diffusers' pipelines, where latents are scaled.
    Tokens,
    /// Nothing says.
    Unknown,
}

/// Neither file nor caller says whether latents are raw or scaled.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error(
    "the file does not say whether its latents are raw or scaled (their standard deviation is {std:.2}, that of scaled ones is near 1); say which with --latents raw or --latents scaled"
)]
pub struct DomainUnknown {
    /// Standard deviation of the values: a hint, not a proof.
    pub std: f64,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("{file}: {kind}")]
pub struct ReadError {
    /// The file, as the caller named it.
    pub file: String,
    /// Why.
    pub kind: ReadErrorKind,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ReadErrorKind {
    /// Not one of the formats.
    #[error(
        "not a .safetensors, .latent, .npy or .npz file: it has {n_bytes} bytes and starts with {}",
        start.escape_ascii()
    )]
    UnknownFormat {
        /// The first bytes.
        start: Vec<u8>,
        /// Length of the file.
        n_bytes: usize,
    },
    /// The format's own rules are broken, or the file was cut short.
    #[error("damaged {format} file: {reason}")]
    Damaged {
        /// The format.
        format: Format,
        /// What is wrong.
        reason: String,
    },
    /// Numbers of a type that latents do not have.
    #[error("array `{array}` has elements of type {found}, expected f32, f16, bf16 or f64")]
    Element {
        /// The array.
        array: String,
        /// The type, as the file writes it.
        found: String,
    },
    /// No array at all.
    #[error("the {format} file holds no array; a PyTorch file? then save its latents as .safetensors")]
    NoArray {
        /// The format.
        format: Format,
    },
    /// Several arrays, none with a usual name.
    #[error("the file holds {} arrays: {}; choose one with --tensor NAME", names.len(), list(names))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// The array asked for is not there.
    #[error("the file holds no array `{wanted}`; it has {}", list(names))]
    NoSuchArray {
        /// The name asked for.
        wanted: String,
        /// Those there are.
        names: Vec<String>,
    },
    /// Not the shape of latents.
    #[error(
        "array `{array}` is {shape:?}, expected latents [N, C, h, w], or [C, h, w] with C one of {:?}{}",
        shape::CHANNELS,
        if shape.len() == 5 { "; latents of videos are not supported" } else { "" }
    )]
    Shape {
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// An axis of length 0.
    #[error("array `{array}` is {shape:?}, which holds no values")]
    Empty {
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Packed tokens without the image's size.
    #[error(
        "array `{array}` is {shape:?}: packed tokens [B, S, features] of a FLUX pipeline? then give the image's size with --token-size HEIGHTxWIDTH"
    )]
    TokensNeedSize {
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Packed tokens that do not fit the image's size.
    #[error(
        "array `{array}` is {shape:?}, expected packed tokens [B, {}, 64 or 128] for an image of {height} by {width}: one token for each 16 by 16 pixels",
        (height / 16).saturating_mul(width / 16)
    )]
    Tokens {
        /// The array.
        array: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Height given.
        height: usize,
        /// Width given.
        width: usize,
    },
    /// vaekit's metadata is not what vaekit writes.
    #[error("the metadata `vaekit` cannot be read: {reason}")]
    Metadata {
        /// What is wrong.
        reason: String,
    },
}

/// What the reader of one format found.
pub(crate) struct Found<'a> {
    pub(crate) array: Stored<'a>,
    /// What the format's convention says; metadata and caller come before it.
    pub(crate) convention: Option<(Domain, DomainSource)>,
    pub(crate) provenance: Option<Provenance>,
}

/// The names under which others store latents, the usual ones first.
const USUAL_NAMES: [&str; 4] = ["latent_tensor", "latents", "latent", "samples"];

/// SD1's scaling factor, by which ComfyUI's `LoadLatent` divides files without `latent_format_version_0`.
const OLD_COMFYUI_FACTOR: f64 = 0.18215;

/// Reads latents from the bytes of a file in any [`Format`]; `file` is its name for messages only.
///
/// # Errors
/// [`ReadError`]: another format, a damaged file, or an array that is not latents.
pub fn read(file: &str, bytes: &[u8], options: &ReadOptions) -> Result<LatentFile, ReadError> {
    read_bytes(bytes, options).map_err(|kind| ReadError { file: file.into(), kind })
}

fn read_bytes(bytes: &[u8], options: &ReadOptions) -> Result<LatentFile, ReadErrorKind> {
    let wanted = options.tensor.as_deref();
    let Found { array, convention, provenance } = match Format::detect(bytes)? {
        Format::Safetensors | Format::Latent => safetensors_file::read(bytes, wanted)?,
        Format::Npy => Found { array: npy::read("array".into(), bytes.into())?, convention: None, provenance: None },
        Format::Npz => npz::read(bytes, wanted)?,
    };
    let (mut data, is_tokens) = shape::arrange(&array, options.token_size)?;
    let stated = provenance.as_ref().and_then(|p| p.domain);
    let (domain, domain_source) = None
        .or(options.domain.map(|domain| (Some(domain), DomainSource::Caller)))
        .or(stated.map(|domain| (Some(domain), DomainSource::Metadata)))
        .or(is_tokens.then_some((Some(Domain::Scaled), DomainSource::Tokens)))
        .or(convention.map(|(domain, source)| (Some(domain), source)))
        .unwrap_or((None, DomainSource::Unknown));
    if domain_source == DomainSource::OldComfyUi {
        data *= (1.0 / OLD_COMFYUI_FACTOR) as f32;
    }
    let n_non_finite = data.iter().filter(|value| !value.is_finite()).count();
    Ok(LatentFile { data, domain, domain_source, provenance, n_non_finite })
}

impl LatentFile {
    /// The latents with their domain.
    ///
    /// # Errors
    /// [`DomainUnknown`] if neither the file nor [`ReadOptions::domain`] says whether they are raw or scaled.
    pub fn into_latents(self) -> Result<Latents, DomainUnknown> {
        match self.domain {
            Some(domain) => Ok(Latents { data: self.data, domain }),
            None => Err(DomainUnknown { std: self.data.mapv(f64::from).std(0.0) }),
        }
    }
}

/// The array to read: the one asked for, the only one, or the one with a usual name.
pub(crate) fn choose(format: Format, mut names: Vec<String>, wanted: Option<&str>) -> Result<String, ReadErrorKind> {
    names.sort_unstable();
    if let Some(wanted) = wanted {
        return match names.iter().any(|name| name == wanted) {
            true => Ok(wanted.into()),
            false => Err(ReadErrorKind::NoSuchArray { wanted: wanted.into(), names }),
        };
    }
    match names.as_slice() {
        [] => Err(ReadErrorKind::NoArray { format }),
        [only] => Ok(only.clone()),
        _ => match USUAL_NAMES.into_iter().find(|usual| names.iter().any(|name| name == usual)) {
            Some(usual) => Ok(usual.into()),
            None => Err(ReadErrorKind::Several { names }),
        },
    }
}

/// The first few names, in backquotes.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    if names.is_empty() { "none".into() } else { text }
}
