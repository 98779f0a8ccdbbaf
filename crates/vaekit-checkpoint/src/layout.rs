//! The names that tensors have in the wild, and the way from them to diffusers'.
//!
//! Sources: diffusers' `loaders/single_file_utils.py`, `models/modeling_utils.py` and `scripts/convert_flux2_to_diffusers.py`;
//! madebyollin/taesd's `taesd.py`; ComfyUI's `comfy/taesd/taesd.py`.

use crate::tensor::TensorInfo;

/// Patterns and what takes their place. `{n}` and `{m}` are numbers, `{last-n}` counts from the other end, `{n-1}` is one
/// less. A pattern that starts with a dot may stand anywhere in a name, any other only at its start.
type Renames = &'static [(&'static str, &'static str)];

/// A way to name a VAE's tensors.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// For people.
    pub(crate) name: &'static str,
    /// Applied in order, each to the result of those before it.
    renames: &'static [Renames],
}

/// Old attention names; diffusers renames them on load.
const OLD_ATTENTION: Renames = &[
    (".attentions.0.query.", ".attentions.0.to_q."),
    (".attentions.0.key.", ".attentions.0.to_k."),
    (".attentions.0.value.", ".attentions.0.to_v."),
    (".attentions.0.proj_attn.", ".attentions.0.to_out.0."),
];

const CROSS_OVER: Renames = &[
    ("encoder.down.{n}.block.{m}.", "encoder.down_blocks.{n}.resnets.{m}."),
    ("encoder.down.{n}.downsample.conv.", "encoder.down_blocks.{n}.downsamplers.0.conv."),
    ("decoder.up.{n}.block.{m}.", "decoder.up_blocks.{last-n}.resnets.{m}."),
    ("decoder.up.{n}.upsample.conv.", "decoder.up_blocks.{last-n}.upsamplers.0.conv."),
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.q.", ".mid_block.attentions.0.to_q."),
    (".mid.attn_1.k.", ".mid_block.attentions.0.to_k."),
    (".mid.attn_1.v.", ".mid_block.attentions.0.to_v."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".norm_out.", ".conv_norm_out."),
    (".nin_shortcut.", ".conv_shortcut."),
];

const QUANT_CONVS_OUTSIDE: Renames =
    &[("encoder.quant_conv.", "quant_conv."), ("decoder.post_quant_conv.", "post_quant_conv.")];

const DIFFUSERS: Layout = Layout { name: "diffusers", renames: &[] };
const DIFFUSERS_OLD: Layout = Layout { name: "diffusers (old attention names)", renames: &[OLD_ATTENTION] };
const LDM: Layout = Layout { name: "ldm", renames: &[CROSS_OVER] };
const BFL: Layout = Layout { name: "bfl (FLUX.2)", renames: &[QUANT_CONVS_OUTSIDE, CROSS_OVER] };
const TINY: Layout = Layout { name: "diffusers tiny", renames: &[] };
const TINY_RAW_DECODER: Layout = Layout {
    name: "diffusers tiny (decoder numbered as in taesd)",
    renames: &[&[("decoder.layers.{n}.", "decoder.layers.{n-1}.")]],
};
const TAESD_ENCODER: Layout = Layout { name: "taesd encoder", renames: &[&[("{n}.", "encoder.layers.{n}.")]] };
const TAESD_DECODER: Layout = Layout { name: "taesd decoder", renames: &[&[("{n}.", "decoder.layers.{n-1}.")]] };
const TAESD: Layout = Layout {
    name: "taesd",
    renames: &[&[("encoder.{n}.", "encoder.layers.{n}."), ("decoder.{n}.", "decoder.layers.{n-1}.")]],
};
const COMFY_TAESD: Layout = Layout {
    name: "comfyui taesd",
    renames: &[&[("taesd_encoder.{n}.", "encoder.layers.{n}."), ("taesd_decoder.{n}.", "decoder.layers.{n-1}.")]],
};

/// What may stand before every name of a VAE, in the order tried. `first_stage_model.` and `vae.` are those that diffusers
/// strips; `module.` is left by data-parallel training, `model.` by Lightning modules.
const PREFIXES: &[&str] = &[
    "",
    "first_stage_model.",
    "vae.",
    "module.",
    "model.",
    "autoencoder.",
    "module.first_stage_model.",
    "model.first_stage_model.",
    "model.vae.",
];

/// VAEs, or what stands where one would, that vaekit does not run. A pattern that starts with a dot is looked for in names
/// that start with `encoder.` or `decoder.`.
const UNSUPPORTED: Renames = &[
    ("decoder_unet.", "a consistency decoder (ConsistencyDecoderVAE), which is a diffusion model of its own"),
    ("vquantizer.codebook.", "Stable Cascade's stage A (PaellaVQModel)"),
    ("quantize.embedding.", "a VQ model (VQModel)"),
    ("pixel_space_vae", "a pixel-space model, which has no VAE"),
    ("decoder.middle.0.residual.", "a video VAE (Wan or Qwen-Image)"),
    ("decoder.{n}.conv.weight", "a tiny video autoencoder (TAEHV)"),
    (".mix_factor", "Stable Video Diffusion's temporal decoder (AutoencoderKLTemporalDecoder)"),
    (".time_stack.", "Stable Video Diffusion's temporal decoder (AutoencoderKLTemporalDecoder)"),
    (".temporal_res_block.", "Stable Video Diffusion's temporal decoder (AutoencoderKLTemporalDecoder)"),
    ("encoder.project_in.", "a deep compression autoencoder (DC-AE, AutoencoderDC)"),
    ("encoder.stages.", "a deep compression autoencoder (DC-AE, AutoencoderDC)"),
    ("decoder.stages.", "a deep compression autoencoder (DC-AE, AutoencoderDC)"),
    (".conv_inverted.", "a deep compression autoencoder (DC-AE, AutoencoderDC)"),
    (".gamma", "a video VAE (such as Wan's or Qwen-Image's)"),
    (".weight_v", "an audio VAE"),
    ("pretransform.", "an audio VAE (Stable Audio)"),
];

/// Checkpoints without a VAE.
const NO_VAE: Renames = &[
    (".lora_up.", "a LoRA"),
    (".lora_down.", "a LoRA"),
    (".lora_A.", "a LoRA"),
    ("lora_", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("model.diffusion_model.", "a diffusion model without its VAE"),
    ("diffusion_model.", "a diffusion model without its VAE"),
    ("input_blocks.", "a UNet"),
    ("down_blocks.", "a UNet"),
    ("double_blocks.", "a diffusion transformer (FLUX)"),
    ("joint_blocks.", "a diffusion transformer (SD3)"),
    ("transformer_blocks.", "a diffusion transformer"),
    ("text_model.", "a text encoder"),
    ("cond_stage_model.", "a text encoder"),
    ("encoder.block.{n}.layer.", "a T5 text encoder"),
    ("model.layers.{n}.", "a language model"),
    ("string_to_param", "a textual inversion"),
    ("emb_params", "a textual inversion"),
    ("conv_first.", "an upscaler"),
];

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// A VAE, or a half of one.
    Vae { prefix: &'static str, layout: &'static Layout },
    /// A VAE of a family that vaekit does not run.
    Unsupported(&'static str),
    /// Something else.
    NoVae(&'static str),
    /// Nothing known.
    Unknown,
}

/// Tells by names and shapes what a file holds.
pub(crate) fn recognise(tensors: &[TensorInfo]) -> Verdict {
    for prefix in PREFIXES {
        let names = Names {
            tensors: tensors.iter().filter_map(|tensor| Some((tensor.name.strip_prefix(prefix)?, tensor))).collect(),
        };
        if let Some(family) = names.unsupported() {
            return Verdict::Unsupported(family);
        }
        if let Some(layout) = names.layout() {
            return Verdict::Vae { prefix, layout };
        }
    }
    let what = NO_VAE.iter().find(|(pattern, _)| tensors.iter().any(|tensor| matches(pattern, &tensor.name)));
    what.map_or(Verdict::Unknown, |(_, what)| Verdict::NoVae(what))
}

/// The tensors under one prefix, without it.
struct Names<'a> {
    tensors: Vec<(&'a str, &'a TensorInfo)>,
}

impl Names<'_> {
    fn any(&self, pattern: &str) -> bool {
        self.tensors.iter().any(|(name, _)| matches(pattern, name))
    }

    /// Whether the convolution is there: a weight of four dimensions.
    fn conv(&self, name: &str) -> bool {
        self.tensors.iter().any(|(found, tensor)| *found == name && tensor.shape.len() == 4)
    }

    fn unsupported(&self) -> Option<&'static str> {
        let in_halves = |test: &dyn Fn(&str, &TensorInfo) -> bool| {
            self.tensors.iter().any(|(name, tensor)| {
                (name.starts_with("encoder.") || name.starts_with("decoder.")) && test(name, tensor)
            })
        };
        let found = UNSUPPORTED.iter().find(|(pattern, _)| {
            if pattern.starts_with('.') { in_halves(&|name, _| matches(pattern, name)) } else { self.any(pattern) }
        });
        match found {
            Some((_, family)) => Some(family),
            None if in_halves(&|_, tensor| tensor.shape.len() == 5) => {
                Some("a video VAE (its convolutions have three axes)")
            }
            None => None,
        }
    }

    fn layout(&self) -> Option<&'static Layout> {
        let halves = |encoder: &str, decoder: &str| self.any(encoder) || self.any(decoder);
        let found = if self.conv("0.weight") {
            &TAESD_ENCODER
        } else if self.conv("1.weight") {
            &TAESD_DECODER
        } else if halves("taesd_encoder.{n}.", "taesd_decoder.{n}.") {
            &COMFY_TAESD
        } else if self.conv("encoder.0.weight") || self.conv("decoder.1.weight") {
            &TAESD
        } else if self.conv("decoder.layers.1.weight") {
            &TINY_RAW_DECODER
        } else if self.conv("encoder.layers.0.weight") || self.conv("decoder.layers.0.weight") {
            &TINY
        } else if halves("encoder.down_blocks.{n}.resnets.", "decoder.up_blocks.{n}.resnets.") {
            if self.any(".attentions.0.query.") { &DIFFUSERS_OLD } else { &DIFFUSERS }
        } else if halves("encoder.quant_conv.", "decoder.post_quant_conv.") {
            &BFL
        } else if halves("encoder.down.{n}.block.", "decoder.up.{n}.block.") {
            &LDM
        } else {
            return None;
        };
        Some(found)
    }
}

impl Layout {
    /// Whether it names the numbered layers of an AutoencoderTiny.
    pub(crate) fn is_tiny(&self) -> bool {
        ![&DIFFUSERS, &DIFFUSERS_OLD, &LDM, &BFL].contains(&self)
    }

    /// The canonical name of a tensor, whose prefix is stripped. `last_up` is the number of the last `decoder.up` level.
    pub(crate) fn canonical(&self, name: &str, last_up: usize) -> String {
        let mut name = name.to_owned();
        for (pattern, template) in self.renames.iter().copied().flatten() {
            if let Some((before, numbers, after)) = find(pattern, &name)
                && let Some(renamed) = fill(template, &numbers, last_up)
            {
                name = format!("{before}{renamed}{after}");
            }
        }
        name
    }
}

/// The number of the last `decoder.up` level among names without their prefix.
pub(crate) fn last_up<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.filter_map(|name| find("decoder.up.{n}.", name)?.1.first().copied()).max().unwrap_or(0)
}

fn matches(pattern: &str, name: &str) -> bool {
    find(pattern, name).is_some()
}

/// What stands before the pattern, the numbers in it, and what stands after.
fn find<'a>(pattern: &str, name: &'a str) -> Option<(&'a str, Vec<usize>, &'a str)> {
    if !pattern.starts_with('.') {
        let (numbers, after) = match_start(pattern, name)?;
        return Some(("", numbers, after));
    }
    name.match_indices('.').find_map(|(at, _)| {
        let (numbers, after) = match_start(pattern, &name[at..])?;
        Some((&name[..at], numbers, after))
    })
}

fn match_start<'a>(pattern: &str, name: &'a str) -> Option<(Vec<usize>, &'a str)> {
    let (mut pattern, mut name, mut numbers) = (pattern, name, Vec::new());
    while let Some((literal, rest)) = pattern.split_once('{') {
        name = name.strip_prefix(literal)?;
        let digits = name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        numbers.push(name[..digits].parse().ok()?);
        name = &name[digits..];
        pattern = rest.split_once('}')?.1;
    }
    Some((numbers, name.strip_prefix(pattern)?))
}

/// `None` if a number would fall below zero, so that the name stays what it is.
fn fill(template: &str, numbers: &[usize], last: usize) -> Option<String> {
    let mut filled = template.to_owned();
    for (letter, &number) in ["n", "m"].iter().zip(numbers) {
        if filled.contains("{last-n}") && *letter == "n" {
            filled = filled.replace("{last-n}", &last.checked_sub(number)?.to_string());
        }
        if filled.contains("{n-1}") && *letter == "n" {
            filled = filled.replace("{n-1}", &number.checked_sub(1)?.to_string());
        }
        filled = filled.replace(&format!("{{{letter}}}"), &number.to_string());
    }
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(layout: &Layout, name: &str, expected: &str) {
        assert_eq!(layout.canonical(name, 3), expected);
    }

    #[test]
    fn ldm_names() {
        check(
            &LDM,
            "encoder.down.1.block.0.nin_shortcut.weight",
            "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
        );
        check(&LDM, "encoder.down.0.downsample.conv.bias", "encoder.down_blocks.0.downsamplers.0.conv.bias");
        check(&LDM, "decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight");
        check(&LDM, "decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight");
        check(&LDM, "decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight");
        check(&LDM, "decoder.mid.block_2.conv1.bias", "decoder.mid_block.resnets.1.conv1.bias");
        check(&LDM, "encoder.norm_out.bias", "encoder.conv_norm_out.bias");
        check(&LDM, "decoder.up.9.block.0.norm1.weight", "decoder.up.9.block.0.norm1.weight");
        check(&BFL, "decoder.post_quant_conv.weight", "post_quant_conv.weight");
        check(&BFL, "encoder.mid.attn_1.norm.bias", "encoder.mid_block.attentions.0.group_norm.bias");
    }

    #[test]
    fn other_names() {
        check(
            &DIFFUSERS_OLD,
            "encoder.mid_block.attentions.0.proj_attn.weight",
            "encoder.mid_block.attentions.0.to_out.0.weight",
        );
        check(&TAESD_ENCODER, "14.weight", "encoder.layers.14.weight");
        check(&TAESD_DECODER, "3.pool.1.bias", "decoder.layers.2.pool.1.bias");
        check(&COMFY_TAESD, "taesd_decoder.18.conv.4.bias", "decoder.layers.17.conv.4.bias");
        check(&TAESD, "decoder.1.weight", "decoder.layers.0.weight");
        check(&TINY_RAW_DECODER, "decoder.layers.1.weight", "decoder.layers.0.weight");
        check(&TINY_RAW_DECODER, "encoder.layers.1.conv.0.weight", "encoder.layers.1.conv.0.weight");
    }
}
