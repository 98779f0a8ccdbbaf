//! vaekit's own engine on a GPU: choosing one, and opening models on it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use vaekit::block_on;
use vaekit_onnx::Precision;
use vaekit_wgpu::{Gpu, GpuOptions, Options, WgpuSession};

use crate::args::EngineArgs;
use crate::platform;

/// Pixels or latents along a side that a model is tried on before `auto` relies on it.
const TRIED: usize = 16;

/// The GPU that `--device` names, by a part of its name or its number; else the fastest kind that is no program on the CPU. One
/// that has no memory of its own takes no more than the system has free now.
///
/// # Errors
/// Which GPUs there are instead.
pub fn request(args: &EngineArgs) -> Result<Gpu> {
    let options = GpuOptions { adapter: args.device.clone(), ..GpuOptions::default() };
    let gpu = block_on(Gpu::request(&options))?;
    // A driver may grant what the system then has to swap.
    if gpu.report().shares_memory()
        && let Some(available) = platform::available_memory()
    {
        gpu.limit_memory(available);
    }
    Ok(gpu)
}

/// A model on a GPU. Images are stored in f16 where f32 does not fit, if the model itself is in fp16: its conversion has
/// proved that its values stay in range.
///
/// # Errors
/// If the file cannot be read, or is none that this engine takes.
pub fn open(path: &Path, gpu: &Gpu, precision: Option<Precision>) -> Result<WgpuSession> {
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let options = Options { allow_f16: precision == Some(Precision::Fp16), ..Options::default() };
    block_on(WgpuSession::open(gpu, file, &options)).with_context(|| path.display().to_string())
}

/// A model on the GPU that is asked for or else the best real one, on which it was tried on a small input.
///
/// # Errors
/// Why the engine is passed over.
pub fn open_best(
    path: &Path,
    gpu: &mut Option<Gpu>,
    args: &EngineArgs,
    precision: Option<Precision>,
) -> Result<WgpuSession> {
    let gpu = match gpu {
        Some(gpu) => gpu,
        None => gpu.insert(request(args)?),
    };
    let mut session = open(path, gpu, precision)?;
    block_on(session.prepare([session.inputs(), TRIED, TRIED])).map_err(|error| anyhow!(error))?;
    Ok(session)
}
