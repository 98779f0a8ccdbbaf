//! Runs a VAE's model.onnx on the CPU with vaekit's own kernels, natively and on wasm32.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vaekit_cpu::{CpuSession, Options};
//!
//! let decoder = std::fs::File::open("starter/vae_decoder/model.onnx")?;
//! let session = CpuSession::open(decoder, &Options::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! A model is read as [operations](vaekit_onnx::ops), which `schedule.rs` fuses into one step for each
//! convolution; `memory.rs` gives each step's result a place. Images stay in the kernels' layout from the first
//! convolution to the last.
//!
//! # Limits
//! Only graphs of the families that vaekit converts, its own exports and alike: anything else is refused by the name of its
//! node, so that a caller may take another engine. f16 models are computed in f32.

#![forbid(unsafe_code)]

mod held;
#[cfg(test)]
mod layers;
mod memory;
mod schedule;
mod session;
mod step;
mod threads;

pub use held::held_bytes;
pub use session::{CpuSession, FreeMemory, OpenError, Options, StepInfo, engine};
