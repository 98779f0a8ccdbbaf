//! Tiny checkpoints with PyTorch's answers, in `tests/fixtures`, one folder a case.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array4;
use safetensors::SafeTensors;
use vaekit_cli::args::CheckpointArgs;
use vaekit_cli::checkpoint::{self, Checkpoint};
use vaekit_cli::ui::Ui;

/// A case: a checkpoint in one file or two, and what it tells not itself.
#[derive(Clone, Copy, Debug)]
pub struct Fixture {
    /// The folder.
    pub name: &'static str,
    /// The files.
    pub files: &'static [&'static str],
    /// `--scaling`, where nothing in the files tells.
    pub scaling: Option<&'static str>,
}

/// All cases that are to work.
pub const FIXTURES: &[Fixture] = &[
    Fixture { name: "kl-diffusers", files: &["diffusion_pytorch_model.safetensors"], scaling: None },
    Fixture { name: "kl-ldm-ckpt", files: &["model.ckpt"], scaling: Some("sd1") },
    Fixture { name: "kl-ldm-f16", files: &["model.safetensors"], scaling: Some("sd1") },
    Fixture { name: "sd1-full", files: &["model.safetensors"], scaling: None },
    Fixture { name: "flux1-like", files: &["diffusion_pytorch_model.safetensors"], scaling: None },
    Fixture { name: "tae-diffusers", files: &["diffusion_pytorch_model.safetensors"], scaling: None },
    Fixture { name: "tae-original", files: &["taesd_encoder.pth", "taesd_decoder.pth"], scaling: None },
];

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the project's folder")
}

/// `tests/fixtures/NAME`.
pub fn folder(name: &str) -> PathBuf {
    root().join("tests").join("fixtures").join(name)
}

impl Fixture {
    /// The checkpoint's files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| folder(self.name).join(file)).collect()
    }

    /// What the command line would add.
    pub fn args(&self) -> CheckpointArgs {
        CheckpointArgs { config: None, scaling: self.scaling.map(str::to_owned) }
    }

    /// The checkpoint, opened.
    ///
    /// # Panics
    /// If it does not open.
    pub fn open(&self) -> Checkpoint {
        checkpoint::open(&self.paths(), &self.args(), false, &Ui::quiet())
            .unwrap_or_else(|error| panic!("{}: {error:#}", self.name))
    }

    /// PyTorch's answers: `image`, `latent`, `decoded`, and `mean` and `logvar` or `encoded`.
    ///
    /// # Panics
    /// If the file is not as expected.
    pub fn answers(&self) -> HashMap<String, Array4<f32>> {
        read_arrays(&folder(self.name).join("expect.safetensors"))
    }
}

/// Every 4-D f32 tensor of a safetensors file.
///
/// # Panics
/// If the file is not as expected.
pub fn read_arrays(path: &Path) -> HashMap<String, Array4<f32>> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tensors = SafeTensors::deserialize(&bytes).expect("PyTorch's answers are whole");
    let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let shape: [usize; 4] = view.shape().try_into().expect("answers have four axes");
        let values = view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
        (name, Array4::from_shape_vec(shape, values.collect()).expect("as many values as the shape says"))
    };
    tensors.tensors().into_iter().map(array).collect()
}
