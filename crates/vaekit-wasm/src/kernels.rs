//! Trying the GPU's kernels one by one.

use vaekit_wgpu::kernels::{Case, Kernel};
use vaekit_wgpu::{Gpu, GpuOptions, probe};
use wasm_bindgen::prelude::*;

use crate::error::{Kind, OfKind};

/// Tries every kernel on the page's GPU, a program too: JSON of `{ kernel, wrong }`, the latter null where it is right.
#[wasm_bindgen(js_name = tryKernels)]
pub async fn try_kernels() -> Result<String, JsValue> {
    let options = GpuOptions { software: true, ..GpuOptions::default() };
    let gpu = Gpu::request(&options).await.of_kind(Kind::Engine)?;
    let mut trials = Vec::new();
    let most = gpu.capabilities().workgroup_bytes;
    // What takes more than the device has is never chosen on it.
    let fits = |case: &Case| !matches!(&case.kernel, Kernel::Conv(conv) if conv.workgroup_bytes() > most);
    for case in Case::all(gpu.half_storage()).into_iter().filter(fits) {
        let wrong = match gpu.run_case(&case).await {
            Ok(found) => probe::compare(&case, &found).err(),
            Err(error) => Some(error.to_string()),
        };
        trials.push(serde_json::json!({ "kernel": format!("{:?}", case.kernel), "wrong": wrong }));
    }
    Ok(serde_json::Value::from(trials).to_string())
}
