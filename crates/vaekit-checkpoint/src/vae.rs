//! From state dicts to the canonical VAE: a config, and weights under diffusers' names.

use std::collections::BTreeMap;

use vaekit::{Half, VaeConfig, Weights, WeightsError, arch};

use crate::error::CheckpointError;
use crate::gathered::{Gathered, Inferred, Located};
use crate::hashes::{self, WeightsHashes};
use crate::report::Report;
use crate::scaling::ScalingChoice;
use crate::source::Source;
use crate::state_dict::StateDict;
use crate::vae_config::{GivenConfig, kl_config, tiny_config};

/// What a person knows better than the file.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The text of a diffusers `config.json`; it takes the place of those beside the files.
    pub config_json: Option<String>,
    /// The scaling; it outweighs all evidence.
    pub scaling: Option<ScalingChoice>,
    /// The groups of the group normalisations; it outweighs the config.
    pub norm_num_groups: Option<usize>,
    /// Whether a scaling that nothing tells is left unknown rather than an error: enough to look at a file.
    pub allow_unknown_scaling: bool,
}

/// A VAE out of one or more checkpoint files: its config, and its weights, read when asked for.
#[derive(Debug)]
pub struct CanonicalVae {
    config: VaeConfig,
    report: Report,
    files: Vec<StateDict>,
    tensors: BTreeMap<String, Located>,
}

impl CanonicalVae {
    /// Opens files and makes a VAE of them; see [`from_state_dicts`](Self::from_state_dicts).
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(sources: Vec<Source>, options: &Options) -> Result<Self, CheckpointError> {
        let files = sources.into_iter().map(StateDict::open).collect::<Result<Vec<_>, _>>()?;
        Self::from_state_dicts(files, options)
    }

    /// Makes a VAE of the files' tensors: one file, or an encoder's and a decoder's, or shards.
    ///
    /// Every tensor that the VAE needs is there, has its shape and can be read; none of the VAE's is left over.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn from_state_dicts(files: Vec<StateDict>, options: &Options) -> Result<Self, CheckpointError> {
        let gathered = Gathered::new(files)?;
        let mut warnings = Vec::new();
        let given = GivenConfig::find(&gathered, options, &mut warnings)?;
        let inferred = gathered.infer()?;
        if let Some(given) = &given {
            given.compare(&inferred, &gathered)?;
        }
        let given_config = given.as_ref().map(|given| &given.config);
        let mut config = match inferred {
            Inferred::Kl(shape) => kl_config(shape, given_config, options, &gathered)?,
            Inferred::Tiny(shape) => tiny_config(shape, given_config),
        };
        gathered.check(&config)?;
        let (scaling, source) = gathered.scaling(&config, given.as_ref(), options)?;
        config.latents.scaling = scaling;
        let report = gathered.report(&config, source, warnings);
        Ok(CanonicalVae { config, report, files: gathered.files, tensors: gathered.tensors })
    }

    /// The VAE's config.
    pub fn config(&self) -> &VaeConfig {
        &self.config
    }

    /// What the files hold and where the facts come from.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Names and shapes of all weights, encoder first, in the order of [`arch::tensors`].
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        Half::BOTH.iter().flat_map(|&half| arch::tensors(&self.config, half)).collect()
    }

    /// A hash of the weights that does not depend on format, layout or stored type: [`WeightsHashes::f32`].
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor cannot be read.
    pub fn weights_sha256(&self) -> Result<String, WeightsError> {
        hashes::exact(&self.tensors(), self)
    }

    /// The same, and those by which casts to F16 and BF16 are known.
    ///
    /// # Errors
    /// [`WeightsError`] if a tensor cannot be read.
    pub fn weights_hashes(&self) -> Result<WeightsHashes, WeightsError> {
        WeightsHashes::of(&self.tensors(), self)
    }
}

impl Weights for CanonicalVae {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let error = |reason: String| WeightsError { name: name.into(), reason };
        let located = self.tensors.get(name).ok_or_else(|| error("this VAE has no such tensor".into()))?;
        self.files[located.file].read_f32(&located.name).map_err(|reason| error(reason.to_string()))
    }
}
