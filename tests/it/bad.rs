//! Bad files are refused by name, with the reason.

use std::path::PathBuf;

use vaekit_cli::args::CheckpointArgs;
use vaekit_cli::checkpoint;
use vaekit_cli::failure::exit_code;
use vaekit_cli::ui::Ui;
use vaekit_tests::fixtures::{FIXTURES, folder};

fn check(paths: &[PathBuf], args: &CheckpointArgs, expected: &[&str]) {
    let error =
        checkpoint::open(paths, args, false, &Ui::quiet()).err().unwrap_or_else(|| panic!("{paths:?} was taken"));
    let message = format!("{error:#}");
    assert_eq!(exit_code(&error), 3, "{message}");
    for part in expected {
        assert!(message.contains(part), "`{part}` is not in `{message}`");
    }
}

#[test]
fn each_bad_fixture_is_refused() {
    let bad = |name: &str, expected: &[&str]| check(&[folder("bad").join(name)], &CheckpointArgs::default(), expected);
    bad("empty.safetensors", &["empty.safetensors", "empty"]);
    bad("huge-header.safetensors", &["huge-header.safetensors", "4611686018427387904"]);
    bad("truncated.safetensors", &["truncated.safetensors", "bytes"]);
    bad("missing-tensor.safetensors", &["missing-tensor.safetensors", "lacks 1 of the"]);
    bad("malicious.ckpt", &["malicious.ckpt", "posix.system", "executes nothing"]);
    bad("no-such-file.safetensors", &["no-such-file.safetensors"]);
}

/// A wrong scaling gives washed-out pictures, so it is asked for.
#[test]
fn an_unknown_scaling_is_asked_for() {
    let bare = FIXTURES.iter().find(|fixture| fixture.name == "kl-ldm-f16").unwrap();
    check(&bare.paths(), &CheckpointArgs::default(), &["model.safetensors", "--scaling", "sd1", "sdxl"]);
}

#[test]
fn a_config_of_another_vae_is_refused() {
    let config = Some(folder("flux1-like").join("config.json"));
    check(&FIXTURES[0].paths(), &CheckpointArgs { config, scaling: None }, &["latent_channels", "16", "4"]);
}
