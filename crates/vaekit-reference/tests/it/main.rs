//! The reference against PyTorch's answers, and against the lists of `vaekit::arch`.

mod synthetic;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayView4, Axis, concatenate};
use safetensors::{Dtype, SafeTensors};
use synthetic::Synthetic;
use vaekit::arch::{self, Layer};
use vaekit::{Half, Kl, LOGVAR_RANGE, Network, VaeConfig, Weights, WeightsError, from_config_json};
use vaekit_reference::{Real, Reference, ReferenceError, compare, probe_ranges, verification_input};

/// Largest error against PyTorch's f32 answers: what the project promises, and what f64 reaches.
const F32: f64 = 1e-4;
const F64: f64 = 2e-5;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A safetensors file of F32 and F16 under diffusers' current names.
struct File {
    bytes: Vec<u8>,
}

impl File {
    fn open(path: PathBuf) -> Self {
        File { bytes: std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())) }
    }

    fn read(&self, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).ok()?;
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::F16 => {
                data.chunks_exact(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect()
            }
            other => panic!("{name} is {other:?}"),
        };
        Some((values, tensor.shape().to_vec()))
    }

    fn array(&self, name: &str) -> Option<Array4<f32>> {
        let (values, shape) = self.read(name)?;
        let shape: [usize; 4] = shape.try_into().unwrap();
        Some(Array4::from_shape_vec(shape, values).unwrap())
    }
}

impl Weights for File {
    fn read_f32(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let missing = || WeightsError { name: name.into(), reason: "there is no such tensor".into() };
        Ok(self.read(name).ok_or_else(missing)?.0)
    }
}

fn open(folder: &str) -> (VaeConfig, File) {
    let folder = repository().join(folder);
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let config = from_config_json(&serde_json::from_str(&config).unwrap()).unwrap();
    (config, File::open(folder.join("diffusion_pytorch_model.safetensors")))
}

#[track_caller]
fn check_close<A: Real, B: Real>(found: ArrayView4<'_, A>, expected: ArrayView4<'_, B>, tolerance: f64) {
    let comparison = compare(found, expected, tolerance, 2.0).unwrap();
    assert!(comparison.holds(), "{comparison:?}");
}

fn check_fixture<T: Real>(name: &str, tolerance: f64) {
    let folder = format!("tests/fixtures/{name}");
    let (config, file) = open(&folder);
    let expect = File::open(repository().join(folder).join("expect.safetensors"));
    let reference = Reference::<T>::new(&config, &file);

    let mut encoded = reference.encode(expect.array("image").unwrap().view()).unwrap();
    let expected = expect.array("encoded").unwrap_or_else(|| {
        // PyTorch's log variance was clamped by its posterior.
        let (low, high) = LOGVAR_RANGE;
        for mut image in encoded.outer_iter_mut() {
            for value in image.slice_axis_mut(Axis(0), (config.latents.channels..).into()) {
                *value = T::from_f64((*value).into().clamp(low.into(), high.into()));
            }
        }
        let (mean, logvar) = (expect.array("mean").unwrap(), expect.array("logvar").unwrap());
        concatenate![Axis(1), mean, logvar]
    });
    check_close(encoded.view(), expected.view(), tolerance);

    let decoded = reference.decode(expect.array("latent").unwrap().view()).unwrap();
    check_close(decoded.view(), expect.array("decoded").unwrap().view(), tolerance);
}

#[test]
fn kl_as_pytorch() {
    check_fixture::<f32>("kl-diffusers", F32);
    check_fixture::<f64>("kl-diffusers", F64);
}

#[test]
fn flux1_as_pytorch() {
    check_fixture::<f32>("flux1-like", F32);
    check_fixture::<f64>("flux1-like", F64);
}

#[test]
fn tiny_as_pytorch() {
    check_fixture::<f32>("tae-diffusers", F32);
    check_fixture::<f64>("tae-diffusers", F64);
}

#[test]
fn starter_in_both_precisions() {
    let (config, file) = open("models/starter");
    check_precisions(&config, &file, 1e-4);
}

#[test]
fn every_family_in_both_precisions() {
    for config in synthetic::configs() {
        check_precisions(&config, &Synthetic::new(&config, 1), 1e-4);
    }
}

fn check_precisions(config: &VaeConfig, weights: &dyn Weights, tolerance: f64) {
    for half in Half::BOTH {
        let input = verification_input(config, half, 3).unwrap();
        let narrow = Reference::<f32>::new(config, weights).run(half, input.view()).unwrap();
        let wide = Reference::<f64>::new(config, weights).run(half, input.view()).unwrap();
        check_close(narrow.view(), wide.view(), tolerance);
        let factor = config.latents.downsample_factor;
        let shape = match half {
            Half::Encoder => [2, config.encoder_out_channels(), 5, 7],
            Half::Decoder => [2, 3, 5 * factor, 7 * factor],
        };
        assert_eq!(wide.shape(), shape);
    }
}

#[test]
fn threads_change_nothing() {
    let config = &synthetic::configs()[0];
    let weights = Synthetic::new(config, 5);
    let input = verification_input(config, Half::Decoder, 5).unwrap();
    let run = |threads| {
        let reference = Reference::<f32>::new(config, &weights).with_threads(threads).unwrap();
        reference.decode(input.view()).unwrap()
    };
    assert_eq!(run(1), run(5));
}

/// The names of all activations that [`vaekit_reference::Observer`] promises.
fn names(config: &VaeConfig, half: Half) -> BTreeSet<String> {
    let input = match half {
        Half::Encoder => "sample",
        Half::Decoder => "latent_sample",
    };
    let mut names = BTreeSet::from([input.to_owned()]);
    for layer in arch::layers(config, half) {
        match layer {
            Layer::Silu { .. } | Layer::Relu { .. } => {}
            Layer::Affine { name, .. } | Layer::SoftClamp { name, .. } | Layer::Upsample { name } => {
                names.insert(name);
            }
            Layer::Conv(conv) => {
                names.insert(conv.name);
            }
            Layer::GroupNorm(norm) => {
                names.insert(norm.name);
            }
            Layer::Resnet(block) => {
                names.extend([block.name, block.norm1.name, block.conv1.name, block.norm2.name, block.conv2.name]);
                names.extend(block.shortcut.map(|conv| conv.name));
            }
            Layer::Attention(attention) => {
                names.extend(attention.linears());
                names.extend(["scores", "attended"].map(|part| format!("{}.{part}", attention.name)));
                names.extend([attention.name, attention.norm.name]);
            }
            Layer::TinyBlock(block) => {
                names.extend(block.convs.map(|conv| conv.name));
                if let Some(pool) = block.pool {
                    names.extend([pool.conv1.name, pool.norm.name, pool.conv2.name, format!("{}.pool", block.name)]);
                }
                names.insert(block.name);
            }
        }
    }
    names
}

#[test]
fn every_activation_is_observed_once() {
    for config in synthetic::configs() {
        let weights = Synthetic::new(&config, 7);
        for half in Half::BOTH {
            let input = verification_input(&config, half, 7).unwrap();
            let mut seen = BTreeMap::new();
            let reference = Reference::<f32>::new(&config, &weights);
            let output = reference
                .observe(half, input.view(), &mut |name, max_abs| {
                    assert_eq!(seen.insert(name.to_owned(), max_abs), None)
                })
                .unwrap();
            assert_eq!(seen.keys().cloned().collect::<BTreeSet<_>>(), names(&config, half));
            assert_eq!(output, reference.run(half, input.view()).unwrap());
            assert!(seen.values().all(|max_abs| max_abs.is_finite()));
        }
    }
}

#[test]
fn probed_ranges_cover_every_activation() {
    for config in synthetic::configs() {
        let weights = Synthetic::new(&config, 9);
        for half in Half::BOTH {
            let mut steps = Vec::new();
            let ranges = probe_ranges(&config, &weights, half, &mut |done, total| steps.push((done, total))).unwrap();
            assert_eq!(ranges.keys().cloned().collect::<BTreeSet<_>>(), names(&config, half));
            assert!(ranges.values().all(|&range| range.is_finite() && range > 0.0), "{ranges:?}");
            assert_eq!(steps, [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]);
        }
    }
}

#[track_caller]
fn check_error(result: Result<Array4<f32>, ReferenceError>, message: &str) {
    assert_eq!(result.unwrap_err().to_string(), message);
}

#[test]
fn errors_say_what_is_wrong() {
    let (config, file) = open("tests/fixtures/kl-diffusers");
    let reference = Reference::<f32>::new(&config, &file);
    check_error(
        reference.decode(Array4::zeros((1, 16, 2, 2)).view()),
        "the decoder's input is [1, 16, 2, 2], expected [N, 4, H, W] that holds values",
    );
    check_error(
        reference.encode(Array4::zeros((1, 3, 1, 9)).view()),
        "layer `encoder.down_blocks.0.downsamplers.0.conv` cannot take [1, 32, 1, 9] (N, C, H, W): it is too small for the kernel",
    );
    let (other, _) = open("tests/fixtures/tae-diffusers");
    check_error(
        Reference::new(&other, &file).decode(Array4::zeros((1, 4, 2, 2)).view()),
        "tensor `decoder.layers.0.weight`: there is no such tensor",
    );
    let (other, _) = open("tests/fixtures/flux1-like");
    check_error(
        Reference::new(&other, &file).decode(Array4::zeros((1, 16, 2, 2)).view()),
        "tensor `decoder.conv_in.weight` holds 1152 values, expected [32, 16, 3, 3]; this config is another VAE's",
    );
}

fn set_widths(kl: &mut Kl, widths: &[usize]) {
    kl.encoder.as_mut().unwrap().block_out_channels = widths.to_vec();
}

#[test]
fn broken_configs_are_errors() {
    let (config, file) = open("tests/fixtures/kl-diffusers");
    let check = |damage: fn(&mut Kl), message: &str| {
        let mut config = config.clone();
        let Network::Kl(kl) = &mut config.network else { unreachable!("the fixture is an AutoencoderKL") };
        damage(kl);
        check_error(Reference::new(&config, &file).encode(Array4::zeros((1, 3, 16, 16)).view()), message);
    };
    check(|kl| kl.encoder = None, "this VAE has no encoder; give a checkpoint that holds one");
    check(
        |kl| kl.norm_num_groups = 5,
        "layer `encoder.down_blocks.0.resnets.0.norm1` cannot take [1, 32, 16, 16] (N, C, H, W): its channels do not divide into the config's groups",
    );
    check(
        |kl| set_widths(kl, &[]),
        "the config gives the encoder 0 widths and 0 depths, expected one of each for every stage",
    );
    check(
        |kl| set_widths(kl, &[0]),
        "tensor `encoder.conv_in.weight` holds 864 values, expected [0, 3, 3, 3]; this config is another VAE's",
    );
    check(
        |kl| set_widths(kl, &[1 << 31]),
        "tensor `encoder.conv_in.weight` holds 864 values, expected [2147483648, 3, 3, 3]; this config is another VAE's",
    );
}
