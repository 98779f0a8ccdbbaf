//! The GPU that WebGPU would give, and what a model needs of it or of the module's memory.

use js_sys::{Array, Reflect};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Gpu, GpuAdapter, GpuRequestAdapterOptions, WorkerGlobalScope};

use serde::Serialize;
use vaekit::Half;
use vaekit::cost::cost;
use vaekit_onnx::Manifest;

use crate::engine::MAX_MEMORY;
use crate::error::{Kind, OfKind};
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
    // wgpu has an enumeration of web-sys' name for it, and a module can have only one.
    Reflect::set(&options, &"powerPreference".into(), &"high-performance".into())?;
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

/// What could run one half, or why not.
#[derive(Serialize)]
struct Fit {
    half: Half,
    engine: &'static str,
    fits: bool,
    why: String,
}

/// [`Fit`]s as JSON, for a model folder's manifest and a picture of a size. The limits are those of the adapter: bytes of one
/// buffer, the smaller one of both; 0 where there is none.
#[wasm_bindgen]
pub fn fits(manifest: &str, width: usize, height: usize, max_buffer: f64) -> Result<String, JsValue> {
    let manifest = Manifest::from_json(manifest.as_bytes()).of_kind(Kind::BadInput)?;
    let facts = &manifest.facts;
    let factor = facts.config.latents.downsample_factor;
    let positions = (width.div_ceil(factor) as u64).saturating_mul(height.div_ceil(factor) as u64);
    let mut fits = Vec::new();
    for (half, hints) in [(Half::Encoder, &facts.hints.encoder), (Half::Decoder, &facts.hints.decoder)] {
        let Some(hints) = hints else { continue };
        // In f32, whatever the model is stored in.
        let peak = cost(&facts.config, half, 4).peak_bytes.at(positions);
        let held = format!("the {half} holds about {} of activations", megabytes(peak));
        let (cpu, limit) = (peak <= MAX_MEMORY, "WebAssembly can address 4 GiB");
        fits.push(Fit { half, engine: "cpu", fits: cpu, why: format!("{held}, and {limit}") });
        let largest = hints.largest_bytes.at(positions);
        let needs = format!("the {half}'s largest tensor takes {}", megabytes(largest));
        let (gpu, why) = match max_buffer {
            0.0 => (false, "there is no WebGPU adapter".to_owned()),
            limit => {
                (largest as f64 <= limit, format!("{needs}, a buffer of this adapter {}", megabytes(limit as u64)))
            }
        };
        fits.push(Fit { half, engine: "webgpu", fits: gpu, why });
    }
    Ok(serde_json::to_string(&fits).expect("fits have string keys only"))
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
