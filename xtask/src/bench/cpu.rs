//! `cargo xtask bench cpu`: full-size VAEs with random weights on every CPU engine.

use anyhow::Result;
use vaekit::Half;
use vaekit_cli::ui::Ui;

use super::measure::{Engine, Work};
use super::random_vae::Shape;
use super::turns::Turns;

/// Options of the benchmark.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, every engine runs once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Threads of each engine
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only this, as VAE:HALF:SIDE; may be given several times [default: the four of the README]
    #[arg(long, value_name = "WORK")]
    only: Vec<Work>,
    /// Measure tract on large VAEs too, which takes minutes
    #[arg(long)]
    tract: bool,
}

const WORK: [Work; 4] = [
    Work { vae: Shape::Taesd, half: Half::Decoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Encoder, side: 512 },
    Work { vae: Shape::Sd1, half: Half::Decoder, side: 1024 },
];

const ENGINES: [Engine; 3] = [Engine::BareOrt, Engine::Cpu, Engine::Tract];

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let with_tract = |work: Work| args.tract || work.vae == Shape::Taesd;
    let turns = Turns {
        works: if args.only.is_empty() { &WORK } else { &args.only },
        engines: &|work| if with_tract(work) { &ENGINES } else { &ENGINES[..2] },
        rounds: args.rounds,
        threads: args.threads,
        software: false,
    };
    turns.run("cpu", ui)
}
