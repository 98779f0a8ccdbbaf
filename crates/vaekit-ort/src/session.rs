//! Sessions: one graph on one provider.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ndarray::{ArrayView4, ArrayViewMut4};
use ort::session::builder::{AutoDevicePolicy, GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef, TensorRefMut, ValueType};
use serde::Serialize;
use vaekit::{Engine, Observer, RunFuture, Session, ask};

use crate::library::{Library, Runtime};
use crate::options::Options;
use crate::packages;
use crate::probe;
use crate::provider::{Choice, Provider};
use crate::{native, reason};

/// A model that does not open, and why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// The provider is for other systems.
    #[error("{provider} does not exist on {system}: it is for {}", provider.systems().join(" and "))]
    NotOnThisSystem {
        /// The provider.
        provider: Provider,
        /// This operating system.
        system: &'static str,
    },
    /// The library was built without the provider.
    #[error("{provider} is not in this ONNX Runtime ({version}, {}); {advice}", path.display())]
    NotInBuild {
        /// The provider.
        provider: Provider,
        /// The version of the library that is loaded.
        version: String,
        /// The library that is loaded.
        path: PathBuf,
        /// How to get one that has it.
        advice: String,
    },
    /// An option that the provider cannot follow.
    #[error("{provider} {refusal}")]
    Option {
        /// The provider.
        provider: Provider,
        /// What it refuses, in words that continue after its name.
        refusal: String,
    },
    /// The provider is there, but a library, driver or device that it needs is not.
    #[error("{provider} does not work here: {reason}; it needs {needs}")]
    Unavailable {
        /// The provider.
        provider: Provider,
        /// What is missing.
        reason: String,
        /// What the provider needs from a machine.
        needs: &'static str,
    },
    /// The provider refused work that it was asked for by name to do.
    #[error(
        "{provider} would leave {n} convolutions of {model} to other providers, such as the CPU: it cannot run this model"
    )]
    FellBack {
        /// The provider.
        provider: Provider,
        /// The model.
        model: String,
        /// How many it did not take.
        n: usize,
    },
    /// No provider that was tried works on the device that was asked for.
    #[error("nothing runs on the device {device}: {}", list(.skipped))]
    NoDevice {
        /// The device, as it was asked for.
        device: String,
        /// What was tried.
        skipped: Vec<Skipped>,
    },
    /// The model is not one that ONNX Runtime takes.
    #[error("{model} could not be opened on {provider}: {reason}")]
    Model {
        /// The model.
        model: String,
        /// The provider.
        provider: Provider,
        /// What ONNX Runtime says.
        reason: String,
    },
    /// The model is not one half of a VAE.
    #[error("{model} has {found}, expected one input and one output, both f32 of 4 dimensions; it is no half of a VAE")]
    Signature {
        /// The model.
        model: String,
        /// What it has instead.
        found: String,
    },
}

/// A provider that was not used.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The provider.
    pub provider: Provider,
    /// Why.
    pub reason: String,
}

fn list(skipped: &[Skipped]) -> String {
    let lines = skipped.iter().map(|Skipped { provider, reason }| format!("{provider}: {reason}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// How a session came to be.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What runs.
    pub engine: Engine,
    /// The provider that was asked for, or that [`Choice::Auto`] chose.
    pub provider: Provider,
    /// What [`Choice::Auto`] tried before, best first.
    pub skipped: Vec<Skipped>,
    /// Nodes that the provider left to the CPU, by operator. No convolution is among them: those are nearly all of a VAE's
    /// arithmetic, and a provider that does not take each of them is an error. Empty for the CPU.
    pub on_cpu: BTreeMap<String, usize>,
    /// Time to open the session, with all that was tried.
    pub seconds: f64,
}

/// One half of a VAE on ONNX Runtime.
#[derive(Debug)]
pub struct OrtSession {
    /// `None` only while it is dropped.
    session: Option<ort::session::Session>,
    provider: Provider,
    engine: Engine,
    input: CString,
    output: CString,
}

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Model<'a> {
    File(&'a Path),
    Memory(&'a [u8]),
}

impl std::fmt::Display for Model<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Model::File(path) => path.display().fmt(f),
            Model::Memory(bytes) => write!(f, "a model of {} bytes in memory", bytes.len()),
        }
    }
}

impl OrtSession {
    /// Opens a `model.onnx`: one input and one output, f32 `[N, C, H, W]` each, of any names.
    ///
    /// A provider asked for by name runs every convolution of the model, or this is an error. With [`Choice::Auto`] the
    /// first provider is taken that computes a small convolution correctly and opens this model; the report says what was
    /// skipped.
    ///
    /// # Errors
    /// [`OpenError`], which names what is missing: a build, a library, a device, or something in the model.
    pub fn open(
        runtime: &Runtime,
        path: impl AsRef<Path>,
        options: &Options,
    ) -> Result<(OrtSession, Report), OpenError> {
        open(runtime, Model::File(path.as_ref()), options)
    }

    /// Opens a `model.onnx` as [`Choice::Auto`] does, but on no CPU, for callers that have a faster engine for CPUs.
    ///
    /// # Errors
    /// Every provider that was tried, and why it does not work here.
    pub fn open_on_gpu(
        runtime: &Runtime,
        path: impl AsRef<Path>,
        options: &Options,
    ) -> Result<(OrtSession, Report), Vec<Skipped>> {
        let start = Instant::now();
        let mut skipped = Vec::new();
        match open_on_gpu(runtime, Model::File(path.as_ref()), options, &mut skipped) {
            Some((provider, (session, on_cpu))) => {
                let engine = session.engine.clone();
                let seconds = start.elapsed().as_secs_f64();
                Ok((session, Report { engine, provider, skipped, on_cpu, seconds }))
            }
            None => Err(skipped),
        }
    }

    /// As [`OrtSession::open`], from the bytes of a file.
    ///
    /// # Errors
    /// As [`OrtSession::open`].
    pub fn from_bytes(runtime: &Runtime, model: &[u8], options: &Options) -> Result<(OrtSession, Report), OpenError> {
        open(runtime, Model::Memory(model), options)
    }
}

fn open(runtime: &Runtime, model: Model<'_>, options: &Options) -> Result<(OrtSession, Report), OpenError> {
    let start = Instant::now();
    let mut skipped = Vec::new();
    let (provider, (session, on_cpu)) = match options.provider {
        Choice::Named(provider) => (provider, open_on(runtime, model, provider, options)?),
        Choice::Auto => open_best(runtime, model, options, &mut skipped)?,
    };
    let engine = session.engine.clone();
    Ok((session, Report { engine, provider, skipped, on_cpu, seconds: start.elapsed().as_secs_f64() }))
}

type Opened = (OrtSession, BTreeMap<String, usize>);

/// Opens on the first provider of this system's order that works, else, unless a device was asked for, on the CPU.
fn open_best(
    runtime: &Runtime,
    model: Model<'_>,
    options: &Options,
    skipped: &mut Vec<Skipped>,
) -> Result<(Provider, Opened), OpenError> {
    if let Some(opened) = open_on_gpu(runtime, model, options, skipped) {
        return Ok(opened);
    }
    if let Some(device) = options.device.clone() {
        return Err(OpenError::NoDevice { device, skipped: std::mem::take(skipped) });
    }
    Ok((Provider::Cpu, open_on(runtime, model, Provider::Cpu, options)?))
}

/// Opens on the first provider of this system's order that works.
fn open_on_gpu(
    runtime: &Runtime,
    model: Model<'_>,
    options: &Options,
    skipped: &mut Vec<Skipped>,
) -> Option<(Provider, Opened)> {
    for &provider in Choice::order(std::env::consts::OS) {
        let options = for_auto(provider, options);
        let opened = must_have_gpu(runtime, provider)
            .and_then(|()| probe::probe(runtime, provider, &options))
            .and_then(|()| open_on(runtime, model, provider, &options));
        match opened {
            Ok(opened) => return Some((provider, opened)),
            Err(error) => skipped.push(Skipped { provider, reason: error.to_string() }),
        }
    }
    None
}

/// OpenVINO's CPU is no reason to leave ONNX Runtime's own: `auto` wants its GPU.
fn for_auto(provider: Provider, options: &Options) -> Options {
    let device = match (provider, &options.device) {
        (Provider::OpenVino, None) => Some("GPU".to_string()),
        (_, device) => device.clone(),
    };
    Options { device, ..options.clone() }
}

/// WebGPU also runs on software, without a word, so `auto` takes it only where ONNX Runtime sees a GPU.
fn must_have_gpu(runtime: &Runtime, provider: Provider) -> Result<(), OpenError> {
    use ort::memory::DeviceType;
    let is_gpu = |device: ort::device::Device<'_>| device.hardware_device().ty() == DeviceType::GPU;
    if provider == Provider::WebGpu && provider.is_in(runtime.library()) && !runtime.environment().devices().any(is_gpu)
    {
        let reason = "ONNX Runtime sees no GPU".to_string();
        return Err(OpenError::Unavailable { provider, reason, needs: provider.needs() });
    }
    Ok(())
}

/// Opens on exactly this provider, and says which of the model's nodes it left to the CPU.
pub(crate) fn open_on(
    runtime: &Runtime,
    model: Model<'_>,
    provider: Provider,
    options: &Options,
) -> Result<Opened, OpenError> {
    let library = runtime.library();
    check_presence(library, provider)?;
    let registrations =
        options.registrations(provider).map_err(|refusal| OpenError::Option { provider, refusal })?.into_iter();
    let registrations: Vec<_> = registrations.map(|registration| registration.error_on_failure()).collect();
    let fails = |error: ort::Error| OpenError::Model { model: model.to_string(), provider, reason: reason::of(&error) };

    let _turn = turn(provider);
    reason::start();
    let builder = builder(runtime, provider, options).map_err(fails)?;
    let mut builder = builder.with_execution_providers(registrations).map_err(|error| OpenError::Unavailable {
        provider,
        reason: reason::of(&error),
        needs: provider.needs(),
    })?;
    let session = match model {
        Model::File(path) => builder.commit_from_file(path),
        Model::Memory(bytes) => builder.commit_from_memory(bytes),
    }
    .map_err(fails)?;

    let on_cpu = if provider == Provider::Cpu { BTreeMap::new() } else { left_over(&session, model, provider)? };
    let (input, output) = names(&session, model)?;
    let engine = Engine { name: "ort", version: library.version.clone(), provider: provider.to_string() };
    Ok((OrtSession { session: Some(session), provider, engine, input, output }, on_cpu))
}

fn check_presence(library: &Library, provider: Provider) -> Result<(), OpenError> {
    if !provider.exists_here() {
        return Err(OpenError::NotOnThisSystem { provider, system: std::env::consts::OS });
    }
    if !provider.is_in(library) {
        let (version, path) = (library.version.clone(), library.path.clone());
        return Err(OpenError::NotInBuild { provider, version, path, advice: packages::advice(provider) });
    }
    Ok(())
}

fn builder(runtime: &Runtime, provider: Provider, options: &Options) -> ort::Result<SessionBuilder> {
    // XNNPACK has threads of its own, which more of ONNX Runtime's would only disturb.
    let threads = if provider == Provider::Xnnpack { 1 } else { options.threads.map_or(0, usize::from) };
    let builder = ort::session::Session::builder(runtime.environment())?
        // `ort` asks for the most efficient device; only what is asked for here is to run.
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        // Planning memory for a shape pays off when all runs have it. It keeps a plan's memory beside the arena's: for TAESD
        // at 512 by 512 a second run took 536 MB instead of 315, and no less time.
        .with_memory_pattern(false)?
        .with_intra_threads(threads)?
        .with_config_entry(native::RECORD_ASSIGNMENTS, "1")?;
    Ok(builder)
}

/// What the provider left to the CPU, which must not be a convolution.
///
/// ONNX Runtime's own switch, `session.disable_cpu_ep_fallback`, would also refuse the few nodes that compute shapes, which
/// every GPU's provider leaves to the CPU because that is faster.
fn left_over(
    session: &ort::session::Session,
    model: Model<'_>,
    provider: Provider,
) -> Result<BTreeMap<String, usize>, OpenError> {
    let assignments = native::assignments(session).map_err(|error| OpenError::Model {
        model: model.to_string(),
        provider,
        reason: reason::of(&error),
    })?;
    left_by(provider, &assignments).map_err(|n| OpenError::FellBack { provider, model: model.to_string(), n })
}

/// The operators that `provider` left to the CPU, or the number of convolutions that it left to any other.
fn left_by(provider: Provider, assignments: &[(String, String)]) -> Result<BTreeMap<String, usize>, usize> {
    let is_convolution = |operator: &str| operator.ends_with("Conv") || operator == "ConvTranspose";
    let elsewhere = || assignments.iter().filter(|(name, _)| name != provider.identifier());
    let n = elsewhere().filter(|(_, operator)| is_convolution(operator)).count();
    if n > 0 {
        return Err(n);
    }
    let mut on_cpu = BTreeMap::new();
    for (_, operator) in elsewhere().filter(|(name, _)| name == Provider::Cpu.identifier()) {
        *on_cpu.entry(operator.clone()).or_default() += 1;
    }
    Ok(on_cpu)
}

/// The names of the only input and the only output.
fn names(session: &ort::session::Session, model: Model<'_>) -> Result<(CString, CString), OpenError> {
    let is_image = |outlet: &Outlet| match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => *ty == TensorElementType::Float32 && shape.len() == 4,
        _ => false,
    };
    if let ([input], [output]) = (session.inputs(), session.outputs())
        && is_image(input)
        && is_image(output)
        && let (Ok(input), Ok(output)) = (native::c_name(input.name()), native::c_name(output.name()))
    {
        return Ok((input, output));
    }
    let list = |outlets: &[Outlet]| {
        let outlets: Vec<_> = outlets.iter().map(|outlet| format!("`{}` {}", outlet.name(), outlet.dtype())).collect();
        outlets.join(", ")
    };
    let found = format!("the inputs {} and the outputs {}", list(session.inputs()), list(session.outputs()));
    Err(OpenError::Signature { model: model.to_string(), found })
}

impl Session for OrtSession {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Does all its work when first polled. An input in standard layout is not copied, and what is computed in the computer's
    /// own memory is written straight into `output`; a GPU's result is fetched, compared and copied.
    fn run<'a>(
        &'a mut self,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a> {
        Box::pin(async move {
            ask(observer).await?;
            self.run_now(input, output).map_err(reason::failure)
        })
    }
}

impl OrtSession {
    fn run_now(&mut self, input: ArrayView4<'_, f32>, mut output: ArrayViewMut4<'_, f32>) -> Result<(), String> {
        let (input_shape, output_shape) = (dims(input.dim()), dims(output.dim()));
        if input.is_empty() || output.is_empty() {
            return Err(format!("there is nothing to compute for an output of {output_shape:?}"));
        }
        let input = input.as_standard_layout();
        let input = input.as_slice().ok_or("the input has no standard layout")?;
        let output = output.as_slice_mut().ok_or("the output has no standard layout")?;

        let said = |error: ort::Error| reason::of(&error);
        let _turn = turn(self.provider);
        reason::start();
        let session = self.session.as_mut().ok_or("the session is closed")?;
        let input = TensorRef::from_array_view((input_shape, input)).map_err(said)?;
        if self.provider.computes_in_host_memory() {
            let mut output = TensorRefMut::from_array_view_mut((output_shape, output)).map_err(said)?;
            return native::run_into(session, (&self.input, &input), (&self.output, &mut output)).map_err(said);
        }
        // What comes from a GPU, ONNX Runtime would copy into any output of as many elements, whatever its shape.
        let outputs = session.run(ort::inputs![input]).map_err(said)?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>().map_err(said)?;
        if !shape.iter().copied().eq(output_shape.map(|n| n as i64)) {
            return Err(format!("the output has shape {output_shape:?}, but {:?} was computed", &shape[..]));
        }
        output.copy_from_slice(data);
        Ok(())
    }
}

impl Drop for OrtSession {
    fn drop(&mut self) {
        let _turn = turn(self.provider);
        self.session = None;
    }
}

/// ONNX Runtime's WebGPU provider has one device for all its sessions and does not guard it: two threads that open, run or
/// close sessions at the same time crash. So they take turns, which a GPU makes them do anyway.
fn turn(provider: Provider) -> Option<MutexGuard<'static, ()>> {
    static WEBGPU: Mutex<()> = Mutex::new(());
    (provider == Provider::WebGpu).then(|| WEBGPU.lock().unwrap_or_else(PoisonError::into_inner))
}

fn dims((n, c, h, w): (usize, usize, usize, usize)) -> [usize; 4] {
    [n, c, h, w]
}

#[cfg(test)]
mod tests;
