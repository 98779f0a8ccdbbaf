//! The engine on whatever GPU there is, best a software one: kernels against their twins, networks against an evaluation in
//! f64 that knows neither ONNX nor these kernels.

mod expectations;
mod kernels;
mod layers;
mod networks;
mod plans;
mod runs;
#[path = "../../../vaekit-onnx/tests/it/vaes.rs"]
mod vaes;
#[path = "../../../vaekit-cpu/tests/it/weights.rs"]
mod weights;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use vaekit::block_on;
use vaekit_wgpu::{Gpu, GpuOptions};

/// The GPU of the tests, a software one if there is no other; nothing if there is none, which is an error where
/// `VAEKIT_REQUIRE_WGPU` is set.
fn gpu() -> Option<Gpu> {
    static GPU: OnceLock<Option<Gpu>> = OnceLock::new();
    let gpu = GPU.get_or_init(|| match request() {
        Ok(gpu) => Some(gpu),
        Err(error) if std::env::var_os("VAEKIT_REQUIRE_WGPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    });
    gpu.clone()
}

/// The device of tests that count its memory or its errors, one at a time, with as much memory as there is.
fn alone() -> Option<MutexGuard<'static, Gpu>> {
    static GPU: OnceLock<Mutex<Gpu>> = OnceLock::new();
    gpu()?;
    let gpu = GPU.get_or_init(|| Mutex::new(request().unwrap())).lock().unwrap_or_else(PoisonError::into_inner);
    gpu.limit_memory(u64::MAX);
    Some(gpu)
}

/// A device of its own.
fn request() -> Result<Gpu, vaekit_wgpu::GpuError> {
    block_on(Gpu::request(&GpuOptions { software: true, ..GpuOptions::default() }))
}
