//! A checkpoint to a model folder, as `vaekit convert` does it: the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use js_sys::{Array, Function, Map};
use serde::Deserialize;
use vaekit::Half;
use vaekit_checkpoint::{CanonicalVae, Options, ReadAt, Source, sha256};
use vaekit_onnx::{
    Export, FileEntry, MANIFEST, Manifest, Precision, Progress, Ranges, SourceFile, WriteError, Written, config_entry,
    config_text, model_entry, write_model,
};
use wasm_bindgen::prelude::*;

use crate::blob::BlobWriter;
use crate::error::{Error, Kind, OfKind};
use crate::files::{Found, Given};
use crate::js;
use crate::observer::Telling;

/// What a person knows better than the files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CheckpointOptions {
    /// A name for the VAE.
    pub(crate) name: Option<String>,
    /// The text of diffusers' config.json.
    pub(crate) config: Option<String>,
    /// `sd1`, `sdxl` ..., or a factor and perhaps a shift.
    pub(crate) scaling: Option<String>,
    /// `fp32` or `fp16`.
    pub(crate) precision: Precision,
}

/// Files up to this size are hashed whole, as the program does it; a larger one is a whole checkpoint, of which only the
/// VAE is read.
const MAX_HASHED: u64 = 2_000_000_000;

/// Converts a checkpoint's files, a `Map` of paths to `Blob`s, to the files of a model folder: path, content, CRC-32.
#[wasm_bindgen]
pub fn convert(files: &Map, options: &str, report: Function) -> Result<Array, JsValue> {
    let given = Given::new(files);
    let report = Telling(report);
    match given.find()? {
        Found::Checkpoint(paths) => {
            let options = js::options::<CheckpointOptions>(options)?;
            Ok(to_folder(&given, &paths, options, &report)?.into_entries()?)
        }
        Found::Models(path) => {
            let name = path.display();
            Err(Error::new(Kind::BadInput, format!("{name} is converted already; hand over a checkpoint")).into())
        }
    }
}

/// Converts to files that lie in the browser.
pub(crate) fn to_folder(
    given: &Given,
    paths: &[PathBuf],
    options: CheckpointOptions,
    report: &Telling,
) -> Result<Given, Error> {
    let scaling = options.scaling.as_deref().map(str::parse).transpose().of_kind(Kind::BadInput)?;
    let open = Options { config_json: options.config, scaling, ..Options::default() };
    let mut files = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        let source = source(given, path, report)?;
        files.push(SourceFile { name: source.name.clone(), sha256: source.sha256.clone() });
        sources.push(source);
    }
    report.tell("opening", 0, 0);
    let vae = CanonicalVae::open(sources, &open)?;
    report.tell("hashing the weights", 0, 0);
    let found = vae.report();
    let source = vaekit_onnx::Source {
        files,
        weights_sha256: vae.weights_sha256().of_kind(Kind::BadInput)?,
        layout: found.layouts(),
        format: found.formats(),
        scaling: found.scaling_source.to_string(),
        ignored: found.ignored.iter().map(ToString::to_string).collect(),
    };
    let export = match options.precision {
        Precision::Fp32 => Export::fp32(vae.config(), &vae, source),
        Precision::Fp16 => Export::fp16(vae.config(), &vae, source, &ranges(&vae, report)?).of_kind(Kind::BadInput)?,
    };
    let export = export.named(options.name);
    let mut folder = Given::default();
    let mut entries = Vec::new();
    for half in Half::BOTH.into_iter().filter(|&half| vae.config().has(half)) {
        let mut out = BlobWriter::default();
        let stage = format!("writing the {half}");
        let mut told = 0;
        let Written { size, sha256 } =
            write_model(&export, half, &mut out, &mut |Progress { written, total, .. }| {
                if written - told >= 1 << 20 || written == total {
                    told = written;
                    report.tell(&stage, written, total);
                }
            })
            .map_err(of_write)?;
        folder.add(model_entry(half), out.finish().of_kind(Kind::Other)?);
        folder.add_text(config_entry(half), config_text(vae.config(), half));
        entries.push(FileEntry { path: model_entry(half), size, sha256 });
    }
    let manifest = Manifest { files: entries, verified: Vec::new(), facts: export.facts().clone() };
    folder.add_text(MANIFEST, manifest.to_json());
    Ok(folder)
}

/// How large each activation gets, which decides what fp16 needs folded.
#[cfg(feature = "fp16")]
fn ranges(vae: &CanonicalVae, report: &Telling) -> Result<Ranges, Error> {
    let mut ranges = Ranges::new();
    for half in Half::BOTH.into_iter().filter(|&half| vae.config().has(half)) {
        let stage = format!("measuring the {half}");
        let tell = &mut |done: usize, total: usize| report.tell(&stage, done as u64, total as u64);
        ranges.extend(vaekit_reference::probe_ranges(vae.config(), vae, half, tell).of_kind(Kind::BadInput)?);
    }
    Ok(ranges)
}

#[cfg(not(feature = "fp16"))]
fn ranges(_: &CanonicalVae, _: &Telling) -> Result<Ranges, Error> {
    Err(Error::new(Kind::Other, "this module does not convert to fp16, the module tract does"))
}

fn of_write(error: WriteError) -> Error {
    let kind = if matches!(error, WriteError::Io { .. }) { Kind::Other } else { Kind::BadInput };
    Error::new(kind, error)
}

fn source(given: &Given, path: &Path, report: &Telling) -> Result<Source, Error> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let file = given.blob(path).ok_or_else(|| Error::new(Kind::BadInput, format!("{name} is no file")))?;
    let sha256 = if file.len() <= MAX_HASHED {
        report.tell(&format!("hashing {name}"), 0, 0);
        Some(sha256(file).map_err(|error| Error::new(Kind::BadInput, format!("{name}: {error}")))?)
    } else {
        None
    };
    let config_json = match given.blob(&path.with_file_name("config.json")) {
        Some(config) => Some(text(config).map_err(|error| Error::new(Kind::BadInput, error))?),
        None => None,
    };
    Ok(Source { name, data: Arc::new(file.clone()), config_json, sha256 })
}

/// A config.json's text, of a size that one has.
fn text(file: &impl ReadAt) -> Result<String, String> {
    const MAX_JSON: u64 = 8 << 20;
    if file.len() > MAX_JSON {
        return Err(format!("config.json has {} bytes, expected at most {MAX_JSON}", file.len()));
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes).map_err(|error| format!("config.json: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "config.json is not text in UTF-8".into())
}
