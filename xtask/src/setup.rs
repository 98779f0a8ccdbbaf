//! `cargo xtask setup`: what the tests need beside Rust, in `target/` where it can be.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vaekit_cli::commands::runtime;
use vaekit_cli::ui::Ui;
use vaekit_ort::Provider;

use crate::{sh, web};

/// vaekit's home in the tests: ONNX Runtime for the CPU, and a cache.
pub(crate) fn home() -> PathBuf {
    sh::target().join("vaekit-home")
}

/// Another home, whose ONNX Runtime has the WebGPU provider.
fn webgpu_home() -> PathBuf {
    sh::target().join("vaekit-home-webgpu")
}

pub(crate) fn run(ui: &Ui) -> Result<()> {
    for (home, provider) in [(home(), Provider::Cpu), (webgpu_home(), Provider::WebGpu)] {
        if vaekit_ort::installed(&home).is_none() {
            ui.print(&runtime::install_into(&home, provider, ui)?)?;
        }
    }
    cargo_deny(ui)?;
    browsers(ui)?;
    web::setup(ui)?;
    web::install(ui)
}

fn cargo_deny(ui: &Ui) -> Result<()> {
    if sh::cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    ui.note("installing cargo-deny");
    sh::run(sh::cargo().args(["install", "--locked", "--debug", "cargo-deny"]))
}

/// Where Debian's Chromium keeps SwiftShader, the software GPU that the WebGPU provider is tested on.
const CHROMIUM: &str = "/usr/lib/chromium";

/// Where Debian's Mesa registers lavapipe, the other software GPU, which has `shader-f16`.
const VULKAN_DRIVERS: &str = "/usr/share/vulkan/icd.d";

/// Browsers for the tests of the page, and software GPUs: Chromium's and Mesa's.
fn browsers(ui: &Ui) -> Result<()> {
    let missing = |program: &&str| !Path::new("/usr/bin").join(program).exists();
    let mut missing: Vec<&str> = ["chromium", "firefox-esr"].into_iter().filter(missing).collect();
    if lavapipe().is_none() {
        missing.push("mesa-vulkan-drivers");
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !is_debian() {
        ui.note(format_args!("not Debian, so nothing is installed; the tests of pages and GPUs want {missing:?}"));
        return Ok(());
    }
    ui.note(format_args!("installing {}", missing.join(" and ")));
    sh::run(Command::new("apt-get").args(["-qq", "update"]))?;
    sh::run(Command::new("apt-get").args(["-qq", "-y", "--no-install-recommends", "install"]).args(missing))
        .context("as root it would work; `cargo xtask test --no-setup` does with what there is")
}

/// Not what is made of it: Ubuntu's packages are others.
fn is_debian() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian")
}

/// Lets tests find the software GPU, on which vaekit's own engine has to run, and ONNX Runtime with the WebGPU provider.
pub(crate) fn with_webgpu(command: &mut Command) -> &mut Command {
    if use_software_gpu(command) {
        command.env("VAEKIT_REQUIRE_WGPU", "1");
        if let Some(installed) = vaekit_ort::installed(&webgpu_home()) {
            command.env("VAEKIT_TEST_WEBGPU", installed.library);
        }
    }
    command
}

fn lavapipe() -> Option<PathBuf> {
    let drivers = Path::new(VULKAN_DRIVERS).read_dir().ok()?;
    let is_lavapipe =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd."));
    drivers.filter_map(|driver| Some(driver.ok()?.path())).find(is_lavapipe)
}

/// Lets tests find Mesa's software GPU and no other, and require it; `false` if it is not there.
pub(crate) fn use_lavapipe(command: &mut Command) -> bool {
    let Some(driver) = lavapipe() else { return false };
    command.env("VK_DRIVER_FILES", driver).env("LD_LIBRARY_PATH", CHROMIUM).env("VAEKIT_REQUIRE_WGPU", "1");
    true
}

/// Lets a program see the software GPU and no other, if it is there. Chromium brings a Vulkan loader of its own.
pub(crate) fn use_software_gpu(command: &mut Command) -> bool {
    let icd = Path::new(CHROMIUM).join("vk_swiftshader_icd.json");
    let is_there = icd.exists();
    if is_there {
        command.env("VK_DRIVER_FILES", icd).env("LD_LIBRARY_PATH", CHROMIUM);
    }
    is_there
}

/// Lets a program load ONNX Runtime with the WebGPU provider.
///
/// # Errors
/// If it is not installed.
pub(crate) fn use_webgpu_runtime(command: &mut Command) -> Result<()> {
    let installed = vaekit_ort::installed(&webgpu_home());
    let installed = installed.context("ONNX Runtime with WebGPU is not installed; run `cargo xtask setup`")?;
    command.env("ORT_DYLIB_PATH", installed.library);
    Ok(())
}
