//! Runs a VAE's model.onnx on WebGPU: natively on Vulkan, Metal and DX12, and on a page's GPU.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use vaekit_wgpu::{Gpu, GpuOptions, Options, WgpuSession};
//!
//! let gpu = Gpu::request(&GpuOptions::default()).await?;
//! let decoder = std::fs::File::open("starter/vae_decoder/model.onnx")?;
//! let session = WgpuSession::open(&gpu, decoder, &Options::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A model is read as [operations](vaekit_onnx::ops) and fused into [steps](vaekit_onnx::ops::Steps), whose weights go to the
//! device ([`network`]); for each size of input a [plan](plan::Plan) says which [kernels] run on which buffers. Both
//! are plain data. `session.rs` runs plans, after the [probe] has tried their kernels on the device.
//!
//! # Limits
//! Only graphs of the families that vaekit converts, its own exports and alike: anything else is refused by the name of its
//! node, so that a caller may take another engine. Sums are made in f32 whatever the model's precision.

#![forbid(unsafe_code)]

mod clock;
mod device;
mod draw;
mod gpu;
pub mod kernels;
pub mod layout;
mod memory;
pub mod network;
mod pipeline;
pub mod plan;
pub mod probe;
mod run;
mod session;

pub use gpu::{AdapterReport, Gpu, GpuError, GpuOptions};
pub use memory::Picture;
pub use run::StepTime;
pub use session::{OpenError, Options, Times, WgpuSession, engine};
pub use wgpu;
