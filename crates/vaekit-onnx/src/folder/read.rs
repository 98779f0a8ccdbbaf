//! Opening what a converter or Optimum wrote.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use vaekit::{ConfigJsonError, Half, Network, Scaling, VaeConfig, from_config_json};

use super::files::{Disk, Files, exists};
use super::{CONFIG, MANIFEST, MODEL, half_folder, model_entry, read_json};
use crate::digest::Sha256;
use crate::inspect::{Dim, ModelInfo, ValueInfo};
use crate::manifest::{Facts, Manifest, ManifestError, SourceFile};
use crate::precision::ElementType;
use crate::walk::InspectError;
use crate::{METADATA_KEY, names};

/// A VAE as ONNX files: a folder of vaekit's or of Optimum's, with both halves or one, or a lone `model.onnx`.
///
/// Opening reads no weights.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: VaeConfig,
    manifest: Option<Manifest>,
    facts: Option<Facts>,
    models: Vec<ModelFile>,
}

/// One half's file.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// Which half it is.
    pub half: Half,
    /// Where it is.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// What it holds.
    pub info: ModelInfo,
}

/// A model that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct OpenError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: OpenReason,
}

/// What is wrong with a file or folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenReason {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// No ONNX model, or one that is not taken from strangers.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The manifest or the metadata cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Not JSON.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The config describes no VAE that vaekit runs.
    #[error(transparent)]
    Config(#[from] ConfigJsonError),
    /// Nothing to open.
    #[error(
        "holds no model; expected vae_decoder/model.onnx or vae_encoder/model.onnx in it (a folder of vaekit or of Optimum), or a model.onnx"
    )]
    NoModel,
    /// A model without a config.
    #[error(
        "says nothing about the VAE it is of; put diffusers' config.json beside it, or convert the checkpoint with vaekit"
    )]
    NoConfig,
    /// A lone model with other inputs than a VAE has.
    #[error("takes {found}, expected `sample` (an encoder) or `latent_sample` (a decoder)")]
    NoHalf {
        /// The inputs.
        found: String,
    },
    /// The halves are of different VAEs.
    #[error(
        "encoder and decoder have different {what}, expected the halves of one VAE; convert or export both from one checkpoint"
    )]
    Configs {
        /// In what.
        what: &'static str,
    },
    /// A half that the config does not have.
    #[error("is an {half}, which the config does not have")]
    Unexpected {
        /// The half.
        half: Half,
    },
    /// Inputs or outputs do not fit.
    #[error("the {half}'s {end} is {found}, expected {expected}{advice}")]
    Ends {
        /// The half.
        half: Half,
        /// `input` or `output`.
        end: &'static str,
        /// What there is.
        found: String,
        /// What would do.
        expected: String,
        /// What to do next, after a semicolon, or nothing.
        advice: &'static str,
    },
    /// The manifest does not know it.
    #[error("is not in {MANIFEST}; convert the checkpoint again")]
    Unlisted,
    /// Another file than the manifest's.
    #[error(
        "has {what} {found}, {MANIFEST} says {expected}; the file is incomplete or was changed, convert the checkpoint again"
    )]
    Changed {
        /// `size`, `sha256` or `weights_sha256`.
        what: &'static str,
        /// What there is.
        found: String,
        /// What the manifest says.
        expected: String,
    },
}

trait At<T> {
    fn at(self, path: &Path) -> Result<T, OpenError>;
}

impl<T, E: Into<OpenReason>> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, OpenError> {
        self.map_err(|error| OpenError { path: path.into(), reason: error.into() })
    }
}

fn fail<T>(path: &Path, reason: OpenReason) -> Result<T, OpenError> {
    Err(OpenError { path: path.into(), reason })
}

impl ModelFolder {
    /// Opens a folder with `vae_encoder/model.onnx`, `vae_decoder/model.onnx` or both; one half's folder; or a lone model.
    ///
    /// The config is that of `vaekit.json`, else of the models' metadata, else of the `config.json` beside each model. It
    /// has the halves whose files are there.
    ///
    /// # Errors
    /// [`OpenError`] if there is no model, its inputs and outputs are not those of the config, or the manifest says
    /// otherwise.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_in(&Disk, path.as_ref())
    }

    /// [`open`](Self::open), wherever the files lie.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(files: &dyn Files, path: &Path) -> Result<Self, OpenError> {
        if !files.is_folder(path).at(path)? {
            return Self::open_file(files, path);
        }
        let model = |half| path.join(half_folder(half)).join(MODEL);
        let halves: Vec<Half> = Half::BOTH.into_iter().filter(|&half| exists(files, &model(half))).collect();
        match (halves.is_empty(), path.join(MODEL)) {
            (false, _) => Self::open_halves(files, path, &halves),
            (true, lone) if exists(files, &lone) => Self::open_file(files, &lone),
            (true, _) => fail(path, OpenReason::NoModel),
        }
    }

    fn open_halves(files: &dyn Files, path: &Path, halves: &[Half]) -> Result<Self, OpenError> {
        let manifest = read_manifest(files, path)?;
        let mut models = Vec::new();
        for &half in halves {
            let model = ModelFile::read(files, half, path.join(half_folder(half)).join(MODEL))?;
            if let Some(manifest) = &manifest {
                model.check_manifest(manifest)?;
            }
            models.push(model);
        }
        Self::with_config(files, path, manifest, models)
    }

    fn open_file(files: &dyn Files, path: &Path) -> Result<Self, OpenError> {
        let model = ModelFile::read_lone(files, path)?;
        Self::with_config(files, path, None, vec![model])
    }

    fn with_config(
        files: &dyn Files,
        path: &Path,
        manifest: Option<Manifest>,
        models: Vec<ModelFile>,
    ) -> Result<Self, OpenError> {
        let facts = match &manifest {
            Some(manifest) => Some(manifest.facts.clone()),
            None => common_facts(&models)?,
        };
        let mut config = match &facts {
            Some(facts) => facts.config.clone(),
            None => common_config(files, &models)?,
        };
        for half in Half::BOTH {
            match models.iter().find(|model| model.half == half) {
                Some(model) if !config.has(half) => return fail(&model.path, OpenReason::Unexpected { half }),
                Some(model) => check_ends(&config, half, &model.info).at(&model.path)?,
                None => forget(&mut config, half),
            }
        }
        Ok(ModelFolder { path: path.into(), config, manifest, facts, models })
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The VAE's config, with the halves whose files are there.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// `vaekit.json`, if there is one.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// What the manifest or the models' metadata say; `None` for what others exported.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref()
    }

    /// The same folder under another name and of other files, as its facts say them: for a conversion that all copies of a
    /// VAE share. Nothing is written.
    pub fn known_as(mut self, name: String, files: Vec<SourceFile>) -> Self {
        let facts = self.manifest.as_mut().map(|manifest| &mut manifest.facts);
        for facts in facts.into_iter().chain(&mut self.facts) {
            facts.name = Some(name.clone());
            facts.source.files.clone_from(&files);
        }
        self
    }

    /// The same folder with a scaling, for one that does not say its own. Nothing is written.
    pub fn scaled_by(mut self, scaling: Scaling) -> Self {
        self.config.latents.scaling = Some(scaling);
        self
    }

    /// One half's file, if it is there.
    pub fn model(&self, half: Half) -> Option<&ModelFile> {
        self.models.iter().find(|model| model.half == half)
    }

    /// The files that are there, the encoder first.
    pub fn models(&self) -> &[ModelFile] {
        &self.models
    }

    /// Reads every file that the manifest lists a sha256 for, and returns how many there were: none without a manifest.
    ///
    /// # Errors
    /// [`OpenReason::Changed`] if one differs.
    pub fn verify_hashes(&self) -> Result<usize, OpenError> {
        let mut n = 0;
        for model in &self.models {
            let Some(entry) = self.manifest.as_ref().and_then(|manifest| manifest.file(&model_entry(model.half)))
            else {
                continue;
            };
            let found = File::open(&model.path).and_then(sha256_of).at(&model.path)?;
            same("sha256", found, &entry.sha256).at(&model.path)?;
            n += 1;
        }
        Ok(n)
    }
}

impl ModelFile {
    fn read(files: &dyn Files, half: Half, path: PathBuf) -> Result<Self, OpenError> {
        let mut file = files.open(&path).at(&path)?;
        let size = file.seek(SeekFrom::End(0)).and_then(|size| file.rewind().map(|()| size)).at(&path)?;
        let info = ModelInfo::read(file).at(&path)?;
        Ok(ModelFile { half, path, size, info })
    }

    /// A model that tells its half by its input.
    fn read_lone(files: &dyn Files, path: &Path) -> Result<Self, OpenError> {
        let mut model = Self::read(files, Half::Decoder, path.into())?;
        match Half::BOTH
            .into_iter()
            .find(|&half| model.info.inputs.iter().any(|input| input.name == names::input(half)))
        {
            Some(half) => model.half = half,
            None => return fail(path, OpenReason::NoHalf { found: list(&model.info.inputs) }),
        }
        Ok(model)
    }

    /// The facts in its metadata, if vaekit wrote it.
    fn facts(&self) -> Result<Option<Facts>, OpenError> {
        self.info.metadata.get(METADATA_KEY).map(|json| Facts::from_json(json)).transpose().at(&self.path)
    }

    fn check_manifest(&self, manifest: &Manifest) -> Result<(), OpenError> {
        let Some(entry) = manifest.file(&model_entry(self.half)) else {
            return fail(&self.path, OpenReason::Unlisted);
        };
        same("size", self.size.to_string(), &entry.size.to_string()).at(&self.path)?;
        if let Some(facts) = self.facts()? {
            let expected = &manifest.facts.source.weights_sha256;
            same("weights_sha256", facts.source.weights_sha256, expected).at(&self.path)?;
        }
        Ok(())
    }

    /// The `config.json` beside it.
    fn config(&self, files: &dyn Files) -> Result<VaeConfig, OpenError> {
        let path = self.path.with_file_name(CONFIG);
        if !exists(files, &path) {
            return fail(&self.path, OpenReason::NoConfig);
        }
        let json: serde_json::Value = serde_json::from_slice(&read_json(files, &path).at(&path)?).at(&path)?;
        from_config_json(&json).at(&path)
    }
}

/// sha256 of all that `reader` gives, in hex.
fn sha256_of(mut reader: impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.hex()),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn same(what: &'static str, found: String, expected: &str) -> Result<(), OpenReason> {
    if found == expected { Ok(()) } else { Err(OpenReason::Changed { what, found, expected: expected.into() }) }
}

fn read_manifest(files: &dyn Files, folder: &Path) -> Result<Option<Manifest>, OpenError> {
    let path = folder.join(MANIFEST);
    match read_json(files, &path) {
        Ok(json) => Manifest::from_json(&json).map(Some).at(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at(&path),
    }
}

/// The facts in the models' metadata: both halves' must be of the same VAE.
fn common_facts(models: &[ModelFile]) -> Result<Option<Facts>, OpenError> {
    let mut common: Option<Facts> = None;
    for model in models {
        let Some(facts) = model.facts()? else { continue };
        if let Some(known) = &common {
            let differs = |what| fail(&model.path, OpenReason::Configs { what });
            if known.config != facts.config {
                return differs("networks or latents");
            }
            if known.source.weights_sha256 != facts.source.weights_sha256 {
                return differs("weights_sha256");
            }
        }
        common = Some(facts);
    }
    Ok(common)
}

/// The config of each half's `config.json`, in one.
fn common_config(files: &dyn Files, models: &[ModelFile]) -> Result<VaeConfig, OpenError> {
    let mut common: Option<VaeConfig> = None;
    for model in models {
        let config = model.config(files)?;
        common = Some(match common {
            None => config,
            Some(known) => merge(known, config).at(&model.path)?,
        });
    }
    // The caller has at least one model.
    common.ok_or_else(|| OpenError { path: PathBuf::new(), reason: OpenReason::NoModel })
}

/// The encoder of one config with the decoder of the other.
fn merge(encoder: VaeConfig, mut decoder: VaeConfig) -> Result<VaeConfig, OpenReason> {
    if encoder.latents != decoder.latents {
        return Err(OpenReason::Configs { what: "latents" });
    }
    match (encoder.network, &mut decoder.network) {
        (Network::Kl(from), Network::Kl(to)) => to.encoder = from.encoder,
        (Network::Tiny(from), Network::Tiny(to)) => to.encoder = from.encoder,
        _ => return Err(OpenReason::Configs { what: "classes" }),
    }
    Ok(decoder)
}

fn forget(config: &mut VaeConfig, half: Half) {
    match (&mut config.network, half) {
        (Network::Kl(kl), Half::Encoder) => kl.encoder = None,
        (Network::Kl(kl), Half::Decoder) => kl.decoder = None,
        (Network::Tiny(tiny), Half::Encoder) => tiny.encoder = None,
        (Network::Tiny(tiny), Half::Decoder) => tiny.decoder = None,
    }
}

fn check_ends(config: &VaeConfig, half: Half, info: &ModelInfo) -> Result<(), OpenReason> {
    let (channels_in, channels_out) = names::channels(config, half);
    let (input, output) = (names::input(half), names::output(config, half));
    check_end(&info.inputs, input, channels_in, |found, expected| OpenReason::Ends {
        half,
        end: "input",
        found,
        expected,
        advice: "",
    })?;
    let samples_inside =
        output == names::LATENT_PARAMETERS && info.outputs.iter().any(|o| o.name == names::LATENT_SAMPLE);
    check_end(&info.outputs, output, channels_out, |found, expected| OpenReason::Ends {
        half,
        end: "output",
        found,
        expected,
        advice: if samples_inside {
            "; it draws the sample inside the graph, export it again with a newer Optimum"
        } else {
            ""
        },
    })
}

fn check_end(
    values: &[ValueInfo],
    name: &str,
    channels: usize,
    error: impl Fn(String, String) -> OpenReason,
) -> Result<(), OpenReason> {
    let fits = match values {
        [value] => value.name == name && is_f32_or_f16(value) && has_channels(value, channels),
        _ => false,
    };
    if fits { Ok(()) } else { Err(error(list(values), format!("{name}: float [batch, {channels}, height, width]"))) }
}

/// Optimum's fp16 exports take and give f16.
fn is_f32_or_f16(value: &ValueInfo) -> bool {
    matches!(value.element, Some(ElementType::FLOAT | ElementType::FLOAT16))
}

/// Whether an axis of unknown length may be anything, one of known length is the right one, and there are four.
fn has_channels(value: &ValueInfo, channels: usize) -> bool {
    match value.dims.as_deref() {
        None => true,
        Some([_, Dim::Fixed(n), _, _]) => usize::try_from(*n) == Ok(channels),
        Some(dims) => dims.len() == 4,
    }
}

fn list(values: &[ValueInfo]) -> String {
    match values {
        [] => "nothing".into(),
        _ => values.iter().map(ValueInfo::to_string).collect::<Vec<_>>().join(", "),
    }
}
