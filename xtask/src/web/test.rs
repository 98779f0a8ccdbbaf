//! `cargo xtask web test`: wasm in Node, and the package in real browsers.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use ndarray::s;
use vaekit::Images;
use vaekit_cli::args::{Cli, Command};
use vaekit_cli::commands;
use vaekit_cli::picture::{self, Picture};
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
/// The tests of the kernels run with each set of instructions, those of the engine with the quickest.
const INSTRUCTIONS: [(&[&str], &[&str]); 3] = [
    (&[], &["vaekit-kernels"]),
    (&["+simd128"], &["vaekit-kernels"]),
    (&["+simd128", "+relaxed-simd"], &["vaekit-kernels", "vaekit-cpu"]),
];

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
        build::package(|_| true, ui)?;
    }
    in_browsers(ui)
}

/// The wasm crate is empty elsewhere, so that only here anything is looked at.
fn lints(toolchain: Toolchain) -> Result<()> {
    if toolchain == Toolchain::Debian {
        return Ok(());
    }
    ["cpu", "webgpu", "compare"].into_iter().try_for_each(|features| {
        let mut clippy = toolchain.cargo("clippy", BROWSER, &["+simd128"]);
        clippy.args(["--quiet", "--package", "vaekit-wasm", "--no-default-features", "--features", features]);
        sh::run(clippy.args(["--", "--deny", "warnings"]))
    })
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
    INSTRUCTIONS.iter().try_for_each(|(features, packages)| test(features, packages))
}

/// What is in `web/tests`, with a model folder and latents that the native program made.
fn in_browsers(ui: &Ui) -> Result<()> {
    npm::install(ui)?;
    let native = sh::target().join("web").join("native");
    expectations(&native)?;
    let mut node = npm::node();
    // A test that failed may leave a server open.
    node.args(["--test", "--test-force-exit", "--test-concurrency=1", "--test-reporter=spec"]);
    for entry in folder().join("tests").read_dir()? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            node.arg(path);
        }
    }
    sh::run(node.env("VAEKIT_NATIVE", &native).env("VAEKIT_TARGET", sh::target().join("web")))
}

/// The native program's answers: model folders of the starter VAE in fp32 and fp16, and of the sample and a small piece of it
/// the latents, and what they decode to; and how the two folders compare.
fn expectations(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let models = sh::root().join("models");
    let checkpoint = models.join("starter").join("diffusion_pytorch_model.safetensors");
    let word = OsStr::new;
    for (name, precision) in [("starter", "fp32"), ("starter-fp16", "fp16")] {
        let (checkpoint, model) = (checkpoint.as_os_str(), folder.join(name));
        vaekit(&[word("convert"), checkpoint, word("-o"), model.as_os_str(), word("--precision"), word(precision)])?;
    }
    let photo = models.join("samples").join("astronaut.png");
    let piece = folder.join("piece.png");
    // Her face: small enough for a GPU that is a program.
    let (top, left, side) = (100, 190, 64);
    let Picture { images, extras } = picture::read(&photo)?;
    let data = images.data.slice(s![.., .., top..top + side, left..left + side]).to_owned();
    picture::write_png(&piece, &Images { data }, 0, &extras, &[])?;
    for (name, picture) in [("sample", &photo), ("piece", &piece)] {
        let outputs = ["latents.npy", "image.png", "image.npy"].map(|output| folder.join(format!("{name}-{output}")));
        let [latents, image, dump] = outputs.each_ref().map(|path| path.as_os_str());
        let (picture, model) = (picture.as_os_str(), folder.join("starter"));
        let vae = [word("--vae"), model.as_os_str()];
        vaekit(&[&[word("encode"), picture, word("-o"), latents], &vae[..]].concat())?;
        let raw = [word("--latents"), word("raw"), word("-o"), image, word("--dump"), dump];
        vaekit(&[&[word("decode"), latents], &vae[..], &raw[..]].concat())?;
    }
    let [report, fp32, fp16] = ["compare", "starter", "starter-fp16"].map(|name| folder.join(name));
    let vaes = [word("--vae"), fp32.as_os_str(), word("--vae"), fp16.as_os_str()];
    vaekit(&[&[word("compare"), photo.as_os_str(), word("-o"), report.as_os_str()], &vaes[..]].concat())
}

/// The program in this process: another package's binary would have its dependencies built with other features.
fn vaekit(arguments: &[&OsStr]) -> Result<()> {
    let cli = Cli::try_parse_from([&[OsStr::new("vaekit")], arguments].concat())?;
    let ui = Ui::quiet();
    match &cli.command {
        Command::Convert(args) => commands::convert::run(args, &ui).map(drop),
        Command::Encode(args) => commands::encode::run(args, &ui).map(drop),
        Command::Decode(args) => commands::decode::run(args, &ui).map(drop),
        Command::Compare(args) => commands::compare::run(args, &ui).map(drop),
        other => bail!("{other:?} is not needed here"),
    }
}
