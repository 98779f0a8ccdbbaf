//! The tensors of all files under canonical names: what they make, whether they are complete, how they are scaled.

use std::collections::BTreeMap;

use vaekit::{Half, KlHalf, LatentSpace, Network, Scaling, VaeConfig, arch};

use crate::error::CheckpointError;
use crate::infer::{KlShape, Shapes, TinyShape};
use crate::layout::{self, Verdict};
use crate::report::{FileReport, Ignored, Report};
use crate::scaling::{Evidence, ScalingSource, choices};
use crate::state_dict::StateDict;
use crate::tensor::TensorInfo;
use crate::vae::Options;
use crate::vae_config::GivenConfig;

/// `batch_norm_eps` of diffusers' `AutoencoderKLFlux2`.
const BATCH_NORM_EPSILON: f64 = 1e-4;

/// A tensor in one of the files.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) file: usize,
    pub(crate) name: String,
}

/// The files' tensors under canonical names, before it is known what they make.
pub(crate) struct Gathered {
    pub(crate) files: Vec<StateDict>,
    pub(crate) tensors: BTreeMap<String, Located>,
    /// Canonical names of entries that are no tensors, and what they are.
    others: BTreeMap<String, String>,
    found: Vec<Found>,
}

/// Where a file's VAE stands.
struct Found {
    prefix: &'static str,
    layout: &'static str,
    is_tiny: bool,
    /// Tensors that do not stand under the prefix.
    rest: usize,
}

pub(crate) enum Inferred {
    Kl(KlShape),
    Tiny(TinyShape),
}

impl Gathered {
    pub(crate) fn new(files: Vec<StateDict>) -> Result<Self, CheckpointError> {
        if files.is_empty() {
            return Err(CheckpointError::NoFiles);
        }
        let mut gathered =
            Gathered { files: Vec::new(), tensors: BTreeMap::new(), others: BTreeMap::new(), found: Vec::new() };
        for file in files {
            gathered.add(file)?;
        }
        Ok(gathered)
    }

    fn add(&mut self, state: StateDict) -> Result<(), CheckpointError> {
        let file = || state.name().to_owned();
        let (prefix, layout) = match layout::recognise(state.tensors()) {
            Verdict::Vae { prefix, layout } => (prefix, layout),
            Verdict::Unsupported(family) => {
                return Err(CheckpointError::Unsupported { file: file(), family: family.into() });
            }
            Verdict::NoVae(found) => return Err(CheckpointError::NoVae { file: file(), found: found.into() }),
            Verdict::Unknown => return Err(CheckpointError::NoVae { file: file(), found: describe(&state) }),
        };
        let stripped = state.tensors().iter().filter_map(|tensor| tensor.name.strip_prefix(prefix));
        let last_up = layout::last_up(stripped);
        let mut rest = 0;
        for tensor in state.tensors() {
            let Some(name) = tensor.name.strip_prefix(prefix) else {
                rest += 1;
                continue;
            };
            let canonical = layout.canonical(name, last_up);
            let located = Located { file: self.files.len(), name: tensor.name.clone() };
            // Halves may both carry a training's leftovers.
            if let Some(first) = self.tensors.insert(canonical.clone(), located)
                && (is_layers(&canonical) || canonical.starts_with("bn."))
            {
                let first = self.files.get(first.file).map_or_else(file, |other| other.name().to_owned());
                return Err(CheckpointError::Twice { tensor: canonical, first, second: file() });
            }
        }
        for (name, what) in state.others() {
            if let Some(name) = name.strip_prefix(prefix) {
                self.others.insert(layout.canonical(name, last_up), what.clone());
            }
        }
        self.found.push(Found { prefix, layout: layout.name, is_tiny: layout.is_tiny(), rest });
        self.files.push(state);
        Ok(())
    }

    pub(crate) fn names(&self) -> String {
        self.files.iter().map(StateDict::name).collect::<Vec<_>>().join(" and ")
    }

    fn info(&self, canonical: &str) -> Option<(&StateDict, &TensorInfo)> {
        let located = self.tensors.get(canonical)?;
        let file = &self.files[located.file];
        Some((file, file.tensor(&located.name)?))
    }

    /// The network that the tensors make up.
    pub(crate) fn infer(&self) -> Result<Inferred, CheckpointError> {
        let shapes = self.tensors.keys().filter_map(|name| Some((name.clone(), self.info(name)?.1.shape.clone())));
        let shapes = Shapes(shapes.collect());
        let inferred = if self.found.iter().any(|found| found.is_tiny) {
            shapes.tiny().map(Inferred::Tiny)
        } else {
            shapes.kl().map(Inferred::Kl)
        };
        inferred.map_err(|reason| CheckpointError::Infer { files: self.names(), reason })
    }

    /// Every tensor that the config needs is there, has its shape and can be read; none of the VAE's is left over.
    pub(crate) fn check(&self, config: &VaeConfig) -> Result<(), CheckpointError> {
        let needed: BTreeMap<_, _> = Half::BOTH.iter().flat_map(|&half| arch::tensors(config, half)).collect();
        let missing: Vec<_> = needed.keys().filter(|name| !self.tensors.contains_key(*name)).collect();
        if !missing.is_empty() {
            return Err(self.missing(config, &missing, needed.len()));
        }
        for (name, expected) in &needed {
            let Some((file, tensor)) = self.info(name) else { continue };
            if !fits(name, &tensor.shape, expected) {
                return Err(CheckpointError::Shape {
                    tensor: tensor.name.clone(),
                    file: file.name().into(),
                    found: tensor.shape.as_slice().into(),
                    expected: expected.as_slice().into(),
                    reason: sizes(config),
                });
            }
            file.check(&tensor.name)?;
        }
        let surplus = self.tensors.iter().find(|(name, _)| !needed.contains_key(*name) && is_networks(name, config));
        surplus.map_or(Ok(()), |(_, located)| {
            Err(CheckpointError::Surplus {
                tensor: located.name.clone(),
                file: self.files[located.file].name().into(),
                family: config.class_name().into(),
            })
        })
    }

    fn missing(&self, config: &VaeConfig, missing: &[&String], total: usize) -> CheckpointError {
        const SHOWN: usize = 4;
        let names = missing.iter().take(SHOWN).map(|name| match self.others.get(*name) {
            Some(what) => format!("`{name}` (there is {what} instead)"),
            None => format!("`{name}`"),
        });
        let mut names = names.collect::<Vec<_>>().join(", ");
        if missing.len() > SHOWN {
            names += &format!(" and {} more", missing.len() - SHOWN);
        }
        if self.found.iter().any(|found| !found.layout.starts_with("diffusers")) {
            names += " (in diffusers' names)";
        }
        let family = config.class_name().into();
        CheckpointError::Missing { files: self.names(), family, count: missing.len(), total, names }
    }

    pub(crate) fn scaling(
        &self,
        config: &VaeConfig,
        given: Option<&GivenConfig>,
        options: &Options,
    ) -> Result<(Option<Scaling>, ScalingSource), CheckpointError> {
        let channels = config.latents.channels;
        let tiny = !config.has_posterior();
        if let Some(choice) = &options.scaling {
            if let Some(given) = choice.channels().filter(|&given| given != channels) {
                let (files, choices) = (self.names(), choices(Some(channels)));
                return Err(CheckpointError::ScalingChannels { given, files, found: channels, choices });
            }
            return Ok((Some(choice.scaling()), ScalingSource::Given));
        }
        if self.tensors.contains_key("bn.running_mean") {
            return Ok((Some(self.statistics(channels)?), ScalingSource::Tensors));
        }
        if let Some(given) = given
            && let Some(scaling) = &given.config.latents.scaling
        {
            let source = if given.has_scaling { ScalingSource::Config } else { ScalingSource::ConfigDefault };
            return Ok((Some(scaling.clone()), source));
        }
        let evidence = self.files.iter().find_map(|file| {
            let names = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
            let (sha256, metadata) = (file.sha256.as_deref(), file.metadata());
            Evidence { file: file.name(), sha256, names, metadata, channels, tiny }.scaling()
        });
        match evidence {
            Some((scaling, source)) => Ok((Some(scaling), source)),
            None if tiny || options.allow_unknown_scaling => Ok((None, ScalingSource::Unknown)),
            None => Err(CheckpointError::Scaling { files: self.names(), choices: choices(Some(channels)) }),
        }
    }

    /// FLUX.2's batch normalisation of the packed latents.
    fn statistics(&self, channels: usize) -> Result<Scaling, CheckpointError> {
        let read = |name: &str| -> Result<Vec<f64>, CheckpointError> {
            let (file, tensor) = self.info(name).ok_or_else(|| CheckpointError::Missing {
                files: self.names(),
                family: "AutoencoderKLFlux2".into(),
                count: 1,
                total: 2,
                names: format!("`{name}`"),
            })?;
            let wrong = |found: String, expected: String| CheckpointError::Statistics {
                tensor: tensor.name.clone(),
                file: file.name().into(),
                found,
                expected,
            };
            if tensor.shape != [4 * channels] {
                let expected = format!("[{}], four times the {channels} latent channels", 4 * channels);
                return Err(wrong(format!("{:?}", tensor.shape), expected));
            }
            let values: Vec<f64> = file.read_f32(&tensor.name)?.into_iter().map(f64::from).collect();
            let is_variance = name.ends_with("var");
            match values.iter().find(|value| !value.is_finite() || (is_variance && **value < 0.0)) {
                Some(value) => {
                    Err(wrong(format!("{value} in one place"), "finite values, and no negative variance".into()))
                }
                None => Ok(values),
            }
        };
        let mean = read("bn.running_mean")?;
        let std = read("bn.running_var")?.into_iter().map(|var| (var + BATCH_NORM_EPSILON).sqrt()).collect();
        Ok(Scaling::Packed { mean, std })
    }

    pub(crate) fn report(
        &self,
        config: &VaeConfig,
        scaling_source: ScalingSource,
        mut warnings: Vec<String>,
    ) -> Report {
        let needed: BTreeMap<_, _> = Half::BOTH.iter().flat_map(|&half| arch::tensors(config, half)).collect();
        let mut dtypes = BTreeMap::new();
        for name in needed.keys() {
            if let Some((_, tensor)) = self.info(name) {
                *dtypes.entry(tensor.dtype.to_string()).or_insert(0) += 1;
            }
        }
        let mut ignored: BTreeMap<String, Ignored> = BTreeMap::new();
        for (name, located) in &self.tensors {
            let is_used = needed.contains_key(name)
                || (scaling_source == ScalingSource::Tensors && name.starts_with("bn.running_"));
            if !is_used {
                let group = ignored_group(name);
                let entry =
                    ignored.entry(group.clone()).or_insert(Ignored { group, count: 0, example: located.name.clone() });
                entry.count += 1;
            }
        }
        if let ScalingSource::FileName(name) = &scaling_source {
            warnings.push(format!("the scaling was learned from the file name {name} alone; --scaling overrides it"));
        }
        if ignored.contains_key("decoder.condition_encoder.*") {
            warnings.push("the decoder's inpainting inputs (decoder.condition_encoder) are left out".into());
        }
        Report {
            family: family(config),
            files: std::iter::zip(&self.files, &self.found)
                .map(|(file, found)| FileReport {
                    name: file.name().into(),
                    format: file.format(),
                    layout: found.layout.into(),
                    prefix: found.prefix.into(),
                    other_tensors: found.rest,
                })
                .collect(),
            dtypes,
            tensors: needed.len(),
            parameters: needed.values().map(|shape| shape.iter().map(|&dim| dim as u64).product::<u64>()).sum(),
            scaling: config.latents.scaling.clone(),
            scaling_source,
            ignored: ignored.into_values().collect(),
            warnings,
        }
    }
}

/// Whether a canonical name is one that a layer of the VAE would have, so that leaving it out would change the picture.
fn is_networks(name: &str, config: &VaeConfig) -> bool {
    match name.split('.').next() {
        Some("quant_conv") => config.has(Half::Encoder),
        Some("post_quant_conv") => config.has(Half::Decoder),
        _ => is_layers(name),
    }
}

fn is_layers(name: &str) -> bool {
    ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."].iter().any(|start| name.starts_with(start))
        && !name.starts_with("decoder.condition_encoder.")
}

fn ignored_group(name: &str) -> String {
    let start = if name.starts_with("decoder.condition_encoder.") { Some("decoder.condition_encoder") } else { None };
    match start.or_else(|| name.split_once('.').map(|(first, _)| first)) {
        Some(first) => format!("{first}.*"),
        None => name.into(),
    }
}

/// Attention weights are linear layers, which some files keep as 1x1 convolutions.
fn fits(name: &str, found: &[usize], expected: &[usize]) -> bool {
    let squeezed = found.iter().rposition(|&dim| dim != 1).map_or(0, |last| last + 1).max(expected.len());
    found == expected || (name.contains(".attentions.") && found.get(..squeezed) == Some(expected))
}

fn sizes(config: &VaeConfig) -> String {
    let widths = |half: &Option<KlHalf>| half.as_ref().map(|half| half.block_out_channels.clone());
    let channels = config.latents.channels;
    match &config.network {
        Network::Kl(kl) => {
            let widths = widths(&kl.encoder).or(widths(&kl.decoder)).unwrap_or_default();
            format!("latent_channels = {channels}, block_out_channels = {widths:?}")
        }
        Network::Tiny(_) => format!("latent_channels = {channels}"),
    }
}

fn family(config: &VaeConfig) -> String {
    let name = match &config.network {
        Network::Tiny(tiny) if tiny.mid_pool => "AutoencoderTiny with pooled blocks (TAEF2)",
        Network::Tiny(_) if config.latents.downsample_factor == 32 => "AutoencoderTiny, f32 variant (TAESANA)",
        Network::Tiny(_) => "AutoencoderTiny (TAESD)",
        Network::Kl(_) => config.class_name(),
    };
    let LatentSpace { channels, downsample_factor, .. } = config.latents;
    let half = match (config.has(Half::Encoder), config.has(Half::Decoder)) {
        (true, false) => ", encoder only",
        (false, true) => ", decoder only",
        _ => "",
    };
    format!("{name}, {channels} channels, f{downsample_factor}{half}")
}

fn describe(state: &StateDict) -> String {
    const SHOWN: usize = 3;
    let examples: Vec<_> = state.tensors().iter().take(SHOWN).map(|tensor| format!("`{}`", tensor.name)).collect();
    match (state.tensors().len(), state.others().first()) {
        (0, Some((name, what))) => format!("no tensors (`{name}` is {what})"),
        (0, None) => "no tensors".into(),
        (n, _) => format!("{n} tensors that belong to no family known, such as {}", examples.join(", ")),
    }
}
