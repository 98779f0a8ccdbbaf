//! diffusers' `config.json`, both ways.
//!
//! Keys, defaults and meanings are those of diffusers' `AutoencoderKL`, `AsymmetricAutoencoderKL`, `AutoencoderKLFlux2` and
//! `AutoencoderTiny` (0.42.1). Two tiny networks that diffusers cannot express carry keys of our own, which diffusers
//! passes over: `mid_pool` (TAEF2) and `encoder_strided_stem` (TAESANA).

use serde_json::{Map, Value, json};

use crate::config::{Half, Kl, KlClass, KlHalf, Network, Tiny, TinyDecoder, TinyEncoder, VaeConfig};
use crate::latent_space::{Domain, LatentSpace, Scaling};

/// diffusers' class default, which old SD1 configs rely on by leaving the key out.
pub const DEFAULT_SCALING_FACTOR: f64 = 0.18215;

/// Beyond these a config describes no VAE; they bound what a hostile one can make us allocate.
const MAX_CHANNELS: usize = 1 << 16;
const MAX_LEVELS: usize = 12;
const MAX_LAYERS: usize = 256;

/// The config as diffusers writes it.
///
/// `half` is the half the file stands beside (`vae_decoder/config.json`), `None` for a whole VAE. It decides which half's
/// widths and depth are written where the class has one setting for both.
pub fn to_config_json(config: &VaeConfig, half: Option<Half>) -> Value {
    let mut json = Map::new();
    let mut set = |key: &str, value: Value| {
        json.insert(key.into(), value);
    };
    set("_class_name", config.class_name().into());
    set("_diffusers_version", "0.42.1".into());
    set("in_channels", 3.into());
    set("out_channels", 3.into());
    set("latent_channels", config.latents.channels.into());
    match &config.network {
        Network::Kl(kl) => kl_to_json(kl, half, &mut set),
        Network::Tiny(tiny) => tiny_to_json(tiny, &mut set),
    }
    let network_takes_scaled = config.latents.native == Domain::Scaled;
    match &config.latents.scaling {
        _ if network_takes_scaled => {
            set("scaling_factor", 1.0.into());
            set("shift_factor", 0.0.into());
        }
        Some(Scaling::Affine { scaling_factor, shift_factor }) => {
            set("scaling_factor", (*scaling_factor).into());
            set("shift_factor", if *shift_factor == 0.0 { Value::Null } else { (*shift_factor).into() });
        }
        Some(Scaling::PerChannel { mean, std, scaling_factor }) => {
            set("scaling_factor", (*scaling_factor).into());
            set("latents_mean", json!(mean));
            set("latents_std", json!(std));
        }
        // FLUX.2's statistics are tensors of the checkpoint, not settings. An unknown factor is not given a value.
        Some(Scaling::Packed { .. }) => {}
        None => set("scaling_factor", Value::Null),
    }
    if config.latents.packed {
        set("patch_size", json!([2, 2]));
    }
    Value::Object(json)
}

fn kl_to_json(kl: &Kl, half: Option<Half>, set: &mut impl FnMut(&str, Value)) {
    let down = kl.encoder.as_ref().map(|encoder| (&encoder.block_out_channels, encoder.resnets_per_block));
    // The class builds one resnet more in each block of a decoder than its setting says.
    let up =
        kl.decoder.as_ref().map(|decoder| (&decoder.block_out_channels, decoder.resnets_per_block.saturating_sub(1)));
    let (Some((down_widths, down_layers)), Some((up_widths, up_layers))) = (down.or(up), up.or(down)) else { return };
    let types = |name: &str, widths: &[usize]| Value::from(vec![name; widths.len()]);

    set("down_block_types", types("DownEncoderBlock2D", down_widths));
    set("up_block_types", types("UpDecoderBlock2D", up_widths));
    if kl.kind == KlClass::AsymmetricAutoencoderKl {
        set("down_block_out_channels", json!(down_widths));
        set("layers_per_down_block", down_layers.into());
        set("up_block_out_channels", json!(up_widths));
        set("layers_per_up_block", up_layers.into());
    } else {
        let has_decoder_widths = kl.kind == KlClass::AutoencoderKlFlux2;
        let is_decoders = half == Some(Half::Decoder);
        set("block_out_channels", json!(if is_decoders && !has_decoder_widths { up_widths } else { down_widths }));
        if has_decoder_widths && up_widths != down_widths {
            set("decoder_block_out_channels", json!(up_widths));
        }
        set("layers_per_block", if is_decoders { up_layers } else { down_layers }.into());
        set("mid_block_add_attention", kl.mid_attention.into());
        set("use_quant_conv", kl.quant_conv.into());
        set("use_post_quant_conv", kl.post_quant_conv.into());
        set("force_upcast", true.into());
    }
    if kl.kind == KlClass::AutoencoderKlFlux2 {
        set("batch_norm_eps", 1e-4.into());
        set("batch_norm_momentum", 0.1.into());
    }
    set("act_fn", "silu".into());
    set("norm_num_groups", kl.norm_num_groups.into());
    // Only the size of diffusers' own tiles follows from it; 512 is SD1's.
    set("sample_size", 512.into());
}

fn tiny_to_json(tiny: &Tiny, set: &mut impl FnMut(&str, Value)) {
    set("act_fn", "relu".into());
    if let Some(encoder) = &tiny.encoder {
        set("encoder_block_out_channels", json!(encoder.block_out_channels));
        set("num_encoder_blocks", json!(encoder.num_blocks));
        if let Some(stem) = encoder.strided_stem {
            set("encoder_strided_stem", stem.into());
        }
    }
    if let Some(decoder) = &tiny.decoder {
        set("block_out_channels", json!(decoder.block_out_channels));
        set("decoder_block_out_channels", json!(decoder.block_out_channels));
        set("num_decoder_blocks", json!(decoder.num_blocks));
    }
    if tiny.mid_pool {
        set("mid_pool", true.into());
    }
    set("force_upcast", false.into());
    set("latent_magnitude", 3.into());
    set("latent_shift", 0.5.into());
    set("upsample_fn", "nearest".into());
    set("upsampling_scaling_factor", 2.into());
}

/// The config that a diffusers `config.json` describes, with both halves: such a file cannot say that one is missing.
///
/// An absent `scaling_factor` is diffusers' default of 0.18215, a null one is unknown. FLUX.2's scaling is `None`: its
/// statistics are tensors of the checkpoint. So is an AutoencoderTiny's, whose latents are its parent's scaled ones, unless
/// the config scales them.
///
/// # Errors
/// [`ConfigJsonError`] for another class, a setting vaekit does not have, or a value that makes no sense.
pub fn from_config_json(json: &Value) -> Result<VaeConfig, ConfigJsonError> {
    let keys = Keys(json.as_object().ok_or(ConfigJsonError::NoObject)?);
    match keys.text("_class_name")? {
        Some("AutoencoderKL") => kl_from_json(&keys, KlClass::AutoencoderKl),
        Some("AsymmetricAutoencoderKL") => kl_from_json(&keys, KlClass::AsymmetricAutoencoderKl),
        Some("AutoencoderKLFlux2") => kl_from_json(&keys, KlClass::AutoencoderKlFlux2),
        Some("AutoencoderTiny") => tiny_from_json(&keys),
        Some(class) => Err(ConfigJsonError::Class { found: class.into() }),
        None => Err(ConfigJsonError::NoClass),
    }
}

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigJsonError {
    /// Not a JSON object.
    #[error("the config is no JSON object")]
    NoObject,
    /// No `_class_name`.
    #[error("the config has no `_class_name`; is it diffusers' config.json of a VAE?")]
    NoClass,
    /// A class that vaekit does not run.
    #[error(
        "`_class_name` is `{found}`, expected AutoencoderKL, AsymmetricAutoencoderKL, AutoencoderKLFlux2 or AutoencoderTiny"
    )]
    Class {
        /// The class found.
        found: String,
    },
    /// A value that vaekit does not have or that makes no sense.
    #[error("`{key}` in the config is {found}, expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// The value, as JSON.
        found: String,
        /// What would do.
        expected: String,
    },
}

fn kl_from_json(keys: &Keys<'_>, kind: KlClass) -> Result<VaeConfig, ConfigJsonError> {
    keys.check_fixed("act_fn", "silu")?;
    keys.check_images()?;
    keys.check_all("down_block_types", "DownEncoderBlock2D")?;
    keys.check_all("up_block_types", "UpDecoderBlock2D")?;
    let asymmetric = kind == KlClass::AsymmetricAutoencoderKl;
    let (down, up) = if asymmetric {
        (keys.widths("down_block_out_channels")?, keys.widths("up_block_out_channels")?)
    } else {
        (keys.widths("block_out_channels")?, keys.widths("decoder_block_out_channels")?)
    };
    let down = down.unwrap_or_else(|| vec![64]);
    let up = up.unwrap_or_else(|| down.clone());
    if up.len() != down.len() {
        return Err(keys.wrong(
            if asymmetric { "up_block_out_channels" } else { "decoder_block_out_channels" },
            format!("{} widths, as many as the encoder has", down.len()),
        ));
    }
    let (layers_down, layers_up) = if asymmetric {
        (keys.count("layers_per_down_block", 1, MAX_LAYERS)?, keys.count("layers_per_up_block", 1, MAX_LAYERS)?)
    } else {
        let layers = keys.count("layers_per_block", 1, MAX_LAYERS)?;
        (layers, layers)
    };
    let norm_num_groups = keys.count("norm_num_groups", 32, MAX_CHANNELS)?;
    if let Some(width) = down.iter().chain(&up).find(|&&width| width % norm_num_groups != 0) {
        return Err(keys.wrong("norm_num_groups", format!("a divisor of every width, and {width} is one")));
    }
    let flux2 = kind == KlClass::AutoencoderKlFlux2;
    let channels = keys.count("latent_channels", if flux2 { 32 } else { 4 }, MAX_CHANNELS)?;
    let latents = LatentSpace {
        channels,
        downsample_factor: 1 << (down.len() - 1),
        native: Domain::Raw,
        scaling: if flux2 { None } else { keys.scaling(channels, Some(DEFAULT_SCALING_FACTOR))? },
        packed: flux2,
    };
    let kl = Kl {
        kind,
        encoder: Some(KlHalf { block_out_channels: down, resnets_per_block: layers_down }),
        decoder: Some(KlHalf { block_out_channels: up, resnets_per_block: layers_up + 1 }),
        norm_num_groups,
        mid_attention: keys.flag("mid_block_add_attention", true)?,
        quant_conv: keys.flag("use_quant_conv", true)?,
        post_quant_conv: keys.flag("use_post_quant_conv", true)?,
    };
    Ok(VaeConfig { network: Network::Kl(kl), latents })
}

fn tiny_from_json(keys: &Keys<'_>) -> Result<VaeConfig, ConfigJsonError> {
    keys.check_fixed("act_fn", "relu")?;
    keys.check_images()?;
    keys.check_fixed("upsample_fn", "nearest")?;
    keys.check_fixed("upsampling_scaling_factor", 2)?;
    let stages = |widths: &str, default_width: [usize; 4], blocks: &str, default_blocks: [usize; 4]| {
        let widths = keys.widths(widths)?.unwrap_or(default_width.into());
        let counts = keys.list(blocks, MAX_LAYERS)?.unwrap_or(default_blocks.into());
        if counts.len() != widths.len() {
            return Err(keys.wrong(blocks, format!("{} counts, one a stage", widths.len())));
        }
        Ok((widths, counts))
    };
    let (block_out_channels, num_blocks) =
        stages("encoder_block_out_channels", [64; 4], "num_encoder_blocks", [1, 3, 3, 3])?;
    let strided_stem = match keys.count("encoder_strided_stem", 0, MAX_CHANNELS)? {
        0 => None,
        stem => Some(stem),
    };
    let encoder = TinyEncoder { block_out_channels, num_blocks, strided_stem };
    let (block_out_channels, num_blocks) =
        stages("decoder_block_out_channels", [64; 4], "num_decoder_blocks", [3, 3, 3, 1])?;
    let decoder = TinyDecoder { block_out_channels, num_blocks };
    let downsample_factor = 1 << (decoder.block_out_channels.len() - 1);
    if encoder.downsample_factor() != downsample_factor {
        let halvings =
            format!("one that halves the image as often as the decoder doubles it ({downsample_factor} times smaller)");
        return Err(keys.wrong("encoder_block_out_channels", halvings));
    }
    let channels = keys.count("latent_channels", 4, MAX_CHANNELS)?;
    let scaling = keys.scaling(channels, Some(1.0))?.filter(|scaling| *scaling != Scaling::factor(1.0));
    let latents = LatentSpace {
        channels,
        downsample_factor,
        native: if scaling.is_some() { Domain::Raw } else { Domain::Scaled },
        scaling,
        packed: keys.0.get("patch_size").is_some_and(|patch| *patch == json!([2, 2])),
    };
    let mid_pool = keys.flag("mid_pool", false)?;
    let tiny = Tiny { encoder: Some(encoder), decoder: Some(decoder), mid_pool };
    Ok(VaeConfig { network: Network::Tiny(tiny), latents })
}

/// The settings by name. An absent key and a null are the same, except where a method says otherwise.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, expected: impl Into<String>) -> ConfigJsonError {
        let mut found = self.0.get(key).unwrap_or(&Value::Null).to_string();
        if found.chars().count() > 80 {
            found = found.chars().take(80).chain("...".chars()).collect();
        }
        ConfigJsonError::Value { key: key.into(), found, expected: expected.into() }
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ConfigJsonError> {
        self.value(key).map(|value| value.as_str().ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigJsonError> {
        self.value(key).map_or(Ok(default), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false")))
    }

    /// A whole number from 1 to `max`.
    fn count(&self, key: &str, default: usize, max: usize) -> Result<usize, ConfigJsonError> {
        let Some(value) = self.value(key) else { return Ok(default) };
        in_range(value, max).ok_or_else(|| self.wrong(key, format!("a whole number from 1 to {max}")))
    }

    fn list(&self, key: &str, max: usize) -> Result<Option<Vec<usize>>, ConfigJsonError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value
            .as_array()
            .filter(|items| (1..=MAX_LEVELS).contains(&items.len()))
            .and_then(|items| items.iter().map(|item| in_range(item, max)).collect::<Option<Vec<_>>>())
            .map(Some)
            .ok_or_else(|| self.wrong(key, format!("1 to {MAX_LEVELS} whole numbers from 1 to {max}")))
    }

    fn widths(&self, key: &str) -> Result<Option<Vec<usize>>, ConfigJsonError> {
        self.list(key, MAX_CHANNELS)
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ConfigJsonError> {
        self.value(key)
            .map(|value| value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| self.wrong(key, "a number")))
            .transpose()
    }

    fn check_fixed(&self, key: &str, only: impl Into<Value>) -> Result<(), ConfigJsonError> {
        let only = only.into();
        match self.value(key) {
            Some(value) if *value != only => Err(self.wrong(key, only.to_string())),
            _ => Ok(()),
        }
    }

    fn check_images(&self) -> Result<(), ConfigJsonError> {
        self.check_fixed("in_channels", 3)?;
        self.check_fixed("out_channels", 3)
    }

    fn check_all(&self, key: &str, only: &str) -> Result<(), ConfigJsonError> {
        match self.value(key) {
            Some(value) if !value.as_array().is_some_and(|all| all.iter().all(|one| one == only)) => {
                Err(self.wrong(key, format!("only {only}")))
            }
            _ => Ok(()),
        }
    }

    /// diffusers' `scaling_factor`, `shift_factor`, `latents_mean`, `latents_std`; `default` if the first is absent, `None`
    /// if it is null.
    fn scaling(&self, channels: usize, default: Option<f64>) -> Result<Option<Scaling>, ConfigJsonError> {
        let factor = match self.0.get("scaling_factor") {
            None => default,
            Some(_) => self.number("scaling_factor")?,
        };
        let Some(scaling_factor) = factor else { return Ok(None) };
        if scaling_factor <= 0.0 {
            return Err(self.wrong("scaling_factor", "a number above 0"));
        }
        let shift_factor = self.number("shift_factor")?.unwrap_or(0.0);
        match (self.statistics("latents_mean", channels)?, self.statistics("latents_std", channels)?) {
            (Some(_), None) => Err(self.wrong("latents_std", "numbers, since there is a `latents_mean`")),
            (None, Some(_)) => Err(self.wrong("latents_mean", "numbers, since there is a `latents_std`")),
            (Some(_), Some(std)) if std.iter().any(|&std| std <= 0.0) => {
                Err(self.wrong("latents_std", "numbers above 0"))
            }
            (Some(_), Some(_)) if shift_factor != 0.0 => {
                Err(self.wrong("shift_factor", "none, since there is a `latents_mean`"))
            }
            (Some(mean), Some(std)) => Ok(Some(Scaling::PerChannel { mean, std, scaling_factor })),
            (None, None) => Ok(Some(Scaling::Affine { scaling_factor, shift_factor })),
        }
    }

    fn statistics(&self, key: &str, channels: usize) -> Result<Option<Vec<f64>>, ConfigJsonError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        value
            .as_array()
            .filter(|items| items.len() == channels)
            .and_then(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<_>>>())
            .filter(|items| items.iter().all(|n| n.is_finite()))
            .map(Some)
            .ok_or_else(|| self.wrong(key, format!("{channels} numbers, one a latent channel")))
    }
}

fn in_range(value: &Value, max: usize) -> Option<usize> {
    let n = usize::try_from(value.as_u64()?).ok()?;
    (1..=max).contains(&n).then_some(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Value) -> VaeConfig {
        from_config_json(&json).unwrap()
    }

    fn check_round_trip(config: &VaeConfig) {
        assert_eq!(read(to_config_json(config, None)), *config);
    }

    fn check_error(json: Value, expected: &str) {
        assert_eq!(from_config_json(&json).unwrap_err().to_string(), expected);
    }

    #[test]
    fn old_sd1_configs_leave_the_factor_out() {
        let config = read(
            json!({ "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2 }),
        );
        assert_eq!(config.latents.scaling, Some(Scaling::factor(0.18215)));
        assert_eq!(config.latents.downsample_factor, 8);
        check_round_trip(&config);
    }

    #[test]
    fn flux1_has_a_shift_and_no_quant_convs() {
        let config = read(json!({
            "_class_name": "AutoencoderKL", "block_out_channels": [32, 32], "latent_channels": 16, "scaling_factor": 0.3611,
            "shift_factor": 0.1159, "use_quant_conv": false, "use_post_quant_conv": false, "latents_mean": null
        }));
        let scaling = Scaling::Affine { scaling_factor: 0.3611, shift_factor: 0.1159 };
        assert_eq!(config.latents.scaling, Some(scaling));
        assert!(matches!(&config.network, Network::Kl(kl) if !kl.quant_conv && !kl.post_quant_conv));
        check_round_trip(&config);
    }

    #[test]
    fn playground_has_statistics() {
        let config = read(json!({
            "_class_name": "AutoencoderKL", "scaling_factor": 0.5,
            "latents_mean": [-1.6574, 1.886, -1.383, 2.5155], "latents_std": [8.4927, 5.9022, 6.5498, 5.2299]
        }));
        assert!(
            matches!(&config.latents.scaling, Some(Scaling::PerChannel { scaling_factor, .. }) if *scaling_factor == 0.5)
        );
        check_round_trip(&config);
    }

    #[test]
    fn asymmetric_and_flux2_small_decoder() {
        let config = read(json!({
            "_class_name": "AsymmetricAutoencoderKL", "down_block_out_channels": [128, 256, 512, 512], "layers_per_down_block": 2,
            "up_block_out_channels": [192, 384, 768, 768], "layers_per_up_block": 3
        }));
        assert!(matches!(&config.network, Network::Kl(kl) if kl.decoder.as_ref().unwrap().resnets_per_block == 4));
        check_round_trip(&config);
        let config = read(json!({
            "_class_name": "AutoencoderKLFlux2", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "decoder_block_out_channels": [96, 192, 384, 384], "patch_size": [2, 2]
        }));
        assert!(config.latents.packed && config.latents.scaling.is_none() && config.latents.channels == 32);
        check_round_trip(&config);
    }

    #[test]
    fn tiny_ones_speak_scaled_latents() {
        let config = read(json!({ "_class_name": "AutoencoderTiny", "scaling_factor": 1.0, "shift_factor": 0.0 }));
        assert_eq!((config.latents.native, &config.latents.scaling), (Domain::Scaled, &None));
        check_round_trip(&config);
        let taef2 =
            json!({ "_class_name": "AutoencoderTiny", "latent_channels": 32, "mid_pool": true, "patch_size": [2, 2] });
        check_round_trip(&read(taef2));
        let taesana = json!({
            "_class_name": "AutoencoderTiny", "latent_channels": 32, "encoder_strided_stem": 32,
            "decoder_block_out_channels": [256, 128, 64, 64, 64, 64], "num_decoder_blocks": [3, 3, 3, 3, 3, 1]
        });
        assert_eq!(read(taesana.clone()).latents.downsample_factor, 32);
        check_round_trip(&read(taesana));
    }

    #[test]
    fn one_half_is_written_with_its_own_numbers() {
        let mut config = read(json!({ "_class_name": "AutoencoderKL", "block_out_channels": [32, 64] }));
        let Network::Kl(kl) = &mut config.network else { unreachable!() };
        kl.decoder = Some(KlHalf { block_out_channels: vec![64, 96], resnets_per_block: 4 });
        let json = to_config_json(&config, Some(Half::Decoder));
        assert_eq!((&json["block_out_channels"], &json["layers_per_block"]), (&json!([64, 96]), &json!(3)));
        let json = to_config_json(&config, Some(Half::Encoder));
        assert_eq!((&json["block_out_channels"], &json["layers_per_block"]), (&json!([32, 64]), &json!(1)));
    }

    #[test]
    fn refusals_name_key_and_value() {
        check_error(json!([]), "the config is no JSON object");
        check_error(json!({}), "the config has no `_class_name`; is it diffusers' config.json of a VAE?");
        check_error(
            json!({ "_class_name": "AutoencoderDC" }),
            "`_class_name` is `AutoencoderDC`, expected AutoencoderKL, AsymmetricAutoencoderKL, AutoencoderKLFlux2 or AutoencoderTiny",
        );
        check_error(
            json!({ "_class_name": "AutoencoderKL", "layers_per_block": 1e12 }),
            "`layers_per_block` in the config is 1000000000000.0, expected a whole number from 1 to 256",
        );
        check_error(
            json!({ "_class_name": "AutoencoderKL", "block_out_channels": [48] }),
            "`norm_num_groups` in the config is null, expected a divisor of every width, and 48 is one",
        );
        check_error(
            json!({ "_class_name": "AutoencoderKL", "down_block_types": ["AttnDownEncoderBlock2D"] }),
            "`down_block_types` in the config is [\"AttnDownEncoderBlock2D\"], expected only DownEncoderBlock2D",
        );
    }
}
