//! What a session can be asked for, and what each provider makes of it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ort::ep::{self, ArenaExtendStrategy, ExecutionProviderDispatch, coreml, cuda, directml};

use crate::provider::{Choice, Provider};

/// What a session is to run on, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to run on.
    pub provider: Choice,
    /// Threads of the CPU that work on one operation; as many as the CPU has cores if `None`.
    pub threads: Option<NonZeroUsize>,
    /// Which of the provider's devices, in its own words: a number for CUDA, TensorRT, DirectML and MIGraphX; `CPU`, `GPU`,
    /// `GPU.1`, `NPU` for OpenVINO (`CPU` if `None`); `all`, `gpu`, `ane`, `cpu` for CoreML. The others have no choice.
    pub device: Option<String>,
    /// Whether a provider may compute with fewer bits than the model has.
    pub precision: Precision,
    /// A folder in which TensorRT, CoreML and OpenVINO keep what they compiled, so that the next start is quick. It belongs
    /// to one model and one machine.
    pub cache: Option<PathBuf>,
    /// Most bytes of a GPU's memory that CUDA's arena may hold, and TensorRT's workspace; unlimited if `None`.
    pub memory_limit: Option<NonZeroUsize>,
    /// How cuDNN finds its way to convolve.
    pub conv_search: ConvSearch,
}

/// Whether a provider may compute with fewer bits than the model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// No: an f32 model computes in f32, without TF32.
    #[default]
    Model,
    /// Yes, where it can: TF32 on CUDA, f16 on TensorRT, MIGraphX and OpenVINO's GPUs and NPUs, f16 sums on CoreML's GPUs.
    Reduced,
}

/// How cuDNN finds its way to convolve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvSearch {
    /// By its rules. ONNX Runtime's own default is the other one, which a VAE pays for with seconds and gigabytes at the
    /// first picture of each size.
    #[default]
    Heuristic,
    /// By trying all, once for each size.
    Exhaustive,
}

/// An option that a provider cannot follow, in words that continue after its name.
type Refusal = String;

impl Options {
    /// What to register for `provider`, in order; nothing for the CPU, which every session has.
    pub(crate) fn registrations(&self, provider: Provider) -> Result<Vec<ExecutionProviderDispatch>, Refusal> {
        Ok(match provider {
            Provider::Cpu => self.no_device().map(|()| Vec::new())?,
            Provider::Cuda => vec![self.cuda()?.build()],
            // TensorRT hands back what it cannot compile, and CUDA is there to take it.
            Provider::TensorRt => vec![self.tensorrt()?.build(), self.cuda()?.build()],
            Provider::DirectMl => vec![self.directml()?.build()],
            Provider::CoreMl => vec![self.coreml()?.build()],
            Provider::OpenVino => vec![self.openvino()?.build()],
            Provider::WebGpu => vec![self.no_device().map(|()| ep::WebGPU::default())?.build()],
            Provider::MiGraphX => vec![self.migraphx()?.build()],
            Provider::Xnnpack => vec![self.xnnpack()?.build()],
        })
    }

    fn cuda(&self) -> Result<ep::CUDA, Refusal> {
        let cuda = ep::CUDA::default()
            .with_device_id(self.device_number()?.unwrap_or(0))
            // A VAE's tensors differ in size by a factor of 64: doubling the arena at each step would waste half of it.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_tf32(self.precision == Precision::Reduced)
            .with_conv_algorithm_search(match self.conv_search {
                ConvSearch::Heuristic => cuda::ConvAlgorithmSearch::Heuristic,
                ConvSearch::Exhaustive => cuda::ConvAlgorithmSearch::Exhaustive,
            });
        Ok(match self.memory_limit {
            Some(bytes) => cuda.with_memory_limit(bytes.get()),
            None => cuda,
        })
    }

    fn tensorrt(&self) -> Result<ep::TensorRT, Refusal> {
        let mut tensorrt = ep::TensorRT::default()
            .with_device_id(self.device_number()?.unwrap_or(0))
            .with_fp16(self.precision == Precision::Reduced);
        if let Some(bytes) = self.memory_limit {
            tensorrt = tensorrt.with_max_workspace_size(bytes.get());
        }
        if let Some(cache) = self.cache_text()? {
            tensorrt = tensorrt
                .with_engine_cache(true)
                .with_engine_cache_path(cache)
                .with_timing_cache(true)
                .with_timing_cache_path(cache);
        }
        Ok(tensorrt)
    }

    fn directml(&self) -> Result<ep::DirectML, Refusal> {
        let directml = ep::DirectML::default()
            .with_device_filter(directml::DeviceFilter::Gpu)
            .with_performance_preference(directml::PerformancePreference::HighPerformance);
        Ok(match self.device_number()? {
            Some(number) => directml.with_device_id(number),
            None => directml,
        })
    }

    fn coreml(&self) -> Result<ep::CoreML, Refusal> {
        let units = match self.device.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("all") => coreml::ComputeUnits::All,
            Some("gpu") => coreml::ComputeUnits::CPUAndGPU,
            Some("ane") => coreml::ComputeUnits::CPUAndNeuralEngine,
            Some("cpu") => coreml::ComputeUnits::CPUOnly,
            Some(other) => return Err(format!("has no device `{other}`; it has all, gpu, ane and cpu")),
        };
        let coreml = ep::CoreML::default()
            .with_model_format(coreml::ModelFormat::MLProgram)
            .with_compute_units(units)
            .with_low_precision_accumulation_on_gpu(self.precision == Precision::Reduced);
        Ok(match self.cache_text()? {
            Some(cache) => coreml.with_model_cache_dir(cache),
            None => coreml,
        })
    }

    fn openvino(&self) -> Result<ep::OpenVINO, Refusal> {
        let device = self.device.as_deref().unwrap_or("CPU").to_ascii_uppercase();
        let (kind, number) = device.split_once('.').map_or((device.as_str(), None), |(kind, n)| (kind, Some(n)));
        let is_number = number.is_none_or(|n| n.parse::<u8>().is_ok());
        if !(["CPU", "GPU", "NPU"].contains(&kind) && is_number) {
            return Err(format!("has no device `{device}`; it has CPU, GPU, GPU.1 and so on, and NPU"));
        }
        // Left alone, OpenVINO computes an f32 model in f16 on a GPU. `ACCURACY` keeps the model's own.
        let precision = match (kind, self.precision) {
            ("CPU", _) => "FP32",
            (_, Precision::Model) => "ACCURACY",
            (_, Precision::Reduced) => "FP16",
        };
        let mut openvino = ep::OpenVINO::default().with_device_type(&device).with_precision(precision);
        if let Some(threads) = self.threads {
            openvino = openvino.with_num_threads(threads.get());
        }
        if let Some(cache) = self.cache_text()? {
            openvino = openvino.with_cache_dir(cache);
        }
        Ok(openvino)
    }

    fn migraphx(&self) -> Result<ep::MIGraphX, Refusal> {
        Ok(ep::MIGraphX::default()
            .with_device_id(self.device_number()?.unwrap_or(0))
            .with_fp16(self.precision == Precision::Reduced)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested))
    }

    fn xnnpack(&self) -> Result<ep::XNNPACK, Refusal> {
        self.no_device()?;
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok());
        Ok(threads.map_or_else(ep::XNNPACK::default, |n| ep::XNNPACK::default().with_intra_op_num_threads(n)))
    }

    fn device_number(&self) -> Result<Option<i32>, Refusal> {
        let Some(device) = &self.device else { return Ok(None) };
        let number = device.parse().ok().filter(|&number: &i32| number >= 0);
        number.map(Some).ok_or_else(|| format!("has no device `{device}`; its devices are numbers from 0"))
    }

    fn no_device(&self) -> Result<(), Refusal> {
        match &self.device {
            Some(device) => Err(format!("has no device `{device}`: there is nothing to choose from")),
            None => Ok(()),
        }
    }

    /// The cache's path as the C API takes it: text without zero bytes.
    fn cache_text(&self) -> Result<Option<&str>, Refusal> {
        let Some(cache) = &self.cache else { return Ok(None) };
        let text = cache.to_str().filter(|text| !text.contains('\0'));
        text.map(Some)
            .ok_or_else(|| format!("cannot keep what it compiles in {}: the path is not valid text", cache.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(provider: Provider, device: Option<&str>, expected: Result<usize, &str>) {
        let options = Options { device: device.map(Into::into), ..Options::default() };
        let found = options.registrations(provider).map(|list| list.len());
        assert_eq!(found, expected.map_err(Into::into), "{provider} {device:?}");
    }

    #[test]
    fn each_provider_knows_its_devices() {
        check(Provider::Cpu, None, Ok(0));
        check(Provider::Cpu, Some("0"), Err("has no device `0`: there is nothing to choose from"));
        check(Provider::Cuda, Some("1"), Ok(1));
        check(Provider::Cuda, Some("-1"), Err("has no device `-1`; its devices are numbers from 0"));
        check(Provider::Cuda, Some("gpu\0"), Err("has no device `gpu\0`; its devices are numbers from 0"));
        check(Provider::TensorRt, None, Ok(2));
        check(Provider::DirectMl, Some("0"), Ok(1));
        check(Provider::CoreMl, Some("ane"), Ok(1));
        check(Provider::CoreMl, Some("0"), Err("has no device `0`; it has all, gpu, ane and cpu"));
        check(Provider::OpenVino, Some("gpu.1"), Ok(1));
        check(Provider::OpenVino, Some("TPU"), Err("has no device `TPU`; it has CPU, GPU, GPU.1 and so on, and NPU"));
        check(
            Provider::OpenVino,
            Some("GPU.x"),
            Err("has no device `GPU.X`; it has CPU, GPU, GPU.1 and so on, and NPU"),
        );
        check(Provider::WebGpu, None, Ok(1));
        check(Provider::MiGraphX, Some("3"), Ok(1));
        check(Provider::Xnnpack, None, Ok(1));
    }

    #[test]
    fn a_path_that_c_cannot_hold_is_refused() {
        let options = Options { cache: Some("a\0b".into()), ..Options::default() };
        assert!(options.registrations(Provider::OpenVino).is_err());
    }
}
