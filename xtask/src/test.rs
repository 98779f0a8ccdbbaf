//! `cargo xtask test`: everything that CI checks.

use std::time::Instant;

use anyhow::{Context, Result};
use vaekit_cli::ui::Ui;

use crate::{layers, setup, sh};

/// Options of the test command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Install nothing
    #[arg(long)]
    no_setup: bool,
}

pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let begin = Instant::now();
    let home = setup::home();
    if !args.no_setup {
        step("setup", || setup::run(ui))?;
    }
    // The same runtime for every step, whatever the user has installed, and no cache of an earlier run.
    let cargo = |arguments: &[&str]| {
        let mut command = sh::cargo();
        command
            .args(arguments)
            .env("VAEKIT_HOME", &home)
            .env("VAEKIT_CACHE", home.join("cache"))
            .env_remove("ORT_DYLIB_PATH");
        command
    };
    step("format", || sh::run(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("layers", layers::check)?;
    step("licences", || {
        sh::run(&mut cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))
    })?;
    step("tests", || {
        let mut tests = cargo(&["test", "--workspace"]);
        tests.env("VAEKIT_REQUIRE_ORT", "1");
        sh::run(setup::with_webgpu(&mut tests))
    })?;
    step("f16 on a GPU", || {
        // Those of vaekit-wgpu; all packages are named since others' features are built already.
        let mut tests =
            cargo(&["test", "--workspace", "--test", "it", "--", "kernels::", "layers::", "networks::", "runs::"]);
        if setup::use_lavapipe(&mut tests) {
            return sh::run(&mut tests);
        }
        ui.note("left out: there is no lavapipe");
        Ok(())
    })?;
    step("lints", || sh::run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])))?;
    step("docs", || sh::run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings")))?;
    step("web", || sh::run(&mut cargo(&["xtask", "web", "test"])))?;
    step("demo", || sh::run(&mut cargo(&["xtask", "demo"])))?;
    println!("\neverything passed in {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn step(name: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let begin = Instant::now();
    run().with_context(|| format!("step `{name}`"))?;
    println!("== {name}: {:.0} s", begin.elapsed().as_secs_f64());
    Ok(())
}
