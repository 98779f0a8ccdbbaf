//! Reads VAE checkpoints (.safetensors, .ckpt, .pt, .pth, .bin) of every layout into a canonical VAE: a
//! [`VaeConfig`](vaekit::VaeConfig), and [`Weights`](vaekit::Weights) under the names of [`vaekit::arch::tensors`].
//!
//! ```no_run
//! use vaekit_checkpoint::{CanonicalVae, Options, Source};
//!
//! let bytes = std::fs::read("vae-ft-mse-840000-ema-pruned.safetensors")?;
//! let source = Source::new("vae-ft-mse-840000-ema-pruned.safetensors", bytes);
//! let vae = CanonicalVae::open(vec![source], &Options::default())?;
//! println!("{}, scaling from {}", vae.report().family, vae.report().scaling_source);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading is lazy: a [`ReadAt`] over a memory map gives a VAE out of a whole checkpoint without reading the rest. A checkpoint
//! is data from a stranger: sizes are bounded before anything is allocated, pickles are read by a closed list, nothing is
//! executed. The crate opens no files and knows nothing of ONNX.

#![forbid(unsafe_code)]

mod dtype;
mod error;
mod gathered;
mod hashes;
mod infer;
mod layout;
pub mod pickle;
mod report;
mod safetensors;
pub mod scaling;
mod sniff;
mod source;
mod state_dict;
mod tensor;
mod torch;
mod vae;
mod vae_config;
mod zip;

pub use dtype::Dtype;
pub use error::{CheckpointError, OpenError, OpenReason, ReadError, ReadReason};
pub use hashes::{Sameness, WeightsHashes};
pub use infer::InferError;
pub use report::{FileReport, Ignored, Report};
pub use scaling::{ScalingChoice, ScalingSource};
pub use source::{Bytes, ReadAt, Source, sha256};
pub use state_dict::{Format, StateDict};
pub use tensor::{MAX_ELEMENTS, TensorInfo, View};
pub use vae::{CanonicalVae, Options};
