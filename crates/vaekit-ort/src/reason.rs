//! Makes one useful line of what ONNX Runtime says, in its errors and in its log.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use ort::logging::{LogLevel, LoggerFunction};
use vaekit::Failure;

thread_local! {
    /// The last error that ONNX Runtime logged on this thread. Some failures are told only there.
    static LOGGED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes ONNX Runtime's log. All of it is for debugging here: what matters comes back as an error.
pub(crate) fn logger() -> LoggerFunction {
    Arc::new(|level, _category: &str, _id: &str, place: &str, message: &str| match level {
        LogLevel::Verbose | LogLevel::Info => tracing::trace!(target: "onnxruntime", place, "{message}"),
        LogLevel::Warning => tracing::debug!(target: "onnxruntime", place, "{message}"),
        LogLevel::Error | LogLevel::Fatal => {
            tracing::debug!(target: "onnxruntime", place, "{message}");
            LOGGED.set(Some(message.to_string()));
        }
    })
}

/// Forgets what was logged before a step whose failure [`of`] may have to explain.
pub(crate) fn start() {
    LOGGED.take();
}

/// The reason of an error of ONNX Runtime's, in one line.
pub(crate) fn of<R>(error: &ort::Error<R>) -> String {
    let logged = LOGGED.take();
    match error.message() {
        // Says no more; the log does.
        message if message.starts_with("Failed to load provider") => useful(logged.as_deref().unwrap_or(message)),
        message => useful(message),
    }
}

/// A reason that [`of`] gave, by kind.
pub(crate) fn failure(reason: String) -> Failure {
    match reason.strip_prefix(OUT_OF_MEMORY) {
        Some(reason) => Failure::OutOfMemory(reason.to_owned()),
        None => Failure::Other(reason),
    }
}

/// How the reason begins where memory ran out.
const OUT_OF_MEMORY: &str = "out of memory: ";
/// Phrases that end what only ONNX Runtime's developers want to know.
const PREAMBLES: [&str; 5] =
    ["Status Message: ", "with error: ", "[OpenVINO] ", " was false. ", "[ONNXRuntimeError] : "];
/// Phrases that begin what only they want to know.
const APPENDICES: [&str; 3] = [" ; GPU=", "When calling Run() with", "Please fix either"];
/// What the providers say when memory runs out.
const MEMORY: [&str; 7] = [
    "failed to allocate memory",
    "out of memory",
    "bad_alloc",
    "bad allocation",
    "not enough memory",
    "e_outofmemory",
    "8007000e",
];

/// The useful part of a message, without source files, signatures and codes.
fn useful(message: &str) -> String {
    let library = message.split_once("Failed to load library ").and_then(|(_, rest)| rest.split_once(" with error: "));
    let mut line = message.trim();
    for preamble in PREAMBLES {
        line = line.rsplit_once(preamble).map_or(line, |(_, rest)| rest);
    }
    line = without_place(line.trim());
    for appendix in APPENDICES {
        line = line.split_once(appendix).map_or(line, |(first, _)| first);
    }
    // `2 : INVALID_ARGUMENT : what happened`
    line = line
        .rsplit_once(" : ")
        .filter(|(code, _)| code.starts_with(|c: char| c.is_ascii_digit()))
        .map_or(line, |(_, l)| l);
    let line = line.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ");
    let line = line.trim_end_matches('.');
    if let Some((path, _)) = library {
        let name = Path::new(path).file_name().map_or(path.into(), |name| name.to_string_lossy());
        return format!(
            "{name} cannot be loaded: {}",
            line.strip_prefix(path).unwrap_or(line).trim_start_matches(": ")
        );
    }
    let lower = message.to_ascii_lowercase();
    if MEMORY.iter().any(|phrase| lower.contains(phrase)) {
        return format!("{OUT_OF_MEMORY}{line}");
    }
    line.to_string()
}

/// Drops `/src/file.cc:123 void* ns::Class::Method(size_t, bool) ` from the front.
fn without_place(line: &str) -> &str {
    let Some((place, rest)) = line.split_once(' ') else { return line };
    let is_place = place.rsplit_once(':').is_some_and(|(file, n)| {
        n.chars().all(|c| c.is_ascii_digit()) && [".cc", ".cpp", ".h"].iter().any(|end| file.ends_with(end))
    });
    if !is_place {
        return line;
    }
    let mut after_signature = rest.match_indices([')', ']']).filter_map(|(at, _)| rest[at + 1..].strip_prefix(' '));
    after_signature.find(|text| text.starts_with(|c: char| c.is_ascii_uppercase())).unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::useful;

    fn check(message: &str, expected: &str) {
        assert_eq!(useful(message), expected);
    }

    #[test]
    fn messages_become_one_useful_line() {
        check(
            "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:1988 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /opt/ort/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory\n",
            "libonnxruntime_providers_cuda.so cannot be loaded: libcublasLt.so.13: cannot open shared object file: No such file or directory",
        );
        check(
            "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:1988 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /opt/libonnxruntime_providers_cuda.so with error: /opt/libonnxruntime_providers_cuda.so: cannot open shared object file: No such file or directory\n",
            "libonnxruntime_providers_cuda.so cannot be loaded: cannot open shared object file: No such file or directory",
        );
        check(
            "/onnxruntime/onnxruntime/core/providers/openvino/openvino_provider_factory.cc:141 std::string onnxruntime::openvino_ep::ParseDeviceType(std::shared_ptr<OVCore>, const onnxruntime::ProviderOptions&) [ERROR] [OpenVINO] Device GPU is not available\n",
            "Device GPU is not available",
        );
        check(
            "/onnxruntime_src/onnxruntime/core/providers/webgpu/webgpu_context.cc:136 onnxruntime::webgpu::WebGpuContext::Initialize(const onnxruntime::webgpu::WebGpuContextConfig&)::<lambda()> adapter_result.status == wgpu::RequestAdapterStatus::Success was false. Failed to get a WebGPU adapter: No supported adapters\n",
            "Failed to get a WebGPU adapter: No supported adapters",
        );
        check(
            "Non-zero status code returned while running Reshape node. Name:'reshape2' Status Message: /onnxruntime_src/onnxruntime/core/framework/op_kernel.cc:83 virtual OrtValue* onnxruntime::OpKernelContext::OutputMLValue(int, const onnxruntime::TensorShape&) [ONNXRuntimeError] : 2 : INVALID_ARGUMENT : The output OrtValue provided for output 'y' of node 'reshape2' (Reshape) has shape {1,1,2,8} but the computed output shape for this run is {1,1,4,4}. When calling Run() with pre-allocated output OrtValues on a model with dynamic output shapes, either supply unallocated output OrtValues.\n",
            "The output OrtValue provided for output 'y' of node 'reshape2' (Reshape) has shape {1,1,2,8} but the computed output shape for this run is {1,1,4,4}",
        );
        check(
            "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 std::conditional_t<THRW, void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=box ; file=cuda.cc ; line=282 ; expr=cudaSetDevice(info_.device_id); ",
            "CUDA failure 100: no CUDA-capable device is detected",
        );
        check(
            "CUDA execution provider is not enabled in this build.",
            "CUDA execution provider is not enabled in this build",
        );
    }

    #[test]
    fn memory_that_ran_out_is_recognised() {
        check(
            "Non-zero status code returned while running Conv node. Name:'c' Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*, bool, onnxruntime::WaitNotificationFn) Failed to allocate memory for requested buffer of size 8589934592\n",
            "out of memory: Failed to allocate memory for requested buffer of size 8589934592",
        );
        check("std::bad_alloc", "out of memory: std::bad_alloc");
    }
}
