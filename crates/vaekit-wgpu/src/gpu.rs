//! A device, and what it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::device::locked;
use crate::draw::Drawer;
use crate::kernels::Kernel;
use crate::layout::Storage;
use crate::memory::Memory;
use crate::pipeline::{Layouts, Pipeline};
use crate::plan::Capabilities;
use crate::probe::Finding;
use crate::run::{Prepared, Rate};

/// Which GPU is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuOptions {
    /// Part of its name, in any case, or its number in [`Gpu::list`]; the fastest kind if nothing. Natively only: a page
    /// gets the one that its browser thinks fastest.
    pub adapter: Option<String>,
    /// Whether one that is a program on the CPU will do: slower than vaekit's CPU engine, but good for tests. One that is
    /// asked for by name always will.
    pub software: bool,
}

/// Why there is no GPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is none at all, or none that is a GPU.
    #[error("there is no GPU that WebGPU can use{}", found(.others))]
    None {
        /// What there is instead.
        others: Vec<String>,
    },
    /// None is called so.
    #[error("no GPU is called `{wanted}`{}", found(.others))]
    Unknown {
        /// The name asked for.
        wanted: String,
        /// What there is instead.
        others: Vec<String>,
    },
    /// Its driver gives no device.
    #[error("{adapter} gives no device: {reason}")]
    NoDevice {
        /// The GPU.
        adapter: String,
        /// What it said.
        reason: String,
    },
}

fn found(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!("; there is {}", others.join(", ")) }
}

/// What a GPU is, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterReport {
    /// As its driver calls it; empty in browsers that do not say.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` or `webgpu`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
}

impl AdapterReport {
    fn new(info: &wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => "discrete",
            wgpu::DeviceType::IntegratedGpu => "integrated",
            wgpu::DeviceType::VirtualGpu => "virtual",
            wgpu::DeviceType::Cpu => "software",
            wgpu::DeviceType::Other => "other",
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        let backend = match info.backend {
            wgpu::Backend::BrowserWebGpu => "webgpu".to_owned(),
            backend => backend.to_string(),
        };
        AdapterReport { name: info.name.clone(), backend, kind, driver }
    }

    /// Whether it is a program on the CPU.
    pub fn is_software(&self) -> bool {
        // Browsers tell of fallback adapters only; SwiftShader and lavapipe are ones.
        let name = self.name.to_lowercase();
        self.kind == "software" || ["swiftshader", "llvmpipe", "lavapipe"].iter().any(|known| name.contains(known))
    }

    /// Whether its memory is the system's, as far as is known: it may then take more than the system can spare, see
    /// [`Gpu::limit_memory`].
    pub fn shares_memory(&self) -> bool {
        self.kind == "integrated" || self.is_software()
    }
}

impl std::fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = if self.name.is_empty() { "a GPU" } else { &self.name };
        write!(f, "{name} ({})", self.backend)
    }
}

/// A device and its queue. Clones share them, the kernels that were compiled and probed, and the memory that runs work on.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) report: AdapterReport,
    pub(crate) memory: Arc<Memory>,
    pub(crate) layouts: Mutex<Layouts>,
    pub(crate) pipelines: Mutex<HashMap<Kernel, Arc<Pipeline>>>,
    pub(crate) findings: Mutex<Vec<Finding>>,
    /// The kernels that draw, or why one does not work here.
    pub(crate) drawers: Mutex<HashMap<Storage, Result<Arc<Drawer>, String>>>,
    /// How fast the device is.
    pub(crate) rate: Mutex<Rate>,
    /// What the last run worked on, and the number of its session: the next may run on the same, and no two are kept.
    pub(crate) idle: Mutex<Option<(u64, Prepared)>>,
    sessions: AtomicU64,
    told: Told,
}

/// What a device tells without being asked.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// Why it was lost, if it was.
    pub(crate) lost: Arc<Mutex<Option<String>>>,
    /// The first error that nobody waited for.
    stray: Arc<Mutex<Option<String>>>,
}

/// Seconds that a dispatch should take at most: systems reset devices that seem to hang.
const DISPATCH: f64 = 0.05;

/// Multiply-adds that a dispatch may have on the slowest device: with fewer, handing over takes longer than computing.
const LEAST_MACS: f64 = 1e8;

impl Gpu {
    /// A device of the GPU that is wanted.
    ///
    /// # Errors
    /// [`GpuError`], which says what there is instead.
    pub async fn request(options: &GpuOptions) -> Result<Self, GpuError> {
        let adapter = choose(adapters().await, options)?;
        let report = AdapterReport::new(&adapter.get_info());
        let limits = wanted_limits(&adapter.limits());
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("vaekit"),
            required_features: adapter.features() & wgpu::Features::SHADER_F16,
            required_limits: limits,
            ..wgpu::DeviceDescriptor::default()
        };
        let device = adapter.request_device(&descriptor).await;
        let no_device = |error: wgpu::RequestDeviceError| GpuError::NoDevice {
            adapter: report.to_string(),
            reason: error.to_string(),
        };
        let (device, queue) = device.map_err(no_device)?;
        let told = Told::default();
        let lost = Arc::clone(&told.lost);
        device.set_device_lost_callback(move |reason, message| {
            locked(&lost).get_or_insert(format!("{reason:?} {message}"));
        });
        let stray = Arc::clone(&told.stray);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&stray).get_or_insert(error.to_string());
        }));
        Ok(Gpu::new(device, queue, report, told))
    }

    /// A device that an application already has; its handlers of errors stay as they are, so that its loss shows only when
    /// something fails.
    ///
    /// Its limits are what this engine keeps to: large pictures want the adapter's own `max_buffer_size` and
    /// `max_storage_buffer_binding_size`.
    pub fn from_device(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let report = AdapterReport::new(&device.adapter_info());
        Gpu::new(device, queue, report, Told::default())
    }

    #[cfg_attr(
        target_arch = "wasm32",
        expect(
            clippy::arc_with_non_send_sync,
            reason = "a page's device belongs to its thread; natively they are shared"
        )
    )]
    fn new(device: wgpu::Device, queue: wgpu::Queue, report: AdapterReport, told: Told) -> Self {
        let shared = Shared {
            rate: Mutex::new(Rate::first(&report)),
            device,
            queue,
            report,
            memory: Arc::default(),
            layouts: Mutex::default(),
            pipelines: Mutex::default(),
            findings: Mutex::default(),
            drawers: Mutex::default(),
            idle: Mutex::default(),
            sessions: AtomicU64::new(0),
            told,
        };
        Gpu { shared: Arc::new(shared) }
    }

    /// The number of a session.
    pub(crate) fn number(&self) -> u64 {
        self.shared.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// The GPUs of this machine, those first that [`request`](Self::request) prefers. In a page there is one at most.
    pub async fn list() -> Vec<AdapterReport> {
        adapters().await.iter().map(|adapter| AdapterReport::new(&adapter.get_info())).collect()
    }

    /// What it is.
    pub fn report(&self) -> &AdapterReport {
        &self.shared.report
    }

    /// wgpu's device: to be shared with an application, or lent to a page with `as_webgpu`.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// wgpu's queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.shared.queue
    }

    /// Whether the device has f16 in buffers; without, it is packed.
    pub fn has_f16(&self) -> bool {
        self.shared.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// How images are stored in half the memory.
    pub fn half_storage(&self) -> Storage {
        if self.has_f16() { Storage::F16 } else { Storage::PackedF16 }
    }

    /// What the device can do.
    pub fn capabilities(&self) -> Capabilities {
        let limits = self.shared.device.limits();
        let guaranteed = Capabilities::default();
        let macs = locked(&self.shared.rate).per_second() * DISPATCH;
        Capabilities {
            max_buffer: limits.max_buffer_size,
            max_binding: limits.max_storage_buffer_binding_size,
            max_groups: limits.max_compute_workgroups_per_dimension,
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            workgroup_threads: limits.max_compute_invocations_per_workgroup,
            dispatch_macs: macs.clamp(LEAST_MACS, guaranteed.dispatch_macs as f64) as u64,
            wrong: self
                .findings()
                .into_iter()
                .filter(|finding| finding.is_wrong())
                .map(|finding| finding.kernel)
                .collect(),
            ..guaranteed
        }
    }

    /// What the probe found of each kernel that was asked for so far.
    pub fn findings(&self) -> Vec<Finding> {
        locked(&self.shared.findings).clone()
    }

    /// Why the device can no longer be used, if it was lost; another may then be requested.
    pub fn lost(&self) -> Option<String> {
        locked(&self.shared.told.lost).clone()
    }

    /// Notes that the device no longer works.
    pub(crate) fn note_lost(&self, reason: String) -> String {
        locked(&self.shared.told.lost).get_or_insert(reason).clone()
    }

    /// The first error of the device that nobody waited for, if it is one that was [requested](Self::request). Runs wait for
    /// theirs: it is that of an application that shares the device, and ends nothing here.
    pub fn stray_error(&self) -> Option<String> {
        locked(&self.shared.told.stray).clone()
    }
}

/// The limits to ask for: a device has the guaranteed ones unless more are asked for.
fn wanted_limits(adapter: &wgpu::Limits) -> wgpu::Limits {
    let guaranteed = wgpu::Limits::defaults();
    wgpu::Limits {
        max_buffer_size: adapter.max_buffer_size,
        max_storage_buffer_binding_size: adapter.max_storage_buffer_binding_size,
        ..guaranteed.or_worse_values_from(adapter)
    }
}

/// Percent of the memory that a system grants, past which no buffer is created: where there is too little, drivers of Vulkan
/// and DX12 rather move what others hold, and everything crawls.
#[cfg(not(target_arch = "wasm32"))]
const MEMORY_PERCENT: u8 = 90;

#[cfg(not(target_arch = "wasm32"))]
async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(MEMORY_PERCENT),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    adapters.retain(|adapter| {
        let downlevel = adapter.get_downlevel_capabilities();
        downlevel.flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    adapters.sort_by_key(|adapter| {
        let info = adapter.get_info();
        // The same GPU may be there twice on Windows; Vulkan's compiler of shaders is the quicker one.
        (rank(info.device_type), info.backend == wgpu::Backend::Dx12)
    });
    adapters
}

#[cfg(target_arch = "wasm32")]
async fn adapters() -> Vec<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let power_preference = wgpu::PowerPreference::HighPerformance;
    let options = wgpu::RequestAdapterOptions { power_preference, ..wgpu::RequestAdapterOptions::default() };
    instance.request_adapter(&options).await.into_iter().collect()
}

#[cfg(not(target_arch = "wasm32"))]
fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

fn choose(adapters: Vec<wgpu::Adapter>, options: &GpuOptions) -> Result<wgpu::Adapter, GpuError> {
    let reports: Vec<AdapterReport> = adapters.iter().map(|adapter| AdapterReport::new(&adapter.get_info())).collect();
    let others = || reports.iter().map(ToString::to_string).collect();
    let chosen = match &options.adapter {
        Some(wanted) => {
            let by_number = wanted.parse().ok().filter(|&number: &usize| number < reports.len());
            let named = |report: &AdapterReport| report.to_string().to_lowercase().contains(&wanted.to_lowercase());
            let chosen = by_number.or_else(|| reports.iter().position(named));
            chosen.ok_or_else(|| GpuError::Unknown { wanted: wanted.clone(), others: others() })?
        }
        None => {
            let suits = |report: &AdapterReport| options.software || !report.is_software();
            reports.iter().position(suits).ok_or_else(|| GpuError::None { others: others() })?
        }
    };
    Ok(adapters.into_iter().nth(chosen).expect("found among them"))
}
