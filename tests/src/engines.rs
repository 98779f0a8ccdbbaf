//! Every engine of this machine.

use std::path::Path;
use std::sync::OnceLock;

use vaekit::{Session, block_on};
use vaekit_cli::engine::{open_cpu, open_tract};
use vaekit_cli::gpu;
use vaekit_ort::{OrtSession, Provider, Runtime};
use vaekit_wgpu::{Gpu, GpuOptions};

/// Opens a model on ONNX Runtime's CPU provider, on vaekit's own engines and on tract.
///
/// # Panics
/// If an engine cannot open it, or `VAEKIT_REQUIRE_ORT` is set and there is no ONNX Runtime, or `VAEKIT_REQUIRE_WGPU`
/// and there is no GPU.
pub fn sessions(model: &Path) -> Vec<Box<dyn Session>> {
    let mut sessions: Vec<Box<dyn Session>> = Vec::new();
    match Runtime::load() {
        Ok(runtime) => {
            let options = vaekit_ort::Options { provider: Provider::Cpu.into(), ..Default::default() };
            let opened = OrtSession::open(&runtime, model, &options).unwrap_or_else(|error| panic!("{error}"));
            sessions.push(Box::new(opened.0));
        }
        Err(error) if std::env::var_os("VAEKIT_REQUIRE_ORT").is_some() => panic!("{error}"),
        Err(error) => eprintln!("skipped: {error}"),
    }
    let cpu = open_cpu(model, &vaekit_cpu::Options::default()).unwrap_or_else(|error| panic!("{error:#}"));
    sessions.push(Box::new(cpu.unwrap_or_else(|error| panic!("{error}"))));
    sessions.push(Box::new(open_tract(model, None).unwrap_or_else(|error| panic!("{error:#}"))));
    if let Some(gpu) = a_gpu() {
        sessions.push(Box::new(gpu::open(model, &gpu, None).unwrap_or_else(|error| panic!("{error:#}"))));
    }
    sessions
}

/// The GPU of the tests, a software one if there is no other; nothing if there is none, which is an error where
/// `VAEKIT_REQUIRE_WGPU` is set.
///
/// # Panics
/// In that case.
pub fn a_gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let options = GpuOptions { software: true, ..GpuOptions::default() };
    let gpu = GPU.get_or_init(|| match block_on(Gpu::request(&options)) {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("VAEKIT_REQUIRE_WGPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    });
    gpu.clone()
}
