//! Execution providers: their names, where they can exist, what brings them.

use std::fmt;
use std::str::FromStr;

use ort::ep::{self, ExecutionProvider};
use serde::{Deserialize, Serialize};

use crate::library::Library;

/// What ONNX Runtime runs a graph on.
///
/// Left out are providers that cannot take a VAE of any size: QNN and NNAPI want fixed shapes. ROCm's left ONNX Runtime
/// with 1.23; MIGraphX is AMD's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Any CPU, with ONNX Runtime's own kernels. In every build.
    Cpu,
    /// NVIDIA GPUs, with cuBLAS and cuDNN.
    Cuda,
    /// NVIDIA GPUs, compiled by TensorRT for each shape: slow to start, then fast.
    TensorRt,
    /// Any GPU on Windows, through Direct3D 12.
    DirectMl,
    /// Apple's GPUs and neural engine.
    CoreMl,
    /// Intel's GPUs and NPUs, and any x86-64 CPU.
    OpenVino,
    /// Any GPU, through Vulkan, Metal or Direct3D 12.
    WebGpu,
    /// AMD GPUs.
    MiGraphX,
    /// CPUs, with XNNPACK's kernels: mainly for ARM.
    Xnnpack,
}

impl Provider {
    /// Every provider, as lists show them.
    pub const ALL: [Provider; 9] = [
        Provider::Cpu,
        Provider::Cuda,
        Provider::TensorRt,
        Provider::DirectMl,
        Provider::CoreMl,
        Provider::OpenVino,
        Provider::WebGpu,
        Provider::MiGraphX,
        Provider::Xnnpack,
    ];

    /// The name that people type.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
            Provider::DirectMl => "directml",
            Provider::CoreMl => "coreml",
            Provider::OpenVino => "openvino",
            Provider::WebGpu => "webgpu",
            Provider::MiGraphX => "migraphx",
            Provider::Xnnpack => "xnnpack",
        }
    }

    /// ONNX Runtime's name for it.
    pub(crate) fn identifier(self) -> &'static str {
        match self {
            Provider::Cpu => ep::CPU::NAME,
            Provider::Cuda => ep::CUDA::NAME,
            Provider::TensorRt => ep::TensorRT::NAME,
            Provider::DirectMl => ep::DirectML::NAME,
            Provider::CoreMl => ep::CoreML::NAME,
            Provider::OpenVino => ep::OpenVINO::NAME,
            Provider::WebGpu => ep::WebGPU::NAME,
            Provider::MiGraphX => ep::MIGraphX::NAME,
            Provider::Xnnpack => ep::XNNPACK::NAME,
        }
    }

    /// Whether the library that is loaded has it; what it needs from the machine may still be missing.
    pub(crate) fn is_in(self, library: &Library) -> bool {
        let built_with = match self {
            Provider::Cpu => ep::CPU::is_available(),
            Provider::Cuda => ep::CUDA::is_available(),
            Provider::TensorRt => ep::TensorRT::is_available(),
            Provider::DirectMl => ep::DirectML::is_available(),
            Provider::CoreMl => ep::CoreML::is_available(),
            Provider::OpenVino => ep::OpenVINO::is_available(),
            Provider::WebGpu => ep::WebGPU::is_available(),
            Provider::MiGraphX => ep::MIGraphX::is_available(),
            Provider::Xnnpack => ep::XNNPACK::is_available(),
        };
        built_with.unwrap_or(false) && self.part().is_none_or(|part| library.has_beside(part))
    }

    /// The part of ONNX Runtime that holds the provider, if it is a library of its own. npm's build asks for CUDA's, which it
    /// comes without.
    fn part(self) -> Option<&'static str> {
        match self {
            Provider::Cuda => Some("onnxruntime_providers_cuda"),
            Provider::TensorRt => Some("onnxruntime_providers_tensorrt"),
            Provider::OpenVino => Some("onnxruntime_providers_openvino"),
            Provider::MiGraphX => Some("onnxruntime_providers_migraphx"),
            _ => None,
        }
    }

    /// The operating systems it can exist on, as [`std::env::consts::OS`] writes them.
    pub fn systems(self) -> &'static [&'static str] {
        match self {
            Provider::Cpu | Provider::WebGpu | Provider::Xnnpack => &["linux", "windows", "macos"],
            Provider::Cuda | Provider::TensorRt | Provider::OpenVino => &["linux", "windows"],
            Provider::DirectMl => &["windows"],
            Provider::CoreMl => &["macos"],
            Provider::MiGraphX => &["linux"],
        }
    }

    /// Whether it can exist on this operating system. Any system ONNX Runtime may have been ported to has a CPU.
    pub fn exists_here(self) -> bool {
        self == Provider::Cpu || self.systems().contains(&std::env::consts::OS)
    }

    /// Whether its results lie in the computer's own memory, not in a GPU's.
    pub(crate) fn computes_in_host_memory(self) -> bool {
        matches!(self, Provider::Cpu | Provider::Xnnpack | Provider::OpenVino)
    }

    /// What, besides ONNX Runtime, it needs from the machine.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Provider::Cpu | Provider::Xnnpack => "nothing but a CPU",
            Provider::Cuda => "an NVIDIA GPU with its driver, CUDA 13 and cuDNN 9",
            Provider::TensorRt => "an NVIDIA GPU with its driver, CUDA 13, cuDNN 9 and TensorRT 10",
            Provider::DirectMl => "a GPU with a Direct3D 12 driver",
            Provider::CoreMl => "macOS 12 or newer",
            Provider::OpenVino => "an Intel GPU or NPU with its driver, or any x86-64 CPU",
            Provider::WebGpu => "a GPU with a Vulkan, Metal or Direct3D 12 driver",
            Provider::MiGraphX => "an AMD GPU with ROCm and MIGraphX",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provider is called `{0}`; known are {known}", known = Provider::ALL.map(Provider::name).join(", "))]
pub struct UnknownProvider(pub String);

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        let name = text.trim().to_ascii_lowercase();
        let name = match name.as_str() {
            "dml" => "directml",
            "trt" => "tensorrt",
            "ov" => "openvino",
            name => name,
        };
        Provider::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
            .ok_or_else(|| UnknownProvider(text.to_string()))
    }
}

/// A provider by name, or whichever is best here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// The first of the platform's that works; the CPU if no other does.
    #[default]
    Auto,
    /// This one or an error.
    #[serde(untagged)]
    Named(Provider),
}

impl Choice {
    /// What `auto` tries before the CPU, best first.
    ///
    /// TensorRT is never in it: it compiles for minutes, again for each size. WebGPU is not in it on Linux, where without a
    /// GPU's driver it quietly runs on Mesa's or another software Vulkan, a hundred times slower than the CPU provider, and
    /// ONNX Runtime does not tell which adapter it got.
    pub fn order(system: &str) -> &'static [Provider] {
        match system {
            "windows" => &[Provider::Cuda, Provider::DirectMl, Provider::WebGpu],
            "macos" => &[Provider::CoreMl, Provider::WebGpu],
            "linux" => &[Provider::Cuda, Provider::MiGraphX, Provider::OpenVino],
            _ => &[],
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Auto => f.pad("auto"),
            Choice::Named(provider) => provider.fmt(f),
        }
    }
}

impl FromStr for Choice {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        if text.trim().eq_ignore_ascii_case("auto") { Ok(Choice::Auto) } else { text.parse().map(Choice::Named) }
    }
}

impl From<Provider> for Choice {
    fn from(provider: Provider) -> Self {
        Choice::Named(provider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expected: Option<Choice>) {
        assert_eq!(typed.parse().ok(), expected, "{typed}");
    }

    #[test]
    fn names_are_as_people_type_them() {
        check("auto", Some(Choice::Auto));
        check("cuda", Some(Provider::Cuda.into()));
        check(" CUDA ", Some(Provider::Cuda.into()));
        check("dml", Some(Provider::DirectMl.into()));
        check("trt", Some(Provider::TensorRt.into()));
        check("", None);
        check("gpu", None);
        for provider in Provider::ALL {
            check(provider.name(), Some(provider.into()));
            assert_eq!(serde_json::to_value(provider).unwrap(), provider.name());
            assert_eq!(serde_json::to_value(Choice::Named(provider)).unwrap(), provider.name());
        }
        assert_eq!(serde_json::to_value(Choice::Auto).unwrap(), "auto");
    }

    #[test]
    fn an_unknown_name_lists_the_known() {
        let message = "gpu".parse::<Provider>().unwrap_err().to_string();
        assert_eq!(
            message,
            "no provider is called `gpu`; known are cpu, cuda, tensorrt, directml, coreml, openvino, webgpu, migraphx, xnnpack"
        );
    }

    #[test]
    fn auto_tries_only_what_exists() {
        for system in ["linux", "windows", "macos"] {
            for provider in Choice::order(system) {
                assert!(provider.systems().contains(&system), "{provider} on {system}");
            }
        }
    }
}
