//! The program as a user runs it: files in, files out, exit codes.

mod cache;
mod choice;
mod compare;
#[expect(dead_code, reason = "its own tests need more of it")]
#[path = "../../../vaekit-hub/tests/it/fake_hub.rs"]
mod fake_hub;
mod fit;
mod gpu;
mod hub;
mod kill;
mod pictures;
mod provenance;
#[path = "../../../vaekit-hub/tests/it/server.rs"]
mod server;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use image::{ImageBuffer, Rgb};

/// A temporary folder, and a cache in it that no other test sees.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `vaekit` on tract, which is there on every machine.
    pub(crate) fn vaekit(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaekit"));
        command.args(arguments).current_dir(self.0.path()).env("VAEKIT_CACHE", shared_cache());
        // Neither what the user has installed and fetched nor what is remembered.
        command.env("VAEKIT_HOME", self.path(".home")).env_remove("VAEKIT_VAE_DIR");
        command.env("HF_HOME", self.path("hf")).env("VAEKIT_REGISTRY", "").env_remove("HF_HUB_CACHE");
        command
    }

    /// Copies a fixture to a file of that name, as it was an hour ago: what was written this moment is hashed each time.
    pub(crate) fn put(&self, fixture_name: &str, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture(fixture_name), &path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    /// A small picture to encode.
    pub(crate) fn picture(&self, name: &str) {
        let colour = |x: u32, y: u32| Rgb([(8 * x) as u8, (8 * y) as u8, 99]);
        ImageBuffer::from_fn(32, 32, colour).save(self.path(name)).unwrap();
    }

    /// Runs `vaekit`, which must succeed, and gives what it prints as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.vaekit(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs `vaekit`, which must fail with this code and these words.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.vaekit(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in `{message}`");
        }
    }
}

/// The starter VAE is converted once for all tests.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

pub(crate) fn fixture(name: &str) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    fixtures.join(name).to_string_lossy().into_owned()
}
