//! The config of a VAE: what the tensors say, checked against and completed by a `config.json`.

use serde_json::Value;
use vaekit::{ConfigJsonError, Domain, Kl, KlClass, KlHalf, LatentSpace, Network, Tiny, VaeConfig, from_config_json};

use crate::error::CheckpointError;
use crate::gathered::{Gathered, Inferred};
use crate::infer::{KlShape, TinyShape};
use crate::vae::Options;

/// Group normalisation's groups in every published AutoencoderKL (diffusers' default).
const NORM_NUM_GROUPS: usize = 32;

/// A `config.json`: given, or found beside a file.
pub(crate) struct GivenConfig {
    /// For messages.
    from: String,
    pub(crate) config: VaeConfig,
    /// Whether it names a `scaling_factor`, rather than leaving it to diffusers' default.
    pub(crate) has_scaling: bool,
}

impl GivenConfig {
    /// The config given, else the one beside a file. A file beside that is no config of diffusers' is passed over with a
    /// warning, since other programs keep a `config.json` too.
    pub(crate) fn find(
        gathered: &Gathered,
        options: &Options,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, CheckpointError> {
        if let Some(text) = &options.config_json {
            let from = "the config given".to_owned();
            return Self::read(text, &from)
                .map(Some)
                .map_err(|reason| CheckpointError::Config { config: from, reason: reason.to_string() });
        }
        let beside = gathered.files.iter().find_map(|file| Some((file.config_json.as_deref()?, file.name())));
        let Some((text, file)) = beside else { return Ok(None) };
        let from = format!("config.json beside {file}");
        match Self::read(text, &from) {
            Ok(given) => Ok(Some(given)),
            Err(reason @ (ConfigJsonError::NoClass | ConfigJsonError::NoObject)) => {
                warnings.push(format!("{from} was passed over: {reason}"));
                Ok(None)
            }
            Err(reason) => Err(CheckpointError::Config { config: from, reason: reason.to_string() }),
        }
    }

    fn read(text: &str, from: &str) -> Result<Self, ConfigJsonError> {
        let json: Value = serde_json::from_str(text).map_err(|_| ConfigJsonError::NoObject)?;
        let config = from_config_json(&json)?;
        Ok(GivenConfig { from: from.into(), config, has_scaling: json.get("scaling_factor").is_some() })
    }

    /// Whether the config and the tensors agree.
    pub(crate) fn compare(&self, inferred: &Inferred, gathered: &Gathered) -> Result<(), CheckpointError> {
        let conflict = |key, says: String, found: String| CheckpointError::Conflict {
            config: self.from.clone(),
            key,
            says,
            files: gathered.names(),
            found,
        };
        let facts = match (&self.config.network, inferred) {
            (Network::Kl(says), Inferred::Kl(found)) => kl_facts(says, found),
            (Network::Tiny(says), Inferred::Tiny(found)) => tiny_facts(says, found),
            (_, Inferred::Kl(_)) => vec![("_class_name", self.config.class_name().into(), "AutoencoderKL".into())],
            (_, Inferred::Tiny(_)) => vec![("_class_name", self.config.class_name().into(), "AutoencoderTiny".into())],
        };
        let found_channels = match inferred {
            Inferred::Kl(found) => found.channels,
            Inferred::Tiny(found) => found.channels,
        };
        let channels = ("latent_channels", self.config.latents.channels.to_string(), found_channels.to_string());
        match std::iter::once(channels).chain(facts).find(|(_, says, found)| says != found) {
            Some((key, says, found)) => Err(conflict(key, says, found)),
            None => Ok(()),
        }
    }
}

/// A key, what a config says, what the tensors say.
type Fact = (&'static str, String, String);

fn kl_facts(says: &Kl, found: &KlShape) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let asymmetric = says.kind == KlClass::AsymmetricAutoencoderKl;
    let (down, up) = if asymmetric {
        ("down_block_out_channels", "up_block_out_channels")
    } else {
        ("block_out_channels", "block_out_channels (of the decoder)")
    };
    let (down_layers, up_layers) = if asymmetric {
        ("layers_per_down_block", "layers_per_up_block")
    } else {
        ("layers_per_block", "layers_per_block")
    };
    if let (Some(says), Some(found)) = (&says.encoder, &found.encoder) {
        facts.push((down, format!("{:?}", says.block_out_channels), format!("{:?}", found.block_out_channels)));
        facts.push((down_layers, says.resnets_per_block.to_string(), found.resnets_per_block.to_string()));
    }
    if let (Some(says), Some(found)) = (&says.decoder, &found.decoder) {
        // A decoder has one residual block a level more than its config says.
        let layers = |half: &KlHalf| half.resnets_per_block.saturating_sub(1).to_string();
        facts.push((up, format!("{:?}", says.block_out_channels), format!("{:?}", found.block_out_channels)));
        facts.push((up_layers, layers(says), layers(found)));
    }
    facts.push(("mid_block_add_attention", says.mid_attention.to_string(), found.mid_attention.to_string()));
    if found.encoder.is_some() {
        facts.push(("use_quant_conv", says.quant_conv.to_string(), found.quant_conv.to_string()));
    }
    if found.decoder.is_some() {
        facts.push(("use_post_quant_conv", says.post_quant_conv.to_string(), found.post_quant_conv.to_string()));
    }
    // Tensors tell FLUX.2's and the inpainting classes by what they have more; without that the config may still be right.
    if found.kind != KlClass::AutoencoderKl && found.kind != says.kind {
        facts.push(("_class_name", says.kind.name().into(), found.kind.name().into()));
    }
    facts
}

fn tiny_facts(says: &Tiny, found: &TinyShape) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    if let (Some(says), Some(found)) = (&says.encoder, &found.encoder) {
        let widths = (format!("{:?}", says.block_out_channels), format!("{:?}", found.block_out_channels));
        facts.push(("encoder_block_out_channels", widths.0, widths.1));
        facts.push(("num_encoder_blocks", format!("{:?}", says.num_blocks), format!("{:?}", found.num_blocks)));
    }
    if let (Some(says), Some(found)) = (&says.decoder, &found.decoder) {
        let widths = (format!("{:?}", says.block_out_channels), format!("{:?}", found.block_out_channels));
        facts.push(("decoder_block_out_channels", widths.0, widths.1));
        facts.push(("num_decoder_blocks", format!("{:?}", says.num_blocks), format!("{:?}", found.num_blocks)));
    }
    facts
}
pub(crate) fn kl_config(
    shape: KlShape,
    given: Option<&VaeConfig>,
    options: &Options,
    gathered: &Gathered,
) -> Result<VaeConfig, CheckpointError> {
    let given = given.and_then(|config| match &config.network {
        Network::Kl(kl) => Some(kl),
        Network::Tiny(_) => None,
    });
    let (norm_num_groups, source_of_groups) = match (options.norm_num_groups, given) {
        (Some(groups), _) => (groups, "given"),
        (None, Some(given)) => (given.norm_num_groups, "its config"),
        (None, None) => (NORM_NUM_GROUPS, "the usual number"),
    };
    let halves = [&shape.encoder, &shape.decoder];
    let widths: Vec<usize> = halves.into_iter().flatten().flat_map(|half| half.block_out_channels.clone()).collect();
    if let Some(width) = widths.into_iter().find(|&width| norm_num_groups == 0 || width % norm_num_groups != 0) {
        let files = gathered.names();
        return Err(CheckpointError::Groups { files, groups: norm_num_groups, source_of_groups, width });
    }
    let levels = halves.into_iter().flatten().map(|half| half.block_out_channels.len()).max().unwrap_or(1);
    let kind = given.map_or(shape.kind, |given| given.kind);
    let latents = LatentSpace {
        channels: shape.channels,
        downsample_factor: 1 << (levels - 1),
        native: Domain::Raw,
        scaling: None,
        packed: kind == KlClass::AutoencoderKlFlux2,
    };
    let KlShape { encoder, decoder, mid_attention, quant_conv, post_quant_conv, .. } = shape;
    let kl = Kl { kind, encoder, decoder, norm_num_groups, mid_attention, quant_conv, post_quant_conv };
    Ok(VaeConfig { network: Network::Kl(kl), latents })
}

pub(crate) fn tiny_config(shape: TinyShape, given: Option<&VaeConfig>) -> VaeConfig {
    let TinyShape { encoder, decoder, channels, mid_pool } = shape;
    let factor = match (&encoder, &decoder) {
        (Some(encoder), _) => encoder.downsample_factor(),
        (None, Some(decoder)) => 1 << (decoder.block_out_channels.len() - 1),
        (None, None) => 1,
    };
    let latents = LatentSpace {
        channels,
        downsample_factor: factor,
        native: given.map_or(Domain::Scaled, |given| given.latents.native),
        scaling: None,
        // TAEF2 speaks FLUX.2's normalised latents, which pipelines pack.
        packed: mid_pool,
    };
    VaeConfig { network: Network::Tiny(Tiny { encoder, decoder, mid_pool }), latents }
}
