//! `vaekit.json`: what a model folder holds and where it came from.

use serde::{Deserialize, Serialize};
use vaekit::cost::{Cost, cost};
use vaekit::{Half, Kl, KlHalf, LatentSpace, Network, Scaling, Tiny, VaeConfig};

use crate::folding::Folding;
use crate::precision::Precision;

/// The manifest's format, and that of the facts in a graph's metadata.
pub const FORMAT_VERSION: u32 = 1;
/// The ONNX operator set of every graph written here.
pub const OPSET: i64 = 17;

/// A model folder's `vaekit.json`.
///
/// Keys that a later version of the same format adds are kept in [`Facts::other`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The model files.
    pub files: Vec<FileEntry>,
    /// What was checked after the conversion.
    pub verified: Vec<Verification>,
    /// What also stands in each graph's metadata.
    #[serde(flatten)]
    pub facts: Facts,
}

/// What the manifest and the metadata of each graph say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The VAE's name, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// diffusers' class name, or the closest.
    pub family: String,
    /// The network and its latents.
    pub config: VaeConfig,
    /// The checkpoint.
    pub source: Source,
    /// What the graphs compute in.
    pub precision: Precision,
    /// ONNX' operator set.
    pub opset: i64,
    /// The powers of two that were folded into the weights; halves without any are left out.
    #[serde(default)]
    pub folded: Vec<Folding>,
    /// What running each half costs.
    pub hints: Hints,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// What a VAE was converted from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The checkpoint's file or files.
    pub files: Vec<SourceFile>,
    /// Of the weights: the same for the same VAE in another layout, format or whole checkpoint.
    pub weights_sha256: String,
    /// Whose tensor names: `diffusers`, `ldm` ...
    pub layout: String,
    /// `safetensors`, `pickle` ...
    pub format: String,
    /// Where the scaling was learned from.
    pub scaling: String,
    /// Tensors of the checkpoint that are no part of the VAE, verbatim or summed up.
    #[serde(default)]
    pub ignored: Vec<String>,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Its name, without folders.
    pub name: String,
    /// Of the whole file, in hex; absent where reading all of it was not worth it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A model file in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Relative to the folder, with slashes.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// In hex.
    pub sha256: String,
}

/// One comparison of a written graph with an independent evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The half.
    pub half: Half,
    /// What ran the graph, as [`vaekit::Engine`] prints.
    pub engine: String,
    /// What it was compared with.
    pub reference: String,
    /// Shape of the input.
    pub input_shape: Vec<usize>,
    /// Seed of the input.
    pub seed: u64,
    /// Largest absolute difference.
    pub max_abs_error: f64,
    /// Mean absolute difference.
    pub mean_abs_error: f64,
    /// In dB for a peak of 2 (the [-1, 1] scale); absent where nothing differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
}

/// For a runtime that plans memory and tiles, for one image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// The encoder, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Cost>,
    /// The decoder, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder: Option<Cost>,
}

impl Hints {
    /// Counts both halves.
    pub fn new(config: &VaeConfig, precision: Precision) -> Self {
        let of = |half| config.has(half).then(|| cost(config, half, precision.bytes() as u64));
        Hints { encoder: of(Half::Encoder), decoder: of(Half::Decoder) }
    }
}

/// A manifest, or the facts in a graph's metadata, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or another structure.
    #[error("the manifest is not one of vaekit's: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a later vaekit.
    #[error(
        "the manifest has format version {found}, expected at most {FORMAT_VERSION}; use a newer vaekit, or convert the checkpoint again"
    )]
    Newer {
        /// The version found.
        found: u64,
    },
    /// A config that describes no network.
    #[error("the manifest's config has {what} = {found}, expected {expected}")]
    Config {
        /// The setting.
        what: String,
        /// Its value.
        found: usize,
        /// What would do.
        expected: String,
    },
}

impl Manifest {
    /// Reads `vaekit.json`.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_json(json: &[u8]) -> Result<Self, ManifestError> {
        check_version(json)?;
        let manifest: Manifest = serde_json::from_slice(json)?;
        check_config(&manifest.facts.config)?;
        Ok(manifest)
    }

    /// The text of `vaekit.json`.
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a manifest has string keys only");
        json.push('\n');
        json
    }

    /// The entry of a file, by its path relative to the folder.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl Facts {
    /// Reads what stands in a graph's metadata.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_json(json: &str) -> Result<Self, ManifestError> {
        check_version(json.as_bytes())?;
        let facts: Facts = serde_json::from_str(json)?;
        check_config(&facts.config)?;
        Ok(facts)
    }

    /// One line, for a graph's metadata.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("facts have string keys only")
    }
}

/// The version first: what a later one holds may well not parse.
fn check_version(json: &[u8]) -> Result<(), ManifestError> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u64,
    }
    let Version { format_version: found } = serde_json::from_slice(json)?;
    if found > u64::from(FORMAT_VERSION) {
        return Err(ManifestError::Newer { found });
    }
    Ok(())
}

/// Whether [`vaekit::arch::layers`] has sensible layers for a stranger's config.
fn check_config(config: &VaeConfig) -> Result<(), ManifestError> {
    within("latents.channels", config.latents.channels, 1..=4096)?;
    within("latents.downsample_factor", config.latents.downsample_factor, 1..=4096)?;
    check_scaling(&config.latents)?;
    match &config.network {
        Network::Kl(kl) => check_kl(kl),
        Network::Tiny(tiny) => check_tiny(tiny),
    }
}

/// As many statistics as channels.
fn check_scaling(latents: &LatentSpace) -> Result<(), ManifestError> {
    let (mean, std, channels) = match &latents.scaling {
        Some(Scaling::PerChannel { mean, std, .. }) => (mean, std, latents.channels),
        Some(Scaling::Packed { mean, std }) => (mean, std, 4 * latents.channels),
        Some(Scaling::Affine { .. }) | None => return Ok(()),
    };
    within("the length of latents.scaling.mean", mean.len(), channels..=channels)?;
    within("the length of latents.scaling.std", std.len(), channels..=channels)
}

fn check_kl(kl: &Kl) -> Result<(), ManifestError> {
    within("norm_num_groups", kl.norm_num_groups, 1..=MAX_CHANNELS)?;
    for KlHalf { block_out_channels, resnets_per_block } in kl.encoder.iter().chain(&kl.decoder) {
        within("resnets_per_block", *resnets_per_block, 1..=64)?;
        check_widths(block_out_channels)?;
        for &width in block_out_channels {
            if width % kl.norm_num_groups != 0 {
                let expected = format!("a multiple of norm_num_groups = {}", kl.norm_num_groups);
                return Err(ManifestError::Config { what: "block_out_channels".into(), found: width, expected });
            }
        }
    }
    Ok(())
}

fn check_tiny(tiny: &Tiny) -> Result<(), ManifestError> {
    let encoder = tiny.encoder.as_ref().map(|half| (&half.block_out_channels, &half.num_blocks));
    let decoder = tiny.decoder.as_ref().map(|half| (&half.block_out_channels, &half.num_blocks));
    for (widths, num_blocks) in encoder.into_iter().chain(decoder) {
        check_widths(widths)?;
        within("the length of num_blocks", num_blocks.len(), widths.len()..=widths.len())?;
        num_blocks.iter().try_for_each(|&n| within("num_blocks", n, 0..=64))?;
    }
    let stem = tiny.encoder.as_ref().and_then(|encoder| encoder.strided_stem);
    stem.map_or(Ok(()), |width| within("strided_stem", width, 1..=MAX_CHANNELS))
}

const MAX_CHANNELS: usize = 1 << 16;

fn check_widths(widths: &[usize]) -> Result<(), ManifestError> {
    within("the length of block_out_channels", widths.len(), 1..=12)?;
    widths.iter().try_for_each(|&width| within("block_out_channels", width, 1..=MAX_CHANNELS))
}

fn within(what: &str, found: usize, range: std::ops::RangeInclusive<usize>) -> Result<(), ManifestError> {
    if range.contains(&found) {
        return Ok(());
    }
    let expected = format!("{} to {}", range.start(), range.end());
    Err(ManifestError::Config { what: what.into(), found, expected })
}
