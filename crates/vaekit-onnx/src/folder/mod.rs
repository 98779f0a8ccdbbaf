//! Model folders: the only module that knows paths, and [`Disk`] the only reader that goes to a file system.
//!
//! ```text
//! NAME/vae_encoder/model.onnx   NAME/vae_encoder/config.json
//! NAME/vae_decoder/model.onnx   NAME/vae_decoder/config.json
//! NAME/vaekit.json
//! ```
//! These are the names that Hugging Face's Optimum exports, and the manifest.

mod files;
mod read;
mod write;

use std::io::{self, Read};
use std::path::Path;

pub use files::{Disk, Files, ReadSeek};
pub use read::{ModelFile, ModelFolder, OpenError, OpenReason};
use vaekit::{Half, VaeConfig, to_config_json};
pub use write::{FolderError, FolderWriter};

/// The manifest's path inside a model folder.
pub const MANIFEST: &str = "vaekit.json";
const MODEL: &str = "model.onnx";
const CONFIG: &str = "config.json";

/// `vae_encoder` or `vae_decoder`.
fn half_folder(half: Half) -> &'static str {
    match half {
        Half::Encoder => "vae_encoder",
        Half::Decoder => "vae_decoder",
    }
}

/// The path of a half's model inside a model folder, with a slash, as the manifest writes it.
pub fn model_entry(half: Half) -> String {
    format!("{}/{MODEL}", half_folder(half))
}

/// The path of a half's `config.json` inside a model folder, with a slash.
pub fn config_entry(half: Half) -> String {
    format!("{}/{CONFIG}", half_folder(half))
}

/// The text of a half's `config.json`.
pub fn config_text(config: &VaeConfig, half: Half) -> String {
    format!("{:#}\n", to_config_json(config, Some(half)))
}

/// A JSON file: a stranger's, so not of any size.
fn read_json(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    const MAX_JSON: u64 = 8 << 20;
    let mut json = Vec::new();
    files.open(path)?.take(MAX_JSON + 1).read_to_end(&mut json)?;
    if json.len() as u64 > MAX_JSON {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("the file has more than {MAX_JSON} bytes")));
    }
    Ok(json)
}
