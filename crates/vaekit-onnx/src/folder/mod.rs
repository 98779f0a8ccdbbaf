//! Model folders: the only module that knows paths.
//!
//! ```text
//! NAME/vae_encoder/model.onnx   NAME/vae_encoder/config.json
//! NAME/vae_decoder/model.onnx   NAME/vae_decoder/config.json
//! NAME/vaekit.json
//! ```
//! These are the names that Hugging Face's Optimum exports, and the manifest.

mod read;
mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use read::{ModelFile, ModelFolder, OpenError, OpenReason};
use vaekit::Half;
pub use write::{FolderError, FolderWriter};

const MANIFEST: &str = "vaekit.json";
const MODEL: &str = "model.onnx";
const CONFIG: &str = "config.json";

/// `vae_encoder` or `vae_decoder`.
fn half_folder(half: Half) -> &'static str {
    match half {
        Half::Encoder => "vae_encoder",
        Half::Decoder => "vae_decoder",
    }
}

/// The model's path inside the folder, as the manifest writes it.
fn model_entry(half: Half) -> String {
    format!("{}/{MODEL}", half_folder(half))
}

/// A JSON file: a stranger's, so not of any size.
fn read_json(path: &Path) -> io::Result<Vec<u8>> {
    const MAX_JSON: u64 = 8 << 20;
    let mut json = Vec::new();
    File::open(path)?.take(MAX_JSON + 1).read_to_end(&mut json)?;
    if json.len() as u64 > MAX_JSON {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file has more than {MAX_JSON} bytes")));
    }
    Ok(json)
}
