//! Writes a canonical VAE as ONNX, in fp32 or fp16, and reads model folders back.
//!
//! Graphs are built from [`vaekit::arch::layers`], not traced: opset 17, plain operators that ONNX Runtime, onnxruntime-web
//! and tract all take, and dynamic batch, height and width. Inputs and outputs are f32 and bear Optimum's names. Equal
//! exports give equal bytes.
//!
//! ```
//! use vaekit::{Half, VaeConfig, Weights, WeightsError};
//! use vaekit_onnx::{Export, ModelInfo, Source, write_model};
//!
//! struct Zeros(VaeConfig);
//! impl Weights for Zeros {
//!     fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
//!         let tensors = vaekit::arch::tensors(&self.0, Half::Decoder);
//!         let (_, shape) = tensors.iter().find(|(known, _)| known == name).unwrap();
//!         Ok(vec![0.0; shape.iter().product()])
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = vaekit::from_config_json(&serde_json::from_str(
//!     r#"{"_class_name": "AutoencoderTiny", "decoder_block_out_channels": [8, 8], "num_decoder_blocks": [1, 1],
//!         "encoder_block_out_channels": [8, 8], "num_encoder_blocks": [1, 1]}"#,
//! )?)?;
//! let weights = Zeros(config.clone());
//! let export = Export::fp32(&config, &weights, Source::default());
//! let mut onnx = Vec::new();
//! write_model(&export, Half::Decoder, &mut onnx, &mut |_| {})?;
//!
//! let info = ModelInfo::read(std::io::Cursor::new(onnx))?;
//! assert_eq!(info.outputs[0].to_string(), "sample: float [batch, 3, height, width]");
//! # Ok(())
//! # }
//! ```
//!
//! On disk, [`FolderWriter`] and [`ModelFolder`] do the same with whole folders. For fp16, [`Ranges`] seen while running the
//! network in f32 decide what [`Folding`] keeps inside fp16's range.
//!
//! Limits: one file per half, so at most 2 GiB; AsymmetricAutoencoderKL without its inpainting inputs.

#![forbid(unsafe_code)]

mod digest;
mod folder;
mod folding;
mod graph;
mod inspect;
mod manifest;
mod names;
mod network;
pub mod ops;
mod precision;
mod proto;
#[cfg(test)]
#[path = "../tests/it/vaes.rs"]
mod vaes;
mod walk;
mod wire;
mod write;

pub use folder::{
    Disk, Files, FolderError, FolderWriter, MANIFEST, ModelFile, ModelFolder, OpenError, OpenReason, ReadSeek,
    config_entry, config_text, model_entry,
};
pub use folding::{FIXED_MARGIN, FOLDED_MARGIN, Folding, RangeError, Ranges};
pub use inspect::{Dim, Initializers, ModelInfo, ValueInfo};
pub use manifest::{
    FORMAT_VERSION, Facts, FileEntry, Hints, Manifest, ManifestError, OPSET, Source, SourceFile, Verification,
};
pub use names::{LATENT_PARAMETERS, LATENT_SAMPLE, SAMPLE};
pub use precision::{ElementType, Precision};
pub use walk::InspectError;
pub use write::{Export, METADATA_KEY, Progress, WriteError, Written, write_model};

/// Values that are converted at a time.
const CHUNK: usize = 1 << 14;
