//! `cargo xtask web test`: wasm in Node, and the package in real browsers.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use vaekit_cli::args::{Cli, Command};
use vaekit_cli::commands;
use vaekit_cli::ui::Ui;

use super::toolchain::{BROWSER, Toolchain, WASI};
use super::{build, folder, npm};
use crate::sh;

/// Options of the tests.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only the core crates in Node
    #[arg(long)]
    no_browser: bool,
    /// Test the package as it was built before
    #[arg(long)]
    no_build: bool,
}

/// The crates whose tests also run as wasm.
const CORE: [&str; 4] = ["vaekit", "vaekit-checkpoint", "vaekit-latents", "vaekit-onnx"];
/// The kernels' tests run with each set of instructions.
const KERNELS: [&[&str]; 3] = [&[], &["+simd128"], &["+simd128", "+relaxed-simd"]];

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let toolchain = Toolchain::find()?;
    lints(toolchain)?;
    if toolchain.has_wasi() {
        in_node(toolchain)?;
    } else {
        ui.note("the core crates' tests in Node are left out: this compiler has no wasm32-wasip1");
    }
    if args.no_browser {
        return Ok(());
    }
    if !args.no_build {
        build::package(true, ui)?;
    }
    in_browsers(ui)
}

/// The wasm crate is empty elsewhere, so that only here anything is looked at.
fn lints(toolchain: Toolchain) -> Result<()> {
    if toolchain == Toolchain::Debian {
        return Ok(());
    }
    let mut clippy = toolchain.cargo("clippy", BROWSER, &["+simd128"]);
    sh::run(clippy.args(["--quiet", "--package", "vaekit-wasm", "--", "--deny", "warnings"]))
}

fn in_node(toolchain: Toolchain) -> Result<()> {
    let runner = sh::root().join("xtask/src/web/wasi.mjs");
    let runner = format!("node --no-warnings {}", runner.to_str().context("the project's path is not UTF-8")?);
    let test = |features: &[&str], packages: &[&str]| {
        let mut cargo = toolchain.cargo("test", WASI, features);
        // Documentation's examples are tested natively.
        cargo.args(["--quiet", "--lib", "--tests"]);
        packages.iter().for_each(|package| {
            cargo.args(["--package", package]);
        });
        sh::run(cargo.env("CARGO_TARGET_WASM32_WASIP1_RUNNER", &runner))
    };
    test(&[], &CORE)?;
    KERNELS.iter().try_for_each(|features| test(features, &["vaekit-kernels"]))
}

/// What is in `web/tests`, with a model folder and latents that the native program made.
fn in_browsers(ui: &Ui) -> Result<()> {
    npm::install(ui)?;
    let native = sh::target().join("web").join("native");
    expectations(&native)?;
    let mut node = npm::node();
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]);
    for entry in folder().join("tests").read_dir()? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            node.arg(path);
        }
    }
    sh::run(node.env("VAEKIT_NATIVE", &native).env("VAEKIT_TARGET", sh::target().join("web")))
}

/// The native program's answers: a model folder of the starter VAE, the sample's latents, and what they decode to.
fn expectations(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let models = sh::root().join("models");
    let checkpoint = models.join("starter").join("diffusion_pytorch_model.safetensors");
    let photo = models.join("samples").join("astronaut.png");
    let [model, latents, image, dump] =
        ["starter", "latents.npy", "image.png", "image.npy"].map(|name| folder.join(name));
    let [checkpoint, photo, model, latents, image, dump] =
        [&checkpoint, &photo, &model, &latents, &image, &dump].map(|path| path.as_os_str());
    let word = OsStr::new;
    vaekit(&[word("convert"), checkpoint, word("-o"), model])?;
    vaekit(&[word("encode"), word("--vae"), model, photo, word("-o"), latents])?;
    let raw = [word("--latents"), word("raw"), word("-o"), image, word("--dump"), dump];
    vaekit(&[&[word("decode"), word("--vae"), model, latents], &raw[..]].concat())
}

/// The program in this process: another package's binary would have its dependencies built with other features.
fn vaekit(arguments: &[&OsStr]) -> Result<()> {
    let cli = Cli::try_parse_from([&[OsStr::new("vaekit")], arguments].concat())?;
    let ui = Ui::quiet();
    match &cli.command {
        Command::Convert(args) => commands::convert::run(args, &ui).map(drop),
        Command::Encode(args) => commands::encode::run(args, &ui).map(drop),
        Command::Decode(args) => commands::decode::run(args, &ui).map(drop),
        other => bail!("{other:?} is not needed here"),
    }
}
