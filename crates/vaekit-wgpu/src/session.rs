//! A session on a GPU.

use std::io::{Read, Seek};

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4, Axis};
use vaekit::{Engine, Failure, Observer, Progress, RunError, RunFuture, Session};
use vaekit_onnx::ops::{Ops, OpsError, StepsError};

use crate::device::Fault;
use crate::gpu::Gpu;
use crate::layout::{Shape, Storage};
use crate::network::Network;
use crate::plan::{Counts, Plan, PlanError};
use crate::run::{Prepared, Rate, StepTime};

/// How a session runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether images may be stored in f16 where f32 does not fit: for VAEs that are known to stay in its range.
    pub allow_f16: bool,
    /// Whether images are stored in f16 from the start; implies `allow_f16`.
    pub prefer_f16: bool,
    /// Most bytes for images on the device; nothing for as much as there is.
    pub memory: Option<u64>,
}

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is no ONNX model, is damaged, or holds something that no VAE of the known families has.
    #[error(transparent)]
    Model(#[from] OpsError),
    /// Known operations in an order that this engine has no step for.
    #[error("{0}, which this engine has no step for")]
    Steps(#[from] StepsError),
    /// The device did not take the weights.
    #[error("{gpu} does not take the weights: {failure}")]
    Device {
        /// The GPU.
        gpu: String,
        /// Why.
        failure: Failure,
    },
}

impl OpenError {
    /// Whether the model is in order as far as can be told, and another engine may run it.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, OpenError::Steps(_) | OpenError::Model(OpsError::Unsupported { .. }))
    }
}

/// One half of a VAE on a GPU.
pub struct WgpuSession {
    gpu: Gpu,
    engine: Engine,
    options: Options,
    network: Network,
    constants: Vec<wgpu::Buffer>,
    rate: Rate,
    /// What the last run used, which the next one of that size uses again.
    prepared: Option<Prepared>,
}

impl WgpuSession {
    /// Opens a `model.onnx`: one input `[N, C, H, W]` in f32 or f16 and one output.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::is_unsupported`] says whether another engine may do.
    pub async fn open(gpu: &Gpu, model: impl Read + Seek, options: &Options) -> Result<Self, OpenError> {
        let ops = Ops::read(model)?;
        let device = |fault: Fault| OpenError::Device { gpu: gpu.report().to_string(), failure: fault.into() };
        gpu.alive().map_err(device)?;
        let uploaded = gpu.scoped(|device| {
            let mut constants = Vec::new();
            let network = Network::new(ops, |values| constants.push(upload(device, gpu.queue(), &values)));
            (network, constants)
        });
        let (network, constants) = uploaded.await.map_err(device)?;
        let network = network?;
        let (rate, options) = (Rate::first(gpu), options.clone());
        Ok(WgpuSession { gpu: gpu.clone(), engine: engine(gpu), options, network, constants, rate, prepared: None })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The size `[C, H, W]` of the output for images or latents `[C, H, W]`.
    ///
    /// # Errors
    /// [`PlanError`] if that is too large for the device.
    pub fn output(&self, [c, h, w]: [usize; 3]) -> Result<[usize; 3], PlanError> {
        let shape = self.plan(Shape::new(c, h, w), self.storage())?.output.shape;
        Ok([shape.channels, shape.height, shape.width])
    }

    /// What a run on images or latents `[C, H, W]` comes to.
    ///
    /// # Errors
    /// [`PlanError`] if that is too large for the device.
    pub fn counts(&self, [c, h, w]: [usize; 3]) -> Result<Counts, PlanError> {
        Ok(self.plan(Shape::new(c, h, w), self.storage())?.counts(&self.network.constants))
    }

    /// Runs on zeros `[C, H, W]` once to warm up and once step by step, and says how long each step took.
    ///
    /// # Errors
    /// [`RunError`] as a run.
    pub async fn time(&mut self, [c, h, w]: [usize; 3]) -> Result<Vec<StepTime>, RunError> {
        let timed = self.time_steps(Shape::new(c, h, w)).await;
        timed.map_err(|failure| RunError::new(&self.engine, &[1, c, h, w], failure))
    }

    async fn time_steps(&mut self, shape: Shape) -> Result<Vec<StepTime>, Failure> {
        self.prepare(shape).await?;
        let names: Vec<&str> = self.network.steps.steps.iter().map(|step| step.name.as_str()).collect();
        let Some(prepared) = &self.prepared else { return Ok(Vec::new()) };
        prepared.write(&self.gpu, &vec![0.0; shape.channels * shape.pixels()]);
        prepared.time(&self.gpu, &names).await?;
        Ok(prepared.time(&self.gpu, &names).await?)
    }

    fn storage(&self) -> Storage {
        if self.options.prefer_f16 { self.gpu.half_storage() } else { Storage::F32 }
    }

    fn plan(&self, shape: Shape, storage: Storage) -> Result<Plan, PlanError> {
        let capabilities = self.gpu.capabilities();
        let memory = self.options.memory.unwrap_or(capabilities.memory);
        Plan::new(&self.network, shape, &crate::plan::Capabilities { storage, memory, ..capabilities })
    }

    /// Makes sure that there is a plan for this size with memory and kernels that work: in f32 if it can be, else in f16 if
    /// it may be.
    async fn prepare(&mut self, shape: Shape) -> Result<(), Failure> {
        self.gpu.alive()?;
        if self.prepared.as_ref().is_some_and(|prepared| prepared.plan.input.shape == shape) {
            return Ok(());
        }
        // Freed before anything is asked for.
        self.prepared = None;
        let half = (self.options.allow_f16 && !self.options.prefer_f16).then(|| self.gpu.half_storage());
        let mut failure = None;
        for storage in std::iter::once(self.storage()).chain(half) {
            match self.prepare_with(shape, storage).await {
                Ok(prepared) => {
                    self.prepared = Some(prepared);
                    return Ok(());
                }
                Err(error @ Failure::OutOfMemory(_)) => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| "there is no plan".into()))
    }

    async fn prepare_with(&self, shape: Shape, storage: Storage) -> Result<Prepared, Failure> {
        loop {
            let plan = self.plan(shape, storage).map_err(|error| match error {
                PlanError::TooLarge { .. } => Failure::OutOfMemory(error.to_string()),
                PlanError::NoKernel { .. } | PlanError::Empty { .. } => Failure::Other(error.to_string()),
            })?;
            let mut all_work = true;
            for dispatch in &plan.dispatches {
                all_work &= self.gpu.works(&dispatch.kernel).await?;
            }
            // Where one does not, the next plan takes another in its place.
            if all_work {
                return Ok(Prepared::new(&self.gpu, plan, &self.constants).await?);
            }
        }
    }

    async fn run_batch(
        &mut self,
        input: ArrayView4<'_, f32>,
        mut output: ArrayViewMut4<'_, f32>,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let (n, c, h, w) = input.dim();
        let channels = self.network.steps.channels[0];
        if c != channels {
            return Err(format!("the input has {c} channels, the model takes {channels}").into());
        }
        if output.len_of(Axis(0)) != n {
            return Err(format!("the output is for {} items, the input holds {n}", output.len_of(Axis(0))).into());
        }
        self.prepare(Shape::new(c, h, w)).await?;
        let Some(prepared) = &self.prepared else { return Err("there is no plan".into()) };
        let shape = prepared.plan.output.shape;
        let shape = [shape.channels, shape.height, shape.width];
        if output.shape()[1..] != shape {
            return Err(format!("the output has shape {:?}, but {shape:?} is computed", &output.shape()[1..]).into());
        }
        let of_one: u64 = prepared.plan.dispatches.iter().map(|dispatch| dispatch.macs).sum();
        let mut progress = Progress { done: 0, total: of_one.saturating_mul(n as u64) };
        for (input, output) in input.outer_iter().zip(output.outer_iter_mut()) {
            run_one(&self.gpu, prepared, input, output, observer, &mut progress, &mut self.rate).await?;
        }
        Ok(())
    }
}

async fn run_one(
    gpu: &Gpu,
    prepared: &Prepared,
    input: ArrayView3<'_, f32>,
    mut output: ArrayViewMut3<'_, f32>,
    observer: &mut dyn Observer,
    progress: &mut Progress,
    rate: &mut Rate,
) -> Result<(), Failure> {
    let input = input.as_standard_layout();
    prepared.write(gpu, input.as_slice().ok_or("the input has no standard layout")?);
    prepared.run(gpu, observer, progress, rate).await?;
    let planar = output.as_slice_mut().ok_or("the output has no standard layout")?;
    Ok(prepared.output(gpu, planar).await?)
}

/// What every session on this GPU runs on.
pub fn engine(gpu: &Gpu) -> Engine {
    Engine { name: "wgpu", version: env!("CARGO_PKG_VERSION").into(), provider: gpu.report().to_string() }
}

fn upload(device: &wgpu::Device, queue: &wgpu::Queue, values: &[f32]) -> wgpu::Buffer {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("weights"),
        size: bytes.len() as u64,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, bytes);
    buffer
}

impl Session for WgpuSession {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn run<'a>(
        &'a mut self,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a> {
        Box::pin(async move {
            let shape = input.shape().to_vec();
            let run = self.run_batch(input, output, observer).await;
            run.map_err(|failure| RunError::new(&self.engine, &shape, failure))
        })
    }
}
