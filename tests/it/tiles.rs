//! Pictures that do not fit into memory in one piece.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use ndarray::Array4;
use tempfile::TempDir;
use vaekit::{
    Cut, Domain, Half, Images, Latents, Observer, Progress, Session, StepFuture, TileSize, Tiling, Vae, block_on,
};
use vaekit_cli::args::CheckpointArgs;
use vaekit_cli::convert::{Conversion, convert};
use vaekit_cli::engine::open_cpu;
use vaekit_cli::ui::Ui;
use vaekit_cli::{checkpoint, picture};
use vaekit_onnx::{ModelFolder, Precision};
use vaekit_tests::engines::a_gpu;
use vaekit_tests::fixtures::{self, root};
use vaekit_tests::tolerance::assert_psnr;
use vaekit_wgpu::WgpuSession;

/// What a picture in tiles keeps of itself in one piece, least PSNR in dB.
const TILED_PSNR: f64 = 40.0;

/// Notes the tiles of a run.
#[derive(Default)]
struct Told(Option<Cut>);

impl Observer for Told {
    fn step(&mut self, _: Progress) -> StepFuture<'_> {
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }

    fn cut(&mut self, cut: &Cut) {
        self.0 = Some(cut.clone());
    }
}

/// A checkpoint, converted.
pub(crate) fn converted(checkpoint: &Path) -> (TempDir, ModelFolder) {
    let paths = [checkpoint.to_owned()];
    let checkpoint = checkpoint::open(&paths, &CheckpointArgs::default(), false, &Ui::quiet()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("converted");
    let conversion = Conversion { checkpoint: &checkpoint, name: None, precision: Precision::Fp32, verify: false };
    convert(&conversion, &target, &Ui::quiet()).unwrap();
    let folder = ModelFolder::open(&target).unwrap();
    (temporary, folder)
}

/// A VAE on vaekit's CPU engine, each run of which may take so many bytes.
fn on_cpu(folder: &ModelFolder, memory: Option<u64>) -> Vae {
    let memory = memory.map(|bytes| -> vaekit_cpu::FreeMemory { Arc::new(move || Some(bytes)) });
    let options = vaekit_cpu::Options { memory, ..Default::default() };
    let [encoder, decoder] = Half::BOTH.map(|half| -> Option<Box<dyn Session>> {
        let session = open_cpu(&folder.model(half).unwrap().path, &options).unwrap();
        Some(Box::new(session.unwrap_or_else(|error| panic!("{error}"))))
    });
    Vae::new(folder.config().clone(), encoder, decoder)
}

fn encode(vae: &mut Vae, images: &Images) -> (Array4<f32>, Option<Cut>) {
    let mut told = Told::default();
    let posterior = block_on(vae.encode_with(images, &mut told)).unwrap();
    (posterior.mean().to_owned(), told.0)
}

fn decode(vae: &mut Vae, latents: &Array4<f32>) -> (Array4<f32>, Option<Cut>) {
    let mut told = Told::default();
    let latents = Latents { data: latents.clone(), domain: Domain::Raw };
    (block_on(vae.decode_with(latents, &mut told)).unwrap().data, told.0)
}

#[test]
fn what_does_not_fit_goes_in_tiles_that_look_the_same() {
    let models = root().join("models");
    let (_temporary, folder) = converted(&models.join("starter").join("diffusion_pytorch_model.safetensors"));
    let photo = picture::read(&models.join("samples").join("astronaut.png")).unwrap().images;
    let mut whole = on_cpu(&folder, None);
    let (latents, uncut) = encode(&mut whole, &photo);
    let (pixels, _) = decode(&mut whole, &latents);
    assert_eq!(uncut, None);

    let half_of = |half, shape: [usize; 3]| {
        let session = open_cpu(&folder.model(half).unwrap().path, &Default::default()).unwrap();
        session.unwrap_or_else(|error| panic!("{error}")).run_bytes(shape).unwrap() / 2
    };
    let mut tight = on_cpu(&folder, Some(half_of(Half::Encoder, [3, 512, 512])));
    let (tiled, cut) = encode(&mut tight, &photo);
    assert_eq!(cut, Some(Cut::new(64, 64, TileSize::of_side(48))));
    assert_psnr("encoded in tiles", decode(&mut whole, &tiled).0.view(), pixels.view(), TILED_PSNR);

    let mut tight = on_cpu(&folder, Some(half_of(Half::Decoder, [folder.config().latents.channels, 64, 64])));
    let (tiled, cut) = decode(&mut tight, &latents);
    assert_eq!(cut, Some(Cut::new(64, 64, TileSize::of_side(48))));
    assert_psnr("decoded in tiles", tiled.view(), pixels.view(), TILED_PSNR);

    // Asked for, they are the same on whatever engine.
    let tiling = Tiling::Always(TileSize::of_side(48));
    whole.set_tiling(tiling);
    assert_eq!(decode(&mut whole, &latents).0, tiled);
}

#[test]
fn a_gpu_goes_on_in_tiles_too() {
    let Some(gpu) = a_gpu() else { return };
    let (_temporary, folder) = converted(&fixtures::folder("kl-diffusers").join("diffusion_pytorch_model.safetensors"));
    let channels = folder.config().latents.channels;
    let latents =
        Array4::from_shape_fn((1, channels, 34, 6), |(_, c, y, x)| ((c * 5 + y * 3 + x * 7) % 11) as f32 / 8.0);
    let open = |memory| {
        let file = std::fs::File::open(&folder.model(Half::Decoder).unwrap().path).unwrap();
        let options = vaekit_wgpu::Options { memory, ..Default::default() };
        block_on(WgpuSession::open(&gpu, file, &options)).unwrap()
    };
    let memory = open(None).counts([channels, 32, 6]).unwrap().memory;
    let decoder: Box<dyn Session> = Box::new(open(Some(memory)));
    let (tiled, cut) = decode(&mut Vae::new(folder.config().clone(), None, Some(decoder)), &latents);
    let size = TileSize::of_side(32);
    assert_eq!(cut.map(|cut| Cut { apart: None, ..cut }), Some(Cut::new(34, 6, size)));
    let mut cpu = on_cpu(&folder, None);
    cpu.set_tiling(Tiling::Always(size));
    assert_psnr("on a GPU", tiled.view(), decode(&mut cpu, &latents).0.view(), 90.0);
}
