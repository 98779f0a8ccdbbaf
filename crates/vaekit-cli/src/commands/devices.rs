//! `vaekit devices`: what this machine can run on.

use serde::Serialize;
use vaekit::block_on;
use vaekit_ort::{Device, Library, Runtime};
use vaekit_wgpu::probe::Finding;
use vaekit_wgpu::{AdapterReport, Gpu, GpuOptions};

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
    /// The GPUs that vaekit's own engine can use.
    pub gpus: Vec<GpuReport>,
    /// tract, which is always there.
    pub tract: vaekit::Engine,
}

/// A GPU, and whether vaekit's kernels give the right results on it.
#[derive(Debug, Serialize)]
pub struct GpuReport {
    /// What it is.
    pub adapter: AdapterReport,
    /// Its limits, if it gives a device.
    pub limits: Option<GpuLimits>,
    /// What each kernel did.
    pub kernels: Vec<Finding>,
    /// Why it cannot be used.
    pub reason: Option<String>,
}

/// What bounds the size of a picture on a GPU.
#[derive(Debug, Serialize)]
pub struct GpuLimits {
    /// Most bytes of one image.
    pub image_bytes: u64,
    /// Whether buffers may hold f16.
    pub f16: bool,
}

/// Looks, and tries every provider on a small model.
pub fn run() -> DevicesReport {
    let runtime = Runtime::load();
    DevicesReport {
        onnxruntime: runtime.as_ref().ok().map(|runtime| runtime.library().clone()),
        onnxruntime_error: runtime.as_ref().err().map(ToString::to_string),
        providers: runtime.as_ref().map(vaekit_ort::devices).unwrap_or_default(),
        cpu: vaekit_cpu::engine(),
        gpus: gpus(),
        tract: vaekit_tract::engine(),
    }
}

/// Every GPU, with all kernels tried on it.
fn gpus() -> Vec<GpuReport> {
    let adapters = block_on(Gpu::list());
    let of = |(number, adapter): (usize, AdapterReport)| {
        let options = GpuOptions { adapter: Some(number.to_string()), ..GpuOptions::default() };
        match block_on(Gpu::request(&options)) {
            Ok(gpu) => {
                let capabilities = gpu.capabilities();
                let image_bytes = capabilities.max_buffer.min(capabilities.max_binding);
                let limits = Some(GpuLimits { image_bytes, f16: gpu.has_f16() });
                let (kernels, reason) = match block_on(gpu.probe()) {
                    Ok(kernels) => (kernels, None),
                    Err(error) => (gpu.findings(), Some(error.to_string())),
                };
                GpuReport { adapter, limits, kernels, reason }
            }
            Err(error) => GpuReport { adapter, limits: None, kernels: Vec::new(), reason: Some(error.to_string()) },
        }
    };
    adapters.into_iter().enumerate().map(of).collect()
}

impl std::fmt::Display for GpuReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let AdapterReport { name, backend, kind, driver } = &self.adapter;
        match &self.reason {
            None if self.adapter.is_software() => write!(f, "  {name} works, where --device names it")?,
            None => write!(f, "  {name} works")?,
            Some(reason) => write!(f, "  {name} no: {reason}")?,
        }
        write!(f, "\n    {kind}, {backend}, driver {driver}")?;
        if let Some(GpuLimits { image_bytes, f16 }) = self.limits {
            let f16 = if f16 { "f16" } else { "f16 packed" };
            write!(f, "\n    images to {} MB, {f16}", image_bytes / 1_000_000)?;
        }
        let wrong: Vec<&Finding> = self.kernels.iter().filter(|finding| finding.is_wrong()).collect();
        write!(
            f,
            "\n    {} of {} kernels give the right results",
            self.kernels.len() - wrong.len(),
            self.kernels.len()
        )?;
        wrong.iter().try_for_each(|finding| {
            write!(f, "\n      {}: {}", finding.name, finding.wrong.as_deref().unwrap_or_default())
        })
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
        writeln!(f, "wgpu {}", self.cpu.version)?;
        if self.gpus.is_empty() {
            writeln!(f, "  no GPU that WebGPU can use: there is no driver for Vulkan, Metal or DX12")?;
        }
        self.gpus.iter().try_for_each(|gpu| writeln!(f, "{gpu}"))?;
        writeln!(f, "{} {}", self.tract.name, self.tract.version)?;
        write!(f, "  {:<14} works", self.tract.provider)
    }
}
