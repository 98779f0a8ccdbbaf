//! A process that dies at a random moment leaves no half result under its name.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{Place, fixture};

#[test]
fn a_killed_conversion_leaves_nothing_or_all() {
    let place = Place::new();
    let checkpoint = fixture("kl-diffusers/diffusion_pytorch_model.safetensors");
    let whole = Instant::now();
    place.json(&["convert", &checkpoint, "-o", "reference"]);
    let whole = whole.elapsed();

    for step in 0..24u32 {
        let mut child = place.command(&["convert", &checkpoint, "-o", "killed", "--quiet"]).spawn().unwrap();
        sleep(whole * step / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        if place.path("killed").exists() {
            place.json(&["inspect", "killed"]);
            let read = |folder: &str| std::fs::read(place.path(folder).join("vae_decoder/model.onnx")).unwrap();
            assert!(read("killed") == read("reference"), "killed after step {step}");
        }
    }
    // The next run sweeps up what the killed ones left, and is not disturbed by it.
    place.json(&["convert", &checkpoint, "-o", "killed"]);
    let left: Vec<_> = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[cfg(unix)]
#[test]
fn signals_sweep_up_and_exit_with_130() {
    use std::process::Command;
    let checkpoint = fixture("kl-diffusers/diffusion_pytorch_model.safetensors");
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        // Verification takes long enough to be interrupted in.
        let mut child = place.command(&["convert", &checkpoint, "-o", "out", "--verify", "--quiet"]).spawn().unwrap();
        let begin = Instant::now();
        while std::fs::read_dir(place.path(".")).unwrap().next().is_none() && begin.elapsed() < Duration::from_secs(10)
        {
            sleep(Duration::from_millis(1));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let left: Vec<_> =
            std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
