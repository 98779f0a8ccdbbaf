//! Layouts and families that the fixtures lack, written from configs.

use serde_json::json;
use vaekit::{Domain, Half, KlClass, Network, Scaling, VaeConfig, Weights, from_config_json};
use vaekit_checkpoint::{CanonicalVae, Options, ScalingSource, Source};

use crate::write::{Tensors, open, rename, safetensors, tensors, torch_zip};

fn config(json: serde_json::Value) -> VaeConfig {
    from_config_json(&json).unwrap()
}

fn kl() -> VaeConfig {
    config(json!({ "_class_name": "AutoencoderKL", "block_out_channels": [32, 64, 64], "layers_per_block": 2 }))
}

/// LDM's name of a canonical one, for three levels; an inverse of the reader's table, written by hand.
fn ldm(name: &str) -> String {
    let mut name = name.to_owned();
    for (level, reversed) in [(0, 2), (1, 1), (2, 0)] {
        for (from, to) in [
            (format!("encoder.down_blocks.{level}.resnets."), format!("encoder.down.{level}.block.")),
            (format!("encoder.down_blocks.{level}.downsamplers.0."), format!("encoder.down.{level}.downsample.")),
            (format!("decoder.up_blocks.{level}.resnets."), format!("decoder.up.{reversed}.block.")),
            (format!("decoder.up_blocks.{level}.upsamplers.0."), format!("decoder.up.{reversed}.upsample.")),
        ] {
            name = name.replace(&from, &to);
        }
    }
    for (from, to) in [
        ("mid_block.resnets.0", "mid.block_1"),
        ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0.group_norm", "mid.attn_1.norm"),
        ("mid_block.attentions.0.to_out.0", "mid.attn_1.proj_out"),
        ("mid_block.attentions.0.to_", "mid.attn_1."),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
    ] {
        name = name.replace(from, to);
    }
    name
}

fn options() -> Options {
    Options { scaling: Some("0.5".parse().unwrap()), ..Options::default() }
}

fn check(file: Tensors, expected: &VaeConfig) -> CanonicalVae {
    let vae = CanonicalVae::open(vec![Source::new("file.safetensors", safetensors(&file, &[]))], &options()).unwrap();
    assert_eq!(vae.config().network, expected.network);
    assert_eq!(vae.config().latents.downsample_factor, expected.latents.downsample_factor);
    for (name, _, values) in tensors(expected) {
        assert_eq!(vae.read_f32(&name).unwrap(), values, "{name}");
    }
    vae
}

fn reshape(file: Tensors, part: &str, extra: usize) -> Tensors {
    let squeeze = |(name, mut shape, values): (String, Vec<usize>, Vec<f32>)| {
        if name.contains(part) && shape.len() == 2 {
            shape.extend(vec![1; extra]);
        }
        (name, shape, values)
    };
    file.into_iter().map(squeeze).collect()
}

#[test]
fn prefixes() {
    for prefix in ["", "first_stage_model.", "vae.", "module.", "model.first_stage_model."] {
        let with_prefix = |name: &str| Some(format!("{prefix}{}", ldm(name)));
        let vae = check(rename(tensors(&kl()), with_prefix), &kl());
        assert_eq!((&*vae.report().files[0].prefix, &*vae.report().files[0].layout), (prefix, "ldm"));
    }
    let vae = check(rename(tensors(&kl()), |name| Some(format!("vae.{name}"))), &kl());
    assert_eq!(vae.report().files[0].layout, "diffusers");
}

#[test]
fn attention_names_and_dimensions() {
    for extra in [0, 1, 2] {
        check(reshape(tensors(&kl()), ".attentions.", extra), &kl());
        let names = |name: &str| Some(ldm(name));
        check(reshape(rename(tensors(&kl()), names), ".attn_1.", extra), &kl());
        let old = |name: &str| {
            let name = name.replace(".to_q.", ".query.").replace(".to_k.", ".key.").replace(".to_v.", ".value.");
            Some(name.replace(".to_out.0.", ".proj_attn."))
        };
        let vae = check(reshape(rename(tensors(&kl()), old), ".attentions.", extra), &kl());
        assert_eq!(vae.report().files[0].layout, "diffusers (old attention names)");
    }
}

#[test]
fn torch_files_of_both_packings() {
    let hash = check(tensors(&kl()), &kl()).weights_sha256().unwrap();
    for deflate in [false, true] {
        let bytes = torch_zip(&rename(tensors(&kl()), |name| Some(ldm(name))), deflate);
        let vae = CanonicalVae::open(vec![Source::new("file.ckpt", bytes)], &options()).unwrap();
        assert_eq!(vae.config().network, kl().network);
        assert_eq!(vae.weights_sha256().unwrap(), hash);
    }
}

#[test]
fn halves() {
    let is_decoders = |name: &str| name.starts_with("decoder.") || name.starts_with("post_quant_conv.");
    let decoder = rename(tensors(&kl()), |name| is_decoders(name).then(|| ldm(name)));
    let encoder = rename(tensors(&kl()), |name| (!is_decoders(name)).then(|| name.to_owned()));
    let source = |name: &str, file| Source::new(name, safetensors(file, &[]));
    let vae = CanonicalVae::open(vec![source("d.safetensors", &decoder)], &options()).unwrap();
    assert!(vae.config().has(Half::Decoder) && !vae.config().has(Half::Encoder));
    assert_eq!(vae.report().family, "AutoencoderKL, 4 channels, f4, decoder only");
    let mut with_quant_conv = decoder.clone();
    with_quant_conv.push(("quant_conv.weight".into(), vec![8, 8, 1, 1], vec![0.0; 64]));
    let vae = CanonicalVae::open(vec![source("d.safetensors", &with_quant_conv)], &options()).unwrap();
    assert_eq!(vae.report().ignored[0].example, "quant_conv.weight");
    let both = vec![source("e.safetensors", &encoder), source("d.safetensors", &decoder)];
    assert_eq!(CanonicalVae::open(both, &options()).unwrap().config().network, kl().network);
}

#[test]
fn without_quant_convs_and_attention() {
    let plain = config(json!({
        "_class_name": "AutoencoderKL", "block_out_channels": [32], "mid_block_add_attention": false,
        "use_quant_conv": false, "use_post_quant_conv": false, "latent_channels": 7
    }));
    check(tensors(&plain), &plain);
}

#[test]
fn flux2_in_both_layouts() {
    for decoder in [json!(null), json!([32, 96, 96])] {
        let flux2 = config(json!({
            "_class_name": "AutoencoderKLFlux2", "block_out_channels": [32, 64, 64], "layers_per_block": 2,
            "latent_channels": 8, "decoder_block_out_channels": decoder
        }));
        let mut diffusers = tensors(&flux2);
        diffusers.push(("bn.running_mean".into(), vec![32], (0..32).map(|i| i as f32).collect()));
        diffusers.push(("bn.running_var".into(), vec![32], vec![0.25; 32]));
        diffusers.push(("bn.num_batches_tracked".into(), vec![], vec![1.0]));
        let bfl = rename(diffusers.clone(), |name| {
            Some(match name.strip_prefix("quant_conv.") {
                Some(rest) => format!("encoder.quant_conv.{rest}"),
                None => ldm(name).replace("post_quant_conv.", "decoder.post_quant_conv."),
            })
        });
        for (file, layout) in [(diffusers, "diffusers"), (bfl, "bfl (FLUX.2)")] {
            check(file.clone(), &flux2);
            let vae = open("file.safetensors", safetensors(&file, &[])).unwrap();
            assert_eq!(vae.report().files[0].layout, layout);
            assert_eq!(vae.report().scaling_source, ScalingSource::Tensors);
            let Some(Scaling::Packed { mean, std }) = &vae.config().latents.scaling else { panic!() };
            assert!(vae.config().latents.packed);
            assert_eq!((mean[31], mean.len()), (31.0, 32));
            assert!((std[0] - 0.2501f64.sqrt()).abs() < 1e-12);
        }
    }
}

#[test]
fn asymmetric() {
    let asymmetric = config(json!({
        "_class_name": "AsymmetricAutoencoderKL", "down_block_out_channels": [32, 64, 64], "layers_per_down_block": 2,
        "up_block_out_channels": [32, 96, 96], "layers_per_up_block": 3
    }));
    let mut file = tensors(&asymmetric);
    file.push(("decoder.condition_encoder.layers.0.weight".into(), vec![1], vec![0.0]));
    let vae = check(file, &asymmetric);
    assert!(matches!(&vae.config().network, Network::Kl(kl) if kl.kind == KlClass::AsymmetricAutoencoderKl));
    assert_eq!(vae.report().ignored[0].group, "decoder.condition_encoder.*");
    assert_eq!(vae.report().warnings, ["the decoder's inpainting inputs (decoder.condition_encoder) are left out"]);
}

/// taesd's own number of a canonical layer.
fn taesd(name: &str, encoder: &str, decoder: &str) -> String {
    match name.strip_prefix("encoder.layers.") {
        Some(rest) => format!("{encoder}{rest}"),
        None => {
            let (number, rest) = name.strip_prefix("decoder.layers.").unwrap().split_once('.').unwrap();
            format!("{decoder}{}.{rest}", number.parse::<usize>().unwrap() + 1)
        }
    }
}

#[test]
fn tiny_layouts() {
    let small = json!([16, 16, 16, 16]);
    let taef2 = config(json!({
        "_class_name": "AutoencoderTiny", "latent_channels": 32, "mid_pool": true, "patch_size": [2, 2],
        "encoder_block_out_channels": small, "decoder_block_out_channels": small
    }));
    let taesana = config(json!({
        "_class_name": "AutoencoderTiny", "latent_channels": 32, "encoder_strided_stem": 8,
        "encoder_block_out_channels": small, "decoder_block_out_channels": [32, 24, 16, 16, 16, 16],
        "num_decoder_blocks": [3, 3, 3, 3, 3, 1]
    }));
    for tiny in [&taef2, &taesana] {
        for (encoder, decoder, layout) in [
            ("encoder.", "decoder.", "taesd"),
            ("taesd_encoder.", "taesd_decoder.", "comfyui taesd"),
            ("encoder.layers.", "decoder.layers.", "diffusers tiny (decoder numbered as in taesd)"),
        ] {
            let vae = check(rename(tensors(tiny), |name| Some(taesd(name, encoder, decoder))), tiny);
            assert_eq!(vae.report().files[0].layout, layout);
        }
        let vae = check(tensors(tiny), tiny);
        assert_eq!(vae.report().files[0].layout, "diffusers tiny");
        assert_eq!((vae.config().latents.native, vae.config().latents.packed), (Domain::Scaled, tiny == &taef2));
        let half = |half: &str, name: &str| {
            let file = rename(tensors(tiny), |name| name.starts_with(half).then(|| taesd(name, "", "")));
            Source::new(name, safetensors(&file, &[]))
        };
        let halves = vec![half("decoder.", "d.safetensors"), half("encoder.", "e.safetensors")];
        let vae = CanonicalVae::open(halves, &Options::default()).unwrap();
        assert_eq!(vae.config().network, tiny.network);
    }
}

#[test]
fn scaling_from_metadata_and_name() {
    let file = tensors(&kl());
    let vae =
        open("file.safetensors", safetensors(&file, &[("modelspec.architecture", "stable-diffusion-xl-v1-base")]));
    let vae = vae.unwrap();
    assert_eq!(vae.config().latents.scaling, Some(Scaling::factor(0.13025)));
    assert_eq!(
        vae.report().scaling_source.to_string(),
        "metadata modelspec.architecture = stable-diffusion-xl-v1-base"
    );
    let vae = open("sdxl_vae.safetensors", safetensors(&file, &[])).unwrap();
    assert_eq!(vae.config().latents.scaling, Some(Scaling::factor(0.13025)));
    let warning = "the scaling was learned from the file name sdxl_vae.safetensors alone; --scaling overrides it";
    assert_eq!(vae.report().warnings, [warning]);
}

#[test]
fn configs_beside_the_file() {
    let groups = json!({ "_class_name": "AutoencoderKL", "block_out_channels": [16, 24], "norm_num_groups": 8 });
    let (vae, text) = (config(groups.clone()), groups.to_string());
    let source = Source::new("file.safetensors", safetensors(&tensors(&vae), &[]));
    let opened = CanonicalVae::open(vec![source.clone().with_config(&text)], &Options::default()).unwrap();
    assert_eq!(*opened.config(), vae);
    assert_eq!(opened.report().scaling_source, ScalingSource::ConfigDefault);
    let error = CanonicalVae::open(vec![source.clone()], &options()).unwrap_err().to_string();
    assert_eq!(
        error,
        "file.safetensors: 32 groups (norm_num_groups, the usual number) do not divide 16 channels; give its config.json with --config"
    );
    let given = Options { norm_num_groups: Some(8), ..options() };
    let opened = CanonicalVae::open(vec![source.clone().with_config("{\"a\": 1}")], &given).unwrap();
    assert!(opened.report().warnings[0].starts_with("config.json beside file.safetensors was passed over"));
    let other = CanonicalVae::open(vec![source.with_config("{\"_class_name\": \"AutoencoderDC\"}")], &options());
    assert!(other.unwrap_err().to_string().contains("`_class_name` is `AutoencoderDC`, expected AutoencoderKL"));
}

#[test]
fn contradictions_are_named() {
    let change = |name: &str, shape: &[usize]| {
        let mut file = tensors(&kl());
        let tensor = file.iter_mut().find(|tensor| tensor.0 == name).unwrap();
        (tensor.1, tensor.2) = (shape.into(), vec![0.0; shape.iter().product()]);
        CanonicalVae::open(vec![Source::new("f", safetensors(&file, &[]))], &options()).unwrap_err().to_string()
    };
    assert_eq!(
        change("post_quant_conv.weight", &[4, 16, 1, 1]),
        "tensor `post_quant_conv.weight` in f is [4, 16, 1, 1], expected [4, 4, 1, 1] for latent_channels = 4, \
         block_out_channels = [32, 64, 64]"
    );
    assert_eq!(
        change("decoder.conv_in.weight", &[64, 16, 3, 3]),
        "f: its encoder makes latents of 4 channels, its decoder takes 16 channels; they belong to different VAEs"
    );
    let mut file = tensors(&kl());
    file.push(("encoder.down_blocks.0.attentions.0.to_q.weight".into(), vec![32, 32], vec![0.0; 1024]));
    let error = CanonicalVae::open(vec![Source::new("f", safetensors(&file, &[]))], &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor `encoder.down_blocks.0.attentions.0.to_q.weight` in f belongs to no layer of an AutoencoderKL; \
         this network is of another kind"
    );
}

#[test]
fn other_families_are_named() {
    let check = |name: &str, shape: &[usize], expected: &str| {
        let file = vec![(name.to_owned(), shape.to_vec(), vec![0.0; shape.iter().product()])];
        let error = open("file.safetensors", safetensors(&file, &[])).unwrap_err().to_string();
        assert!(error.starts_with(&format!("file.safetensors holds {expected}")), "{error}");
    };
    check("decoder_unet.conv_in.weight", &[1], "a consistency decoder (ConsistencyDecoderVAE)");
    check("vae.vquantizer.codebook.weight", &[1], "Stable Cascade's stage A (PaellaVQModel)");
    check("decoder.middle.0.residual.0.gamma", &[1], "a video VAE (Wan or Qwen-Image)");
    check("decoder.up_blocks.0.resnets.0.norm1.gamma", &[1], "a video VAE");
    check("encoder.conv_in.conv.weight", &[1, 1, 1, 1, 1], "a video VAE");
    check("encoder.project_in.conv.bias", &[1], "a deep compression autoencoder (DC-AE, AutoencoderDC)");
    check("first_stage_model.decoder.mid.block_1.mix_factor", &[1], "Stable Video Diffusion's temporal decoder");
    check("pretransform.model.encoder.layers.0.weight_g", &[1], "an audio VAE");
    check("pixel_space_vae", &[1], "a pixel-space model");
    check("model.diffusion_model.input_blocks.0.0.weight", &[1], "a diffusion model without its VAE, expected a VAE");
    check("lora_unet_down_blocks_0.lora_up.weight", &[1], "a LoRA, expected a VAE");
    check("text_model.embeddings.token_embedding.weight", &[1], "a text encoder, expected a VAE");
    check("what", &[1], "1 tensors that belong to no family known, such as `what`, expected a VAE");
}
