//! Writing: from latents to the bytes of a file.

use half::f16;
use vaekit::{Domain, Latents};

use crate::{Format, Provenance, npy, npz, safetensors_file};

/// How values are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// In half the space, rounded to nearest.
    F16,
}

/// Why latents were not written.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum WriteError {
    /// ComfyUI's convention has no place for these.
    #[error(
        "a .latent file holds raw latents (ComfyUI's convention), these are {domain} with {channels} channels; write raw ones, or a .safetensors file"
    )]
    NotForComfyUi {
        /// Raw or scaled.
        domain: Domain,
        /// C.
        channels: usize,
    },
    /// f16 would turn finite values into infinities.
    #[error(
        "{n_values} values are beyond the range of f16 (the largest magnitude is {largest}, f16 ends at 65504); write f32"
    )]
    Range {
        /// How many.
        n_values: usize,
        /// The largest magnitude among them.
        largest: f32,
    },
}

/// The bytes of a file of latents; the same input gives the same bytes.
///
/// `provenance` gets the latents' domain and is stored where the format can: `.safetensors`, `.latent`, `.npz`. Without one the
/// file still says raw or scaled and vaekit's version. A `.npy` says neither.
///
/// A `.safetensors` file of raw latents is a `.latent` file by another name: ComfyUI's `LoadLatent` opens it once it is renamed.
///
/// # Errors
/// [`WriteError::NotForComfyUi`] for a `.latent` of scaled latents, but FLUX.2's packed ones (128 channels), which ComfyUI
/// keeps scaled; [`WriteError::Range`] for values that f16 cannot hold.
pub fn write(
    latents: &Latents,
    provenance: Option<&Provenance>,
    format: Format,
    precision: Precision,
) -> Result<Vec<u8>, WriteError> {
    if format == Format::Latent && !safetensors_file::comfyui_holds(latents) {
        return Err(WriteError::NotForComfyUi { domain: latents.domain, channels: latents.data.dim().1 });
    }
    let provenance = Provenance { domain: Some(latents.domain), ..provenance.cloned().unwrap_or_default() };
    let values = match precision {
        Precision::F32 => latents.data.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::F16 => to_f16(latents)?,
    };
    Ok(match format {
        Format::Safetensors | Format::Latent => safetensors_file::write(latents, &values, precision, &provenance),
        Format::Npy => npy::write(latents.data.shape(), &values, precision),
        Format::Npz => npz::write(latents.data.shape(), &values, precision, &provenance),
    })
}

fn to_f16(latents: &Latents) -> Result<Vec<u8>, WriteError> {
    let lost = latents.data.iter().filter(|value| value.is_finite() && f16::from_f32(**value).is_infinite());
    let (n_values, largest) = lost.fold((0, 0f32), |(n, largest), value| (n + 1, largest.max(value.abs())));
    if n_values > 0 {
        return Err(WriteError::Range { n_values, largest });
    }
    Ok(latents.data.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect())
}
