//! One VAE of the registry: what it is, where it is to be had, what is known of its files.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash::ContentHash;
use crate::place::{FilePath, Place, Repository, Revision};

/// A published VAE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is fetched by.
    pub name: String,
    /// What else people write; case, and `_`, `.` or a space for `-`, make no difference.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What it is good for, in a sentence.
    pub summary: String,
    /// The diffusion models whose latents it speaks: `SD1`, `SDXL`, `FLUX.1` ...
    #[serde(rename = "for")]
    pub models: Vec<String>,
    /// Its network.
    pub family: Family,
    /// C, the channels of its latents.
    pub latent_channels: usize,
    /// diffusers' `scaling_factor`; absent where the checkpoint has statistics of its own or nothing is known. Of a tiny
    /// VAE, which takes scaled latents, its parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_factor: Option<f64>,
    /// diffusers' `shift_factor`, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_factor: Option<f64>,
    /// diffusers' `latents_mean`, one for each channel, where it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents_mean: Option<Vec<f64>>,
    /// diffusers' `latents_std`, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents_std: Option<Vec<f64>>,
    /// Its licence as the publisher names it; `not stated` where the publisher names none, `unconfirmed` where what the
    /// publisher says is not known here.
    pub licence: String,
    /// Whether the publisher wants the licence accepted before anything can be fetched.
    #[serde(default)]
    pub gated: bool,
    /// Where it is fetched from.
    pub repository: Repository,
    /// Which state of the repository.
    #[serde(default = "Revision::main")]
    pub revision: Revision,
    /// Its files: the weights, in one file or an encoder's and a decoder's, and perhaps diffusers' `config.json`.
    pub files: Vec<RemoteFile>,
    /// Where else the same weights are published, so that they are found if another program has fetched them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<PublishedCopy>,
}

/// A file of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub path: FilePath,
    /// Its bytes, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its sha256, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<ContentHash>,
}

impl RemoteFile {
    /// Whether it holds weights, not a config.
    pub fn is_weights(&self) -> bool {
        !self.path.as_str().ends_with(".json")
    }
}

/// The weights of an [`Entry`] of one file, somewhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedCopy {
    /// The repository.
    pub repository: Repository,
    /// The path there.
    pub path: FilePath,
    /// Its sha256 if it is another file, of another format or precision. Such a one is recognised, but not used in place of
    /// the entry's; without it the copy has the same bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<ContentHash>,
}

/// The networks that the registry knows, by the names of diffusers' classes where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// SD1, SD2, SDXL, SD3, FLUX.1 and their fine-tunings.
    #[serde(rename = "AutoencoderKL")]
    Kl,
    /// A wider decoder behind SD1's encoder.
    #[serde(rename = "AsymmetricAutoencoderKL")]
    AsymmetricKl,
    /// FLUX.2.
    #[serde(rename = "AutoencoderKLFlux2")]
    KlFlux2,
    /// TAESD and its kin.
    #[serde(rename = "AutoencoderTiny")]
    Tiny,
    /// TAESD for FLUX.2, with a branch that diffusers' class lacks.
    #[serde(rename = "TAEF2")]
    Taef2,
    /// DC-AE (Sana).
    #[serde(rename = "AutoencoderDC")]
    Dc,
    /// Wan's video VAE.
    #[serde(rename = "AutoencoderKLWan")]
    KlWan,
    /// Qwen-Image's, of Wan's shape.
    #[serde(rename = "AutoencoderKLQwenImage")]
    KlQwenImage,
    /// SD1's encoder with a diffusion model for a decoder.
    #[serde(rename = "ConsistencyDecoderVAE")]
    ConsistencyDecoder,
}

impl Family {
    /// Whether vaekit converts and runs it. The others can be fetched all the same.
    pub fn runs(self) -> bool {
        match self {
            Family::Kl | Family::AsymmetricKl | Family::KlFlux2 | Family::Tiny | Family::Taef2 => true,
            Family::Dc | Family::KlWan | Family::KlQwenImage | Family::ConsistencyDecoder => false,
        }
    }

    /// As the registry writes it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Kl => "AutoencoderKL",
            Family::AsymmetricKl => "AsymmetricAutoencoderKL",
            Family::KlFlux2 => "AutoencoderKLFlux2",
            Family::Tiny => "AutoencoderTiny",
            Family::Taef2 => "TAEF2",
            Family::Dc => "AutoencoderDC",
            Family::KlWan => "AutoencoderKLWan",
            Family::KlQwenImage => "AutoencoderKLQwenImage",
            Family::ConsistencyDecoder => "ConsistencyDecoderVAE",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Entry {
    /// Bytes of all files, if each is known.
    pub fn size(&self) -> Option<u64> {
        self.files.iter().map(|file| file.size).sum()
    }

    /// `FACTOR` or `FACTOR,SHIFT`, as `vaekit --scaling` takes it; none without a factor, or with statistics for each channel.
    pub fn scaling(&self) -> Option<String> {
        let factor = self.scaling_factor.filter(|_| self.latents_mean.is_none())?;
        Some(self.shift_factor.map_or_else(|| factor.to_string(), |shift| format!("{factor},{shift}")))
    }

    /// The sha256 of its weights, as far as they are known: of its own files, then of copies that are other files.
    pub(crate) fn weights_sha256(&self) -> impl Iterator<Item = &ContentHash> {
        let own = self.files.iter().filter(|file| file.is_weights()).filter_map(|file| file.sha256.as_ref());
        own.chain(self.copies.iter().filter_map(|copy| copy.sha256.as_ref()))
    }

    /// Where a file of this entry is fetched from.
    pub fn place(&self, file: &RemoteFile) -> Place {
        Place { repository: self.repository.clone(), revision: self.revision.clone(), path: file.path.clone() }
    }

    /// What is wrong with it, beyond what its types rule out.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ensure = |holds: bool, message: &str| if holds { Ok(()) } else { Err(message.to_owned()) };
        ensure(!canonical(&self.name).is_empty(), "the name is empty")?;
        ensure(self.names().all(is_plain), "names are letters, digits, `-`, `_`, `.`, `+` and spaces")?;
        ensure(!self.summary.is_empty() && !self.licence.is_empty(), "the summary or the licence is empty")?;
        ensure(!self.models.is_empty(), "`for` names no model")?;
        ensure((1..=1024).contains(&self.latent_channels), "latent_channels is not between 1 and 1024")?;
        let factor = self.scaling_factor.is_none_or(|factor| factor.is_finite() && factor > 0.0);
        ensure(factor, "scaling_factor is not positive")?;
        let statistics = [&self.latents_mean, &self.latents_std].map(|values| values.as_ref().map(Vec::len));
        ensure(statistics[0] == statistics[1], "latents_mean and latents_std go together")?;
        let per_channel = statistics[0].is_none_or(|n| n == self.latent_channels);
        ensure(per_channel, "latents_mean has not as many numbers as latent_channels")?;
        ensure(self.scaling_factor.is_some() || self.shift_factor.is_none(), "a shift goes with a scaling_factor")?;

        let weights = self.files.iter().filter(|file| file.is_weights()).count();
        ensure((1..=2).contains(&weights), "files hold one file of weights, or an encoder's and a decoder's")?;
        let mut paths: Vec<&FilePath> = self.files.iter().map(|file| &file.path).collect();
        paths.sort();
        paths.dedup();
        ensure(paths.len() == self.files.len(), "a file is listed twice")?;
        ensure(self.files.iter().all(|file| file.size != Some(0)), "a size is 0")?;
        let provable = self.files.len() == 1 && self.files[0].sha256.is_some();
        ensure(self.copies.is_empty() || provable, "copies need a single file of known sha256")
    }

    /// The name, the aliases and the repository's own name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// A name as names are compared: in lower case, with `-` for every other separator, without a checkpoint's extension.
pub(crate) fn canonical(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    let stem = [".safetensors", ".ckpt", ".pth", ".pt"].iter().find_map(|extension| lower.strip_suffix(extension));
    stem.unwrap_or(&lower).replace(['_', '.', ' '], "-")
}

fn is_plain(name: &str) -> bool {
    name.len() <= 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ' '))
}
