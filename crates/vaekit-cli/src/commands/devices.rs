//! `vaekit devices`: what this machine can run on.

use serde::Serialize;
use vaekit_ort::{Device, Library, Runtime};

/// The engines and their providers.
#[derive(Debug, Serialize)]
pub struct DevicesReport {
    /// ONNX Runtime's library, where there is one.
    pub onnxruntime: Option<Library>,
    /// Why there is none.
    pub onnxruntime_error: Option<String>,
    /// ONNX Runtime's execution providers.
    pub providers: Vec<Device>,
    /// vaekit's own engine, which is always there.
    pub cpu: vaekit::Engine,
    /// tract, which is always there.
    pub tract: vaekit::Engine,
}

/// Looks, and tries every provider on a small model.
pub fn run() -> DevicesReport {
    let runtime = Runtime::load();
    DevicesReport {
        onnxruntime: runtime.as_ref().ok().map(|runtime| runtime.library().clone()),
        onnxruntime_error: runtime.as_ref().err().map(ToString::to_string),
        providers: runtime.as_ref().map(vaekit_ort::devices).unwrap_or_default(),
        cpu: vaekit_cpu::engine(),
        tract: vaekit_tract::engine(),
    }
}

impl std::fmt::Display for DevicesReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.onnxruntime, &self.onnxruntime_error) {
            (Some(library), _) => {
                writeln!(f, "ort {}, {} ({})", library.version, library.path.display(), library.origin)?;
            }
            (None, error) => writeln!(f, "ort: {}", error.as_deref().unwrap_or_default())?,
        }
        for device in &self.providers {
            let name =
                device.device.map_or_else(|| device.provider.to_string(), |id| format!("{} {id}", device.provider));
            match &device.reason {
                None => writeln!(f, "  {name:<14} works")?,
                Some(reason) => writeln!(f, "  {name:<14} no: {reason}")?,
            }
        }
        writeln!(f, "{} {}", self.cpu.name, self.cpu.version)?;
        writeln!(f, "  {:<14} works", self.cpu.provider)?;
        writeln!(f, "{} {}", self.tract.name, self.tract.version)?;
        write!(f, "  {:<14} works", self.tract.provider)
    }
}
