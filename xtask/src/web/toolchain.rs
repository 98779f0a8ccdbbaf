//! A compiler for wasm: rustup's, or Debian's where rustup cannot fetch the target.
//!
//! Threads need a standard library that was built with atomics, which nobody ships: `-Z build-std` makes it, from the
//! component `rust-src` or Debian's `rust-web-src`, and `RUSTC_BOOTSTRAP` lets a stable compiler do so.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use vaekit_cli::ui::Ui;

use crate::sh;

pub(crate) const BROWSER: &str = "wasm32-unknown-unknown";
pub(crate) const WASI: &str = "wasm32-wasip1";

/// Which compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one that builds the rest.
    Rustup,
    /// Debian's packages, whose library is always built from source.
    Debian,
}

/// Debian's compiler for browsers, its cargo, its library's source, and the linker.
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld"];

/// Installs what building and testing for wasm needs.
pub(crate) fn setup(ui: &Ui) -> Result<()> {
    if rustup(ui) {
        return Ok(());
    }
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "rustup cannot add the target {BROWSER}; run `rustup target add {BROWSER} {WASI}` and `rustup component add rust-src`"
    );
    if debian_is_there() {
        return Ok(());
    }
    ui.note("rustup has no wasm target here, installing Debian's compiler for browsers");
    sh::run(Command::new("apt-get").args(["-qq", "update"]))?;
    sh::run(Command::new("apt-get").args(["-qq", "-y", "--no-install-recommends", "install"]).args(DEBIAN))
}

/// Whether rustup has all, if need be after fetching it.
fn rustup(ui: &Ui) -> bool {
    if rustup_has(BROWSER) && rustup_has(WASI) && rust_src() {
        return true;
    }
    ui.note("adding the wasm targets and the standard library's source with rustup");
    let quiet = |arguments: &[&str]| {
        let output = Command::new("rustup").args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    quiet(&["target", "add", BROWSER, WASI]) && quiet(&["component", "add", "rust-src"])
}

/// Whether the compiler in use has a target's library.
fn rustup_has(target: &str) -> bool {
    sysroot().is_some_and(|root| Path::new(&root).join("lib/rustlib").join(target).join("lib").is_dir())
}

fn rust_src() -> bool {
    sysroot().is_some_and(|root| Path::new(&root).join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}

fn sysroot() -> Option<String> {
    let output = Command::new(rustc()).args(["--print", "sysroot"]).current_dir(sh::root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn rustc() -> std::ffi::OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn debian_is_there() -> bool {
    ["/usr/bin/cargo", "/usr/bin/rustc", "/usr/bin/wasm-ld"].iter().all(|path| Path::new(path).exists())
        && Path::new("/usr/src").read_dir().is_ok_and(|mut sources| {
            sources.any(|source| source.is_ok_and(|source| source.file_name().to_string_lossy().starts_with("rustc-")))
        })
}

impl Toolchain {
    /// The one that is there.
    pub(crate) fn find() -> Result<Self> {
        if rustup_has(BROWSER) && rust_src() {
            return Ok(Toolchain::Rustup);
        }
        ensure!(debian_is_there(), "there is no compiler for wasm; run `cargo xtask setup`");
        Ok(Toolchain::Debian)
    }

    /// Whether it can build tests that run in Node: they use WASI's library, which Debian's compiler lacks.
    pub(crate) fn has_wasi(self) -> bool {
        self == Toolchain::Rustup && rustup_has(WASI)
    }

    /// A cargo that builds for `target` with these features of WebAssembly.
    pub(crate) fn cargo(self, subcommand: &str, target: &str, features: &[&str]) -> Command {
        let with_atomics = features.contains(&"+atomics");
        let mut command = match self {
            Toolchain::Rustup => sh::cargo(),
            Toolchain::Debian => debian_cargo(),
        };
        command.arg(subcommand).args(["--target", target]).env("RUSTFLAGS", rustflags(features, with_atomics));
        if with_atomics || self == Toolchain::Debian {
            command.args(["-Z", "build-std=std,panic_abort"]).env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// Debian's cargo, with none of rustup's settings, and a target folder of its own: its artifacts do not mix.
fn debian_cargo() -> Command {
    let mut command = sh::cargo_at("/usr/bin/cargo");
    for name in ["RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "CARGO", "RUSTDOC"] {
        command.env_remove(name);
    }
    command.env("RUSTC", "/usr/bin/rustc").env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld");
    command.env("CARGO_TARGET_DIR", sh::target().join("debian"));
    command
}

fn rustflags(features: &[&str], with_atomics: bool) -> String {
    // web-sys has WebGPU behind this, since the standard may still change.
    let mut flags = vec!["--cfg=web_sys_unstable_apis".to_owned()];
    if !features.is_empty() {
        flags.push(format!("-Ctarget-feature={}", features.join(",")));
    }
    if with_atomics {
        // The first module makes the memory, of as much as WebAssembly can address, and each thread's module imports it; what
        // wasm-bindgen needs to give a thread its own stack and variables has to be exported.
        let link = ["--shared-memory", "--import-memory", "--max-memory=4294967296"].map(str::to_owned);
        let exports = ["__wasm_init_tls", "__tls_size", "__tls_align", "__tls_base"];
        let exports = exports.map(|symbol| format!("--export={symbol}"));
        flags.extend(link.into_iter().chain(exports).map(|argument| format!("-Clink-arg={argument}")));
    } else {
        flags.push("-Clink-arg=--max-memory=4294967296".to_owned());
    }
    flags.join(" ")
}
