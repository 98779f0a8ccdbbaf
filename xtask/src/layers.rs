//! Who may know whom: each crate's promise of what it does not depend on, checked on `cargo tree`.

use anyhow::{Context, Result, ensure};

use crate::sh;

/// A crate, and names that its dependencies must not hold.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("vaekit", &["ort", "tract-onnx", "prost", "safetensors", "image", "clap", "memmap2"]),
    ("vaekit-checkpoint", &["ort", "tract-onnx", "prost", "image", "clap", "memmap2", "vaekit-onnx"]),
    ("vaekit-hub", &["ort", "tract-onnx", "image", "clap", "tokio", "reqwest", "vaekit", "vaekit-checkpoint"]),
    ("vaekit-latents", &["ort", "tract-onnx", "prost", "image", "clap", "vaekit-onnx", "vaekit-checkpoint"]),
    ("vaekit-library", &["ort", "tract-onnx", "image", "clap"]),
    ("vaekit-onnx", &["ort", "tract-onnx", "image", "clap", "safetensors", "vaekit-checkpoint"]),
    ("vaekit-reference", &["ort", "tract-onnx", "prost", "image", "clap", "vaekit-onnx", "vaekit-checkpoint"]),
    ("vaekit-ort", &["tract-onnx", "image", "clap", "safetensors", "vaekit-checkpoint", "vaekit-onnx"]),
    ("vaekit-kernels", &["ort", "tract-onnx", "prost", "image", "clap", "vaekit", "vaekit-onnx"]),
    ("vaekit-cpu", &["ort", "tract-onnx", "image", "clap", "safetensors", "vaekit-checkpoint"]),
    (
        "vaekit-compare",
        &["ort", "tract-onnx", "prost", "safetensors", "image", "clap", "vaekit-onnx", "vaekit-checkpoint"],
    ),
    ("vaekit-wgpu", &["ort", "tract-onnx", "image", "clap", "rayon", "safetensors", "vaekit-checkpoint", "vaekit-cpu"]),
    ("vaekit-tract", &["ort", "image", "clap", "safetensors", "vaekit-checkpoint", "vaekit-onnx"]),
];

pub(crate) fn check() -> Result<()> {
    for (package, forbidden) in FORBIDDEN {
        let tree = ["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package", package];
        let output = sh::cargo().args(tree).output().context("cannot start cargo tree")?;
        ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout)?;
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        for name in *forbidden {
            ensure!(!names.contains(name), "{package} depends on {name}, which it must not know");
        }
    }
    Ok(())
}
