//! What works on this machine.

use serde::Serialize;

use crate::library::Runtime;
use crate::options::Options;
use crate::probe::probe;
use crate::provider::Provider;

/// A provider, on one of its devices where they differ in kind.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// The provider.
    pub provider: Provider,
    /// The device, as [`Options::device`] takes it, for a provider whose devices differ in kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<&'static str>,
    /// Whether it computed a small convolution correctly just now.
    pub works: bool,
    /// In one line, why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Tries every provider: opens a session on a tiny model, runs it, compares.
pub fn devices(runtime: &Runtime) -> Vec<Device> {
    let tried = |provider| kinds(runtime, provider).iter().map(move |&device| try_device(runtime, provider, device));
    Provider::ALL.into_iter().flat_map(tried).collect()
}

/// OpenVINO's devices are as different as other providers are.
fn kinds(runtime: &Runtime, provider: Provider) -> &'static [Option<&'static str>] {
    match provider {
        Provider::OpenVino if provider.is_in(runtime.library()) => &[Some("CPU"), Some("GPU"), Some("NPU")],
        _ => &[None],
    }
}

fn try_device(runtime: &Runtime, provider: Provider, device: Option<&'static str>) -> Device {
    let options = Options { device: device.map(Into::into), ..Options::default() };
    let reason = probe(runtime, provider, &options).err().map(|error| error.to_string());
    Device { provider, device, works: reason.is_none(), reason }
}
