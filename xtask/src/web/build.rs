//! `cargo xtask web build`: `web/vaekit/dist`.
//!
//! One crate is built once for each set of WebAssembly's features, wasm-bindgen writes the glue, and esbuild and tsc make
//! the package of it.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use vaekit_cli::ui::Ui;
use wasm_bindgen_cli_support::Bindgen;

use super::toolchain::{BROWSER, Toolchain};
use super::{folder, npm};
use crate::sh;

/// Options of the build.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build only this module and take the others as they were built before; may be given several times
    #[arg(long, value_name = "MODULE")]
    only: Vec<String>,
}

/// A module of the package.
struct Variant {
    name: &'static str,
    /// Of WebAssembly.
    features: &'static [&'static str],
    /// Of the crate, with commas.
    crate_features: &'static str,
}

const VARIANTS: [Variant; 7] = [
    Variant { name: "simd128", features: &["+simd128"], crate_features: "cpu" },
    Variant { name: "relaxed", features: &["+simd128", "+relaxed-simd"], crate_features: "cpu" },
    Variant { name: "simd128-threads", features: &["+simd128", "+atomics", "+bulk-memory"], crate_features: "cpu" },
    Variant {
        name: "relaxed-threads",
        features: &["+simd128", "+relaxed-simd", "+atomics", "+bulk-memory"],
        crate_features: "cpu",
    },
    // A fallback for graphs of others, and what else is large and seldom asked for: one variant is enough.
    Variant { name: "tract", features: &["+simd128"], crate_features: "tract,fp16" },
    Variant { name: "compare", features: &["+simd128"], crate_features: "compare" },
    Variant { name: "webgpu", features: &["+simd128"], crate_features: "webgpu" },
];

/// What was built.
#[derive(Serialize)]
struct Report {
    files: Vec<Size>,
}

/// What a file weighs.
#[derive(Serialize)]
struct Size {
    file: String,
    bytes: u64,
    brotli_bytes: u64,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    package(|name| args.only.is_empty() || args.only.iter().any(|only| only == name), ui)?;
    ui.print(&sizes()?)
}

/// Builds the package: the modules of these names, the others as they were built before.
pub(crate) fn package(wanted: impl Fn(&str) -> bool, ui: &Ui) -> Result<()> {
    let toolchain = Toolchain::find()?;
    npm::install(ui)?;
    for variant in &VARIANTS {
        let out = glue().join(variant.name);
        if !wanted(variant.name) {
            continue;
        }
        ui.note(format_args!("building the module {}", variant.name));
        let wasm = variant.compile(toolchain)?;
        Bindgen::new()
            .input_path(wasm)
            .out_name("vaekit")
            .web(true)?
            // The worker names the module's place, where bundlers see it.
            .omit_default_module_path(true)
            .typescript(true)
            .remove_name_section(true)
            .remove_producers_section(true)
            .generate(&out)
            .with_context(|| format!("the glue of {}", variant.name))?;
    }
    ui.note("bundling");
    let dist = folder().join("vaekit").join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    sh::run(npm::node().arg("vaekit/build.mjs").env("VAEKIT_GLUE", glue()))
}

/// Where wasm-bindgen's output goes.
fn glue() -> PathBuf {
    sh::target().join("web").join("glue")
}

impl Variant {
    fn compile(&self, toolchain: Toolchain) -> Result<PathBuf> {
        let mut cargo = toolchain.cargo("build", BROWSER, self.features);
        cargo.args(["--quiet", "--package", "vaekit-wasm", "--profile", "wasm", "--no-default-features"]);
        cargo.args(["--features", self.crate_features, "--message-format", "json-render-diagnostics"]);
        let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
        ensure!(output.status.success(), "{} failed: {}", sh::line(&cargo), output.status);
        artifact(&output.stdout).context("cargo built no module")
    }
}

/// The module that cargo's messages name.
fn artifact(messages: &[u8]) -> Option<PathBuf> {
    let messages = std::str::from_utf8(messages).ok()?;
    let files = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let files = files.filter(|message| message["reason"] == "compiler-artifact");
    let mut files = files.filter_map(|message| {
        let files = message["filenames"].as_array()?.clone();
        files.iter().filter_map(|file| file.as_str()).find(|file| file.ends_with("vaekit_wasm.wasm")).map(PathBuf::from)
    });
    files.next()
}

fn sizes() -> Result<Report> {
    let output = npm::node().args(["vaekit/sizes.mjs"]).output().context("cannot start node")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sizes: Vec<(String, u64, u64)> = serde_json::from_slice(&output.stdout)?;
    let files = sizes.into_iter().map(|(file, bytes, brotli_bytes)| Size { file, bytes, brotli_bytes }).collect();
    Ok(Report { files })
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "| web/vaekit/dist | size | brotli |\n| --- | --- | --- |")?;
        for Size { file, bytes, brotli_bytes } in &self.files {
            write!(f, "\n| {file} | {} kB | {} kB |", bytes.div_ceil(1000), brotli_bytes.div_ceil(1000))?;
        }
        Ok(())
    }
}
