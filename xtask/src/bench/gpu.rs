//! `cargo xtask bench gpu`: vaekit's engine on WebGPU beside ONNX Runtime's WebGPU provider, on one device.

use anyhow::Result;
use vaekit::Half;
use vaekit_cli::ui::Ui;

use super::measure::{Engine, Work};
use super::random_vae::Shape;
use super::turns::Turns;

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, both engines run once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// On SwiftShader, a program that acts as a GPU, with a picture small enough for it
    #[arg(long)]
    software: bool,
    /// Only this, as VAE:HALF:SIDE; may be given several times
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
}

const WORK: [Work; 2] = [
    Work { vae: Shape::Taesd, half: Half::Decoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 512 },
];
const SOFTWARE_WORK: [Work; 2] = [
    Work { vae: Shape::Taesd, half: Half::Decoder, side: 128 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 64 },
];

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let works = if args.software { &SOFTWARE_WORK } else { &WORK };
    let turns = Turns {
        works: if args.only.is_empty() { works } else { &args.only },
        engines: &|_| &[Engine::OrtWebGpu, Engine::Wgpu],
        rounds: args.rounds,
        threads: 1,
        software: args.software,
    };
    turns.run("gpu", ui)
}
