//! The files that a page hands over, by their paths.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use js_sys::{Array, Map};
use vaekit_onnx::{Files, ReadSeek};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Blob;

use crate::blob::BlobFile;
use crate::error::{Error, Kind, OfKind};

/// Files by path, with slashes.
#[derive(Default)]
pub(crate) struct Given(BTreeMap<PathBuf, Content>);

enum Content {
    Blob(BlobFile),
    Text(Vec<u8>),
}

/// What the files are.
pub(crate) enum Found {
    /// A model folder, or a lone model.
    Models(PathBuf),
    /// A checkpoint's files.
    Checkpoint(Vec<PathBuf>),
}

impl Given {
    /// From a `Map` of paths to `Blob`s.
    pub(crate) fn new(map: &Map) -> Self {
        let mut given = Given::default();
        map.for_each(&mut |blob, path| {
            if let (Ok(blob), Some(path)) = (blob.dyn_into(), path.as_string()) {
                given.add(path, blob);
            }
        });
        given
    }

    pub(crate) fn add(&mut self, path: impl Into<PathBuf>, blob: Blob) {
        self.0.insert(path.into(), Content::Blob(BlobFile::new(blob)));
    }

    pub(crate) fn add_text(&mut self, path: impl Into<PathBuf>, text: String) {
        self.0.insert(path.into(), Content::Text(text.into_bytes()));
    }

    pub(crate) fn blob(&self, path: &Path) -> Option<&BlobFile> {
        match self.0.get(path) {
            Some(Content::Blob(file)) => Some(file),
            _ => None,
        }
    }

    /// Tells a model folder from a checkpoint by the names.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn find(&self) -> Result<Found, Error> {
        let models: Vec<&PathBuf> = self.with_extension(&["onnx"]);
        let in_folder = models.iter().find_map(|path| {
            let folder = path.parent()?;
            let is_half = folder.ends_with("vae_decoder") || folder.ends_with("vae_encoder");
            (is_half && path.ends_with("model.onnx")).then(|| folder.parent()).flatten()
        });
        match (in_folder, models.as_slice()) {
            (Some(root), _) => return Ok(Found::Models(root.to_owned())),
            (None, [model]) => return Ok(Found::Models((*model).clone())),
            (None, _) => {}
        }
        let checkpoints = self.with_extension(&["safetensors", "ckpt", "pt", "pth", "bin"]);
        if !checkpoints.is_empty() {
            return Ok(Found::Checkpoint(checkpoints.into_iter().cloned().collect()));
        }
        // A file of another name, or none, tells by its content what it is.
        if let [only] = self.0.keys().collect::<Vec<_>>()[..] {
            return Ok(Found::Checkpoint(vec![only.clone()]));
        }
        let names: Vec<String> = self.0.keys().take(6).map(|path| path.display().to_string()).collect();
        let found = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        Err(Error::new(
            Kind::BadInput,
            format!(
                "found {found}, expected a model folder (vae_decoder/model.onnx, vae_encoder/model.onnx), a model.onnx, or a checkpoint (.safetensors, .ckpt, .pt, .pth, .bin)"
            ),
        ))
    }

    fn with_extension(&self, extensions: &[&str]) -> Vec<&PathBuf> {
        let fits = |path: &&PathBuf| {
            let extension = path.extension().unwrap_or_default();
            extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
        };
        self.0.keys().filter(fits).collect()
    }

    /// Gives every model that has no `config.json` beside it this one.
    pub(crate) fn add_config(&mut self, json: &str) {
        let models: Vec<PathBuf> = self.with_extension(&["onnx"]).into_iter().cloned().collect();
        for config in models.iter().map(|model| model.with_file_name("config.json")) {
            if !self.0.contains_key(&config) {
                self.add_text(config, json.to_owned());
            }
        }
    }

    /// Triples of path, content (a `Blob` or text) and CRC-32.
    pub(crate) fn into_entries(self) -> Result<Array, Error> {
        let entry = |(path, content): (PathBuf, Content)| {
            let (content, crc32): (JsValue, u32) = match content {
                Content::Blob(file) => (file.blob().clone().into(), file.crc32().of_kind(Kind::Other)?),
                Content::Text(text) => {
                    let mut crc = flate2::Crc::new();
                    crc.update(&text);
                    (String::from_utf8_lossy(&text).into_owned().into(), crc.sum())
                }
            };
            Ok(Array::of3(&path.to_string_lossy().into_owned().into(), &content, &crc32.into()).into())
        };
        self.0.into_iter().map(entry).collect::<Result<Vec<JsValue>, Error>>().map(Array::from_iter)
    }
}

impl Files for Given {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek + '_>> {
        match self.0.get(path) {
            Some(Content::Blob(file)) => Ok(Box::new(file.cursor())),
            Some(Content::Text(text)) => Ok(Box::new(Cursor::new(text))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        if self.0.contains_key(path) {
            Ok(false)
        } else if path == Path::new("") || self.0.keys().any(|file| file.starts_with(path)) {
            Ok(true)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}
