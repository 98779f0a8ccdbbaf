//! The GPU that WebGPU would give.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Gpu, GpuAdapter, GpuPowerPreference, GpuRequestAdapterOptions, WorkerGlobalScope};

use crate::js::object;

/// The high-performance adapter: `{ vendor, architecture, device, description, fallback, limits, features }`; null where
/// WebGPU is there but gives none, undefined where there is no WebGPU.
#[wasm_bindgen(js_name = gpuAdapter)]
pub async fn gpu_adapter() -> Result<JsValue, JsValue> {
    let navigator = js_sys::global().unchecked_into::<WorkerGlobalScope>().navigator();
    let gpu: JsValue = Reflect::get(&navigator, &"gpu".into())?;
    if gpu.is_undefined() {
        return Ok(JsValue::UNDEFINED);
    }
    let options = GpuRequestAdapterOptions::new();
    options.set_power_preference(GpuPowerPreference::HighPerformance);
    let adapter = JsFuture::from(gpu.unchecked_into::<Gpu>().request_adapter_with_options(&options)).await?;
    if adapter.is_null() {
        return Ok(JsValue::NULL);
    }
    let adapter: GpuAdapter = adapter.unchecked_into();
    let (info, limits) = (adapter.info(), adapter.limits());
    // Browsers move this flag from the adapter to its info.
    let is_fallback = |of: &JsValue| Reflect::get(of, &"isFallbackAdapter".into()).is_ok_and(|flag| flag.is_truthy());
    Ok(object([
        ("vendor", info.vendor().into()),
        ("architecture", info.architecture().into()),
        ("device", info.device().into()),
        ("description", info.description().into()),
        ("fallback", (is_fallback(&info) || is_fallback(&adapter)).into()),
        (
            "limits",
            object([
                ("maxBufferSize", limits.max_buffer_size().into()),
                ("maxStorageBufferBindingSize", limits.max_storage_buffer_binding_size().into()),
                ("maxComputeWorkgroupStorageSize", limits.max_compute_workgroup_storage_size().into()),
                ("maxComputeInvocationsPerWorkgroup", limits.max_compute_invocations_per_workgroup().into()),
            ]),
        ),
        ("features", Array::from(&adapter.features()).into()),
    ]))
}
