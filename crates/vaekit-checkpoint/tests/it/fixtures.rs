//! The fixtures with PyTorch's answers: every checkpoint opens with the right config, every bad file is refused.

use std::fs;
use std::path::{Path, PathBuf};

use vaekit::{Domain, Half, KlClass, Network, Scaling, VaeConfig, Weights};
use vaekit_checkpoint::scaling::Preset;
use vaekit_checkpoint::{CanonicalVae, CheckpointError, Options, ScalingChoice, ScalingSource, Source, StateDict};

fn folder() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures")).into()
}

fn source(path: &Path) -> Source {
    let source = Source::new(path.file_name().unwrap().to_str().unwrap(), fs::read(path).unwrap());
    match fs::read_to_string(path.with_file_name("config.json")) {
        Ok(config) => source.with_config(config),
        Err(_) => source,
    }
}

fn open(paths: &[&str], options: &Options) -> Result<CanonicalVae, CheckpointError> {
    CanonicalVae::open(paths.iter().map(|path| source(&folder().join(path))).collect(), options)
}

fn sd1() -> Options {
    Options { scaling: Some(ScalingChoice::Preset(Preset::by_name("sd1").unwrap())), ..Options::default() }
}

fn check_kl(vae: &CanonicalVae, channels: usize, quant: bool, scaling: Scaling) {
    let VaeConfig { network: Network::Kl(kl), latents } = vae.config() else { panic!("{:?}", vae.config()) };
    assert_eq!(kl.kind, KlClass::AutoencoderKl);
    let (encoder, decoder) = (kl.encoder.as_ref().unwrap(), kl.decoder.as_ref().unwrap());
    assert_eq!((encoder.resnets_per_block, decoder.resnets_per_block), (1, 2));
    assert_eq!((&encoder.block_out_channels, &decoder.block_out_channels), (&vec![32; 4], &vec![32; 4]));
    assert_eq!((kl.norm_num_groups, kl.mid_attention), (32, true));
    assert_eq!((kl.quant_conv, kl.post_quant_conv), (quant, quant));
    assert_eq!((latents.channels, latents.downsample_factor, latents.native), (channels, 8, Domain::Raw));
    assert_eq!(latents.scaling, Some(scaling));
    for (name, shape) in vae.tensors() {
        assert_eq!(vae.read_f32(&name).unwrap().len(), shape.iter().product::<usize>(), "{name}");
    }
}

#[test]
fn kl_diffusers() {
    let vae = open(&["kl-diffusers/diffusion_pytorch_model.safetensors"], &Options::default()).unwrap();
    check_kl(&vae, 4, true, Scaling::factor(0.18215));
    assert_eq!(vae.report().scaling_source, ScalingSource::Config);
    assert_eq!(vae.report().family, "AutoencoderKL, 4 channels, f8");
    assert_eq!(vae.report().files[0].layout, "diffusers");
    assert!(vae.report().warnings.is_empty() && vae.report().ignored.is_empty());
}

#[test]
fn flux1_like() {
    let vae = open(&["flux1-like/diffusion_pytorch_model.safetensors"], &Options::default()).unwrap();
    check_kl(&vae, 16, false, Scaling::Affine { scaling_factor: 0.3611, shift_factor: 0.1159 });
}

#[test]
fn kl_ldm_ckpt() {
    let vae = open(&["kl-ldm-ckpt/model.ckpt"], &sd1()).unwrap();
    check_kl(&vae, 4, true, Scaling::factor(0.18215));
    let groups: Vec<_> = vae.report().ignored.iter().map(|ignored| ignored.group.as_str()).collect();
    assert_eq!(groups, ["loss.*", "model_ema.*"]);
    assert_eq!(vae.report().files[0].layout, "ldm");
}

#[test]
fn kl_ldm_f16_asks_for_its_scaling() {
    let path = ["kl-ldm-f16/model.safetensors"];
    let vae = open(&path, &sd1()).unwrap();
    check_kl(&vae, 4, true, Scaling::factor(0.18215));
    assert_eq!(vae.report().dtypes.keys().collect::<Vec<_>>(), ["F16"]);
    let error = open(&path, &Options::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "model.safetensors does not tell how its latents are scaled (no config.json, no known hash, metadata or name); \
         give it with --scaling: sd1 (0.18215), sdxl (0.13025), playground (0.5), x4-upscaler (0.08333), FACTOR[,SHIFT]"
    );
    let looked_at = open(&path, &Options { allow_unknown_scaling: true, ..Options::default() }).unwrap();
    assert_eq!(looked_at.report().scaling_source, ScalingSource::Unknown);
    let flux = Options { scaling: Some("flux1".parse().unwrap()), ..Options::default() };
    let error = open(&path, &flux).unwrap_err().to_string();
    assert!(error.starts_with("the scaling given is for 16 latent channels, model.safetensors has 4;"), "{error}");
}

#[test]
fn a_whole_sd1_checkpoint_tells_by_its_siblings() {
    let vae = open(&["sd1-full/model.safetensors"], &Options::default()).unwrap();
    check_kl(&vae, 4, true, Scaling::factor(0.18215));
    let report = vae.report();
    assert!(
        matches!(&report.scaling_source, ScalingSource::SiblingTensor(name) if name.starts_with("cond_stage_model."))
    );
    assert_eq!(report.files[0].prefix, "first_stage_model.");
    assert!(report.files[0].other_tensors > 0);
}

#[test]
fn the_same_weights_hash_equal_in_both_layouts() {
    let hash = |paths: &[&str]| open(paths, &sd1()).unwrap().weights_sha256().unwrap();
    let tiny = hash(&["tae-diffusers/diffusion_pytorch_model.safetensors"]);
    assert_eq!(hash(&["tae-original/taesd_encoder.pth", "tae-original/taesd_decoder.pth"]), tiny);
}

#[test]
fn tiny_ones() {
    let diffusers = open(&["tae-diffusers/diffusion_pytorch_model.safetensors"], &Options::default()).unwrap();
    assert_eq!((diffusers.config().latents.native, &diffusers.config().latents.scaling), (Domain::Scaled, &None));
    let halves = ["tae-original/taesd_encoder.pth", "tae-original/taesd_decoder.pth"];
    let original = open(&halves, &Options::default()).unwrap();
    assert_eq!(original.config().network, diffusers.config().network);
    assert_eq!(original.report().scaling_source, ScalingSource::FileName("taesd_encoder.pth".into()));
    let decoder = open(&halves[1..], &Options::default()).unwrap();
    assert!(!decoder.config().has(Half::Encoder) && decoder.config().has(Half::Decoder));
    assert_eq!(decoder.report().family, "AutoencoderTiny (TAESD), 4 channels, f8, decoder only");
    let twice = open(&[halves[0], halves[0]], &Options::default()).unwrap_err().to_string();
    assert!(twice.starts_with("both taesd_encoder.pth and taesd_encoder.pth hold `encoder.layers."), "{twice}");
}

/// Values as the safetensors crate reads them.
#[test]
fn values_are_the_files() {
    let path = folder().join("kl-diffusers/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let truth = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let vae = CanonicalVae::open(vec![source(&path)], &Options::default()).unwrap();
    for name in ["encoder.conv_in.weight", "decoder.up_blocks.3.resnets.1.norm2.bias", "post_quant_conv.weight"] {
        let truth: Vec<f32> =
            truth.tensor(name).unwrap().data().chunks(4).map(|x| f32::from_le_bytes(x.try_into().unwrap())).collect();
        assert_eq!(vae.read_f32(name).unwrap(), truth, "{name}");
    }
    let missing = vae.read_f32("no.such").unwrap_err().to_string();
    assert_eq!(missing, "tensor `no.such`: this VAE has no such tensor");
}

#[test]
fn bad_files_are_refused_by_name() {
    let check = |file: &str, expected: &str| {
        let error = open(&[&format!("bad/{file}")], &sd1()).unwrap_err().to_string();
        assert_eq!(error, format!("{file}{expected}"));
    };
    check("empty.safetensors", ": the file is empty (0 bytes)");
    check(
        "huge-header.safetensors",
        ": the safetensors header claims to be 4611686018427387904 bytes long, at most 100000000 are accepted; \
         the file is damaged or hostile",
    );
    check(
        "truncated.safetensors",
        ": the file is truncated: it has 375919 bytes, its header needs 751838; fetch it again",
    );
    check(
        "malicious.ckpt",
        ": its pickle would run `posix.system` when loaded in Python: this is no checkpoint but an attack, refused \
         (vaekit executes nothing)",
    );
    check(
        "missing-tensor.safetensors",
        " lacks 1 of the 176 tensors of its AutoencoderKL: `decoder.mid_block.resnets.0.conv1.weight` (in diffusers' names)",
    );
}

#[test]
fn a_config_of_another_vae_is_refused() {
    let config = fs::read_to_string(folder().join("flux1-like/config.json")).unwrap();
    let options = Options { config_json: Some(config), ..Options::default() };
    let error = open(&["kl-ldm-ckpt/model.ckpt"], &options).unwrap_err().to_string();
    assert_eq!(
        error,
        "the config given says latent_channels = 16, the tensors of model.ckpt say 4; this config belongs to another VAE"
    );
}

/// Real weights, where the machine has them: FLUX.2's tiny autoencoder.
#[test]
fn taef2() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models/taef2"));
    let paths = ["taef2_encoder.pth", "taef2_decoder.pth"].map(|name| folder.join(name));
    if !paths.iter().all(|path| path.exists()) {
        return;
    }
    let vae = CanonicalVae::open(paths.iter().map(|path| source(path)).collect(), &Options::default()).unwrap();
    assert!(matches!(&vae.config().network, Network::Tiny(tiny) if tiny.mid_pool));
    let latents = &vae.config().latents;
    assert_eq!((latents.channels, latents.downsample_factor, latents.packed, &latents.scaling), (32, 8, true, &None));
    assert_eq!(vae.report().parameters, 2_677_027);
    assert_eq!(vae.report().dtypes.keys().collect::<Vec<_>>(), ["F16"]);
}

#[test]
fn hashing_a_file() {
    let source = source(&folder().join("bad/huge-header.safetensors"));
    assert_eq!(vaekit_checkpoint::sha256(&*source.data).unwrap().len(), 64);
    assert!(StateDict::open(source).is_err());
}
