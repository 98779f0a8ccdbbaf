//! Reads and writes files of latents: `.safetensors`, ComfyUI's `.latent`, `.npy`, `.npz`.
//!
//! Bytes in, [`vaekit::Latents`] out, and back; no paths and no I/O, so that it works in a browser too.
//!
//! ```
//! use ndarray::Array4;
//! use vaekit::{Domain, Latents};
//! use vaekit_latents::{Format, Precision, ReadOptions, read, write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let latents = Latents { data: Array4::zeros((1, 4, 8, 8)), domain: Domain::Raw };
//! let bytes = write(&latents, None, Format::Safetensors, Precision::F32)?;
//! assert_eq!(read("zeros.safetensors", &bytes, &ReadOptions::default())?.into_latents()?, latents);
//! # Ok(())
//! # }
//! ```
//!
//! # What a file says
//! Whether values are raw or scaled is read from vaekit's own metadata ([`Provenance`]), else from the convention of the
//! format ([`DomainSource`] lists them); where neither says, the caller must.
//!
//! # Shapes
//! - `[N, C, h, w]` as it is.
//! - `[C, h, w]` if C is one of [`CHANNELS`]: one latent.
//! - `[B, S, 64]` and `[B, S, 128]`, the packed tokens of diffusers' FLUX pipelines, only if the caller gives the image's size
//!   ([`ReadOptions::token_size`]): nothing in such a file tells rows from columns. With a size given, every 3-D array is
//!   tokens; without, none is.
//! - Video latents (5-D) and anything else are refused.

#![deny(unsafe_code)] // not forbid: ndarray's s! macro allows it in its expansion

mod element;
mod format;
mod npy;
mod npz;
mod provenance;
mod read;
mod safetensors_file;
mod shape;
mod write;

pub use format::Format;
pub use provenance::{ImageSize, Posterior, Provenance, VaeId};
pub use read::{DomainSource, DomainUnknown, LatentFile, ReadError, ReadErrorKind, ReadOptions, read};
pub use shape::CHANNELS;
pub use write::{Precision, WriteError, write};
