//! Runs vaekit models on [tract](tract_onnx), on any CPU, with nothing installed.
//!
//! A session takes the bytes of a `model.onnx` and works natively and on wasm32:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vaekit_tract::{Options, TractSession};
//!
//! let decoder = std::fs::read("starter/vae_decoder/model.onnx")?;
//! let session = TractSession::open(&decoder, &Options::default())?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it costs
//! tract wants every size before it plans a graph. A session keeps the parsed model and makes a plan for each size of image
//! when it first comes (some tenths of a second), and keeps the last two.
//!
//! # Limits
//! - Weights in files beside the model are refused: a model from a stranger opens no other file.
//! - f16 models are widened to f32 when they are opened: tract has no fast f16 products on most CPUs (TAESD took more than
//!   100 times as long).

#![forbid(unsafe_code)]

mod graph;
mod guard;
mod model;
mod plan;
mod session;

pub use model::OpenError;
pub use session::{Options, TractSession, engine};
