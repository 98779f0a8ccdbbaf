//! How a model's latents are scaled, and what tells it: shapes cannot.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use vaekit::{KnownScaling, Scaling};

/// The scaling of a published family.
#[derive(Debug, PartialEq)]
pub struct Preset {
    /// Its name, as `--scaling` takes it.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Latent channels of the family.
    pub channels: usize,
    /// diffusers' `scaling_factor`.
    pub scaling_factor: f64,
    /// diffusers' `shift_factor`, 0 where there is none.
    pub shift_factor: f64,
    /// diffusers' `latents_mean` and `latents_std`.
    pub statistics: Option<([f64; 4], [f64; 4])>,
}

/// All presets. Sources: `vae/config.json` of the model named in each line, on its publisher's page.
pub const PRESETS: &[Preset] = &[
    // stable-diffusion-v1-5 and stable-diffusion-2-1; CompVis' v1-inference.yaml.
    Preset { name: "sd1", aliases: &["sd", "sd2", "sd15"], channels: 4, scaling_factor: 0.18215, ..NONE },
    // stabilityai/sdxl-vae.
    Preset { name: "sdxl", aliases: &["xl"], channels: 4, scaling_factor: 0.13025, ..NONE },
    // playgroundai/playground-v2.5-1024px-aesthetic.
    Preset {
        name: "playground",
        aliases: &["playground-v2.5"],
        channels: 4,
        scaling_factor: 0.5,
        statistics: Some(([-1.6574, 1.886, -1.383, 2.5155], [8.4927, 5.9022, 6.5498, 5.2299])),
        ..NONE
    },
    // stabilityai/stable-diffusion-x4-upscaler.
    Preset { name: "x4-upscaler", aliases: &[], channels: 4, scaling_factor: 0.08333, ..NONE },
    // stabilityai/stable-diffusion-3-medium and -3.5-large.
    Preset {
        name: "sd3",
        aliases: &["sd35", "sd3.5"],
        channels: 16,
        scaling_factor: 1.5305,
        shift_factor: 0.0609,
        ..NONE
    },
    // black-forest-labs/FLUX.1-schnell.
    Preset {
        name: "flux1",
        aliases: &["flux", "flux.1"],
        channels: 16,
        scaling_factor: 0.3611,
        shift_factor: 0.1159,
        ..NONE
    },
    // Efficient-Large-Model/Sana; the latents of TAESANA.
    Preset { name: "sana", aliases: &[], channels: 32, scaling_factor: 0.41407, ..NONE },
];

const NONE: Preset =
    Preset { name: "", aliases: &[], channels: 0, scaling_factor: 1.0, shift_factor: 0.0, statistics: None };

impl Preset {
    /// The preset of this name or alias.
    pub fn by_name(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name || preset.aliases.contains(&name))
    }

    /// The scaling itself.
    pub fn scaling(&self) -> Scaling {
        let Preset { scaling_factor, shift_factor, .. } = *self;
        match self.statistics {
            Some((mean, std)) => Scaling::PerChannel { mean: mean.into(), std: std.into(), scaling_factor },
            None => Scaling::Affine { scaling_factor, shift_factor },
        }
    }
}

/// The scalings of all presets, for those who look for one that fits.
pub fn known() -> Vec<KnownScaling> {
    let known = |preset: &Preset| KnownScaling {
        name: preset.name.to_owned(),
        channels: preset.channels,
        scaling: preset.scaling(),
    };
    PRESETS.iter().map(known).collect()
}

/// A scaling that a person chose: a preset's name, or `FACTOR[,SHIFT]`.
#[derive(Clone, Debug, PartialEq)]
pub enum ScalingChoice {
    /// A published family's.
    Preset(&'static Preset),
    /// Numbers.
    Value(Scaling),
}

/// A text that is no scaling.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("`{found}` is no scaling, expected {expected}")]
pub struct ScalingChoiceError {
    found: String,
    expected: String,
}

impl ScalingChoice {
    /// Channels of latents that it is for; `None` for any.
    pub fn channels(&self) -> Option<usize> {
        match self {
            ScalingChoice::Preset(preset) => Some(preset.channels),
            ScalingChoice::Value(_) => None,
        }
    }

    /// The numbers.
    pub fn scaling(&self) -> Scaling {
        match self {
            ScalingChoice::Preset(preset) => preset.scaling(),
            ScalingChoice::Value(scaling) => scaling.clone(),
        }
    }
}

impl FromStr for ScalingChoice {
    type Err = ScalingChoiceError;

    fn from_str(text: &str) -> Result<Self, ScalingChoiceError> {
        if let Some(preset) = Preset::by_name(&text.to_ascii_lowercase()) {
            return Ok(ScalingChoice::Preset(preset));
        }
        let (factor, shift) = text.split_once(',').unwrap_or((text, "0"));
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        match (number(factor), number(shift)) {
            (Some(scaling_factor), Some(shift_factor)) if scaling_factor > 0.0 => {
                Ok(ScalingChoice::Value(Scaling::Affine { scaling_factor, shift_factor }))
            }
            _ => Err(ScalingChoiceError { found: text.into(), expected: choices(None) }),
        }
    }
}

/// The choices that fit a number of latent channels, for messages.
pub(crate) fn choices(channels: Option<usize>) -> String {
    let fitting = PRESETS.iter().filter(|preset| channels.is_none_or(|channels| preset.channels == channels));
    let names = fitting.map(|preset| match preset.shift_factor {
        0.0 => format!("{} ({})", preset.name, preset.scaling_factor),
        shift => format!("{} ({},{shift})", preset.name, preset.scaling_factor),
    });
    names.chain(["FACTOR[,SHIFT]".into()]).collect::<Vec<_>>().join(", ")
}

/// What the scaling was learned from, strongest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "evidence", rename_all = "snake_case")]
pub enum ScalingSource {
    /// The caller said so.
    Given,
    /// The checkpoint's own statistics (FLUX.2's `bn.running_mean` and `bn.running_var`).
    Tensors,
    /// A `config.json` with a `scaling_factor`.
    Config,
    /// A `config.json` without one, for which diffusers takes 0.18215.
    ConfigDefault,
    /// The file is a published one; its name.
    Sha256(String),
    /// A tensor of the rest of a whole checkpoint; its name.
    SiblingTensor(String),
    /// A safetensors metadata entry; key and value.
    Metadata(String),
    /// The file's name, which anybody can change.
    FileName(String),
    /// Nothing: a tiny VAE takes its parent's scaled latents as they are.
    Unknown,
}

impl std::fmt::Display for ScalingSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ScalingSource::Given => f.write_str("given"),
            ScalingSource::Tensors => f.write_str("the checkpoint's bn.running_mean and bn.running_var"),
            ScalingSource::Config => f.write_str("config.json"),
            ScalingSource::ConfigDefault => f.write_str("config.json without scaling_factor, diffusers' default"),
            ScalingSource::Sha256(file) => write!(f, "sha256 of {file}"),
            ScalingSource::SiblingTensor(name) => write!(f, "tensor `{name}` of the whole checkpoint"),
            ScalingSource::Metadata(entry) => write!(f, "metadata {entry}"),
            ScalingSource::FileName(name) => write!(f, "file name {name}"),
            ScalingSource::Unknown => f.write_str("unknown"),
        }
    }
}

/// What is known of a file besides its VAE's tensors.
pub(crate) struct Evidence<'a> {
    pub(crate) file: &'a str,
    pub(crate) sha256: Option<&'a str>,
    pub(crate) names: Vec<&'a str>,
    pub(crate) metadata: &'a BTreeMap<String, String>,
    /// Presets for other channel counts are passed over.
    pub(crate) channels: usize,
    /// A tiny VAE is named after its parent in another way.
    pub(crate) tiny: bool,
}

impl Evidence<'_> {
    /// The strongest evidence there is.
    pub(crate) fn scaling(&self) -> Option<(Scaling, ScalingSource)> {
        self.hash().or_else(|| self.sibling()).or_else(|| self.metadata()).or_else(|| self.file_name())
    }

    fn fitting(&self, preset: &str, source: ScalingSource) -> Option<(Scaling, ScalingSource)> {
        let preset = Preset::by_name(preset).filter(|preset| preset.channels == self.channels)?;
        Some((preset.scaling(), source))
    }

    fn hash(&self) -> Option<(Scaling, ScalingSource)> {
        let sha256 = self.sha256?.to_ascii_lowercase();
        let (_, file, preset) = KNOWN_FILES.iter().find(|(hash, ..)| *hash == sha256)?;
        self.fitting(preset, ScalingSource::Sha256((*file).into()))
    }

    fn sibling(&self) -> Option<(Scaling, ScalingSource)> {
        SIBLINGS.iter().find_map(|(sibling, preset)| {
            let found = self.names.iter().find(|name| {
                let name = name.strip_prefix("model.diffusion_model.").unwrap_or(name);
                if sibling.ends_with('.') { name.starts_with(sibling) } else { name == *sibling }
            })?;
            self.fitting(preset, ScalingSource::SiblingTensor((*found).into()))
        })
    }

    fn metadata(&self) -> Option<(Scaling, ScalingSource)> {
        ["modelspec.architecture", "ss_base_model_version"].iter().find_map(|key| {
            let value = self.metadata.get(*key)?;
            let lower = value.to_ascii_lowercase();
            let (_, preset) = ARCHITECTURES.iter().find(|(start, _)| lower.starts_with(start))?;
            self.fitting(preset, ScalingSource::Metadata(format!("{key} = {value}")))
        })
    }

    fn file_name(&self) -> Option<(Scaling, ScalingSource)> {
        let name = self.file.to_ascii_lowercase();
        let source = || ScalingSource::FileName(self.file.into());
        if self.tiny {
            let stem = name.split('.').next()?;
            let stem = stem.trim_end_matches("_encoder").trim_end_matches("_decoder");
            let (_, preset) = TINY_NAMES.iter().find(|(tiny, _)| *tiny == stem)?;
            return self.fitting(preset, source());
        }
        let matches = |part: &str| if part.contains('.') { name == part } else { name.contains(part) };
        FILE_NAMES.iter().filter(|(part, _)| matches(part)).find_map(|(_, preset)| self.fitting(preset, source()))
    }
}

/// Tensors of the rest of a whole checkpoint (they may carry `model.diffusion_model.`); a name that ends in a dot stands for
/// all that start with it. Playground comes first: it is an SDXL otherwise.
const SIBLINGS: &[(&str, &str)] = &[
    ("edm_mean", "playground"),
    ("conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias", "sdxl"),
    ("conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias", "sdxl"),
    ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "sd3"),
    ("double_blocks.0.img_attn.norm.key_norm.scale", "flux1"),
    ("cond_stage_model.transformer.text_model.", "sd1"),
    ("cond_stage_model.model.transformer.", "sd1"),
];

/// Starts of `modelspec.architecture` (Stability AI's model metadata standard) and kohya's `ss_base_model_version`.
const ARCHITECTURES: &[(&str, &str)] = &[
    ("stable-diffusion-xl", "sdxl"),
    ("sdxl", "sdxl"),
    ("stable-diffusion-v3", "sd3"),
    ("stable-diffusion-3", "sd3"),
    ("sd3", "sd3"),
    ("stable-diffusion-v1", "sd1"),
    ("stable-diffusion-v2", "sd1"),
    ("sd_1", "sd1"),
    ("sd_2", "sd1"),
    ("sd_v1", "sd1"),
    ("sd_v2", "sd1"),
    ("flux-1", "flux1"),
    ("flux.1", "flux1"),
    ("flux1", "flux1"),
];

/// Parts of file names, tried in order; one with an extension is a whole name.
const FILE_NAMES: &[(&str, &str)] = &[
    ("playground", "playground"),
    ("x4-upscaler", "x4-upscaler"),
    ("xl", "sdxl"),
    ("flux", "flux1"),
    ("ae.safetensors", "flux1"),
    ("sd3", "sd3"),
    ("anime", "sd1"),
    ("orangemix", "sd1"),
    ("840000", "sd1"),
    ("560000", "sd1"),
    ("vae-ft-", "sd1"),
    ("sd-vae-ft", "sd1"),
    ("v1-5", "sd1"),
    ("sd-v1", "sd1"),
    ("sd15", "sd1"),
    ("sd2", "sd1"),
    ("v2-1", "sd1"),
];

/// Names of madebyollin's files, without `_encoder` and `_decoder`, and the parent whose latents they take.
const TINY_NAMES: &[(&str, &str)] =
    &[("taesd", "sd1"), ("taesdxl", "sdxl"), ("taesd3", "sd3"), ("taef1", "flux1"), ("taesana", "sana")];

/// sha256, what it is, preset. Source: the files' pages at their publishers.
const KNOWN_FILES: &[(&str, &str, &str)] = &[
    (
        "735e4c3a447a3255760d7f86845f09f937809baa529c17370d83e4c3758f3c75",
        "vae-ft-mse-840000-ema-pruned.safetensors",
        "sd1",
    ),
    ("c6a580b13a5bc05a5e16e4dbb80608ff2ec251a162311590c1f34c013d7f3dab", "vae-ft-mse-840000-ema-pruned.ckpt", "sd1"),
    (
        "95f26a5ab04779d5467d1fcecaf93160ffa523afe399b835b3e1bb77ff2d937a",
        "vae-ft-ema-560000-ema-pruned.safetensors",
        "sd1",
    ),
    ("0b204ad0cae549e0a7e298d803d57e36363760dec71c63109c1da3e1147ec520", "vae-ft-ema-560000-ema-pruned.ckpt", "sd1"),
    ("a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815", "sd-vae-ft-mse", "sd1"),
    ("32db726da04f06c1b6b14c0043ce115cc87a501482945c5add89a40d838fcb46", "sd-vae-ft-ema", "sd1"),
    ("a2b5134f4dbc140d9c11f11cba3233099e00af40f262f136c691fb7d38d2194c", "stable-diffusion-v1-5 vae", "sd1"),
    ("4fbcf0ebe55a0984f5a5e00d8c4521d52359af7229bb4d81890039d2aa16dd7c", "stable-diffusion-v1-5 vae, fp16", "sd1"),
    ("2f11c4a99ddc28d0ad8bce0acc38bed310b45d38a3fe4bb367dc30f3ef1a4868", "kl-f8-anime.ckpt", "sd1"),
    ("df3c506e51b7ee1d7b5a6a2bb7142d47d488743c96aa778afb0f53a2cdc2d38d", "kl-f8-anime2.ckpt", "sd1"),
    ("f921fb3f29891d2a77a6571e56b8b5052420d2884129517a333c60b1b4816cdf", "animevae.pt", "sd1"),
    ("63aeecb90ff7bc1c115395962d3e803571385b61938377bc7089b36e81e92e2e", "sdxl_vae.safetensors", "sdxl"),
    ("1598f3d24932bcfe6634e8b618ea1e30ab1d57f5aad13a6d2de446d2199f2341", "sdxl-vae", "sdxl"),
    (
        "235745af8d86bf4a4c1b5b4f529868b37019a10f7c0b2e79ad0abca3a22bc6e1",
        "sdxl-vae-fp16-fix sdxl_vae.safetensors",
        "sdxl",
    ),
    ("1b909373b28f2137098b0fd9dbc6f97f8410854f31f84ddc9fa04b077b0ace2c", "sdxl-vae-fp16-fix", "sdxl"),
    ("8f53304a79335b55e13ec50f63e5157fee4deb2f30d5fae0654e2b2653c109dc", "stable-diffusion-3.5 vae", "sd3"),
    ("afc8e28272cd15db3919bacdb6918ce9c1ed22e96cb12c4d5ed0fba823529e38", "FLUX.1 ae.safetensors", "flux1"),
    ("f5b59a26851551b67ae1fe58d32e76486e1e812def4696a4bea97f16604d40a3", "FLUX.1 vae", "flux1"),
    ("db169d69145ec4ff064e49d99c95fa05d3eb04ee453de35824a6d0f325513549", "taesd", "sd1"),
    ("ff4824aca94dd6111e0340fa749347fb74101060d9712cb5ef1ca8f1cf17502f", "taesdxl", "sdxl"),
    ("6f79c1397cb9ce1dac363722dbe70147aee0ccca75e28338f8482fe515891399", "taesd3", "sd3"),
    ("47a6c2bff850da04b267cab70fe3553fef57255eb9a8e76852baa0a87850e54d", "taef1", "flux1"),
    ("858f4e4cc293f88efaf58107f4154b960b9ced0cb5d9c050dad11f926b618c1f", "taesana_encoder.pth", "sana"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, channels: usize, expected: Option<f64>) {
        let evidence =
            Evidence { file, sha256: None, names: Vec::new(), metadata: &BTreeMap::new(), channels, tiny: false };
        let found = evidence.scaling().map(|(scaling, _)| match scaling {
            Scaling::Affine { scaling_factor, .. } => scaling_factor,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected, "{file}");
    }

    #[test]
    fn file_names() {
        check("sdxl_vae.safetensors", 4, Some(0.13025));
        check("vae-ft-mse-840000-ema-pruned.ckpt", 4, Some(0.18215));
        check("ae.safetensors", 16, Some(0.3611));
        check("ae.safetensors", 4, None);
        check("vae.safetensors", 16, None);
        check("sd3_vae.safetensors", 16, Some(1.5305));
        check("model.safetensors", 4, None);
    }

    #[test]
    fn metadata_and_siblings_outweigh_the_name() {
        let metadata = BTreeMap::from([("modelspec.architecture".to_owned(), "stable-diffusion-v1/vae".to_owned())]);
        let mut evidence = Evidence {
            file: "xl.safetensors",
            sha256: None,
            names: vec![],
            metadata: &metadata,
            channels: 4,
            tiny: false,
        };
        assert_eq!(evidence.scaling().unwrap().0, Scaling::factor(0.18215));
        evidence.names = vec!["edm_mean"];
        let (scaling, source) = evidence.scaling().unwrap();
        assert_eq!((scaling, source), (PRESETS[2].scaling(), ScalingSource::SiblingTensor("edm_mean".into())));
        evidence.sha256 = Some("63AEECB90FF7BC1C115395962D3E803571385B61938377BC7089B36E81E92E2E");
        assert_eq!(evidence.scaling().unwrap().1, ScalingSource::Sha256("sdxl_vae.safetensors".into()));
    }

    #[test]
    fn choices_are_parsed() {
        let value =
            |scaling_factor, shift_factor| ScalingChoice::Value(Scaling::Affine { scaling_factor, shift_factor });
        assert_eq!("SDXL".parse(), Ok(ScalingChoice::Preset(&PRESETS[1])));
        assert_eq!("0.5".parse(), Ok(value(0.5, 0.0)));
        assert_eq!("0.3611, 0.1159".parse(), Ok(value(0.3611, 0.1159)));
        let error = "-1".parse::<ScalingChoice>().unwrap_err().to_string();
        assert!(error.starts_with("`-1` is no scaling, expected sd1 (0.18215), sdxl (0.13025)"), "{error}");
    }
}
