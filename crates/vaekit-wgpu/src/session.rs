//! A session on a GPU.

use std::io::{Read, Seek};

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4, Axis};
use vaekit::{Engine, Failure, Observer, Piece, Piecewise, Progress, RunFuture, Session, Statistics};
use vaekit_onnx::ops::{Ops, OpsError, StepsError};

use crate::clock;
use crate::device::Fault;
use crate::draw::Drawer;
use crate::gpu::Gpu;
use crate::layout::{Shape, Storage};
use crate::network::Network;
use crate::plan::{Capabilities, Counts, Plan, PlanError};
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

/// Bytes that a band of what a step needs beside images may take, and those that it is tried with where memory is short.
const SCRATCH: [u64; 2] = [32 << 20, 4 << 20];

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

/// Seconds of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Times {
    /// Packing the input and handing it over.
    pub upload: f64,
    /// Computing, with waiting for the observer.
    pub compute: f64,
    /// Reading the output back and unpacking it, or drawing it.
    pub output: f64,
}

impl Times {
    fn new([begin, written, computed, end]: [f64; 4]) -> Self {
        Times { upload: written - begin, compute: computed - written, output: end - computed }
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
    times: Times,
    drawer: Option<Drawer>,
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
        Ok(WgpuSession {
            gpu: gpu.clone(),
            engine: engine(gpu),
            options: options.clone(),
            network,
            constants,
            rate: Rate::first(gpu),
            times: Times::default(),
            drawer: None,
            prepared: None,
        })
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Channels of the input.
    pub fn inputs(&self) -> usize {
        self.network.steps.channels[0]
    }

    /// The size `[C, H, W]` of the output for images or latents `[C, H, W]`.
    ///
    /// # Errors
    /// [`PlanError`] if that is too large for the device.
    pub fn output(&self, [c, h, w]: [usize; 3]) -> Result<[usize; 3], PlanError> {
        let shape = self.plan(Shape::new(c, h, w), None, self.storage(), SCRATCH[0])?.output.shape;
        Ok([shape.channels, shape.height, shape.width])
    }

    /// What a run on images or latents `[C, H, W]` comes to.
    ///
    /// # Errors
    /// [`PlanError`] if that is too large for the device.
    pub fn counts(&self, [c, h, w]: [usize; 3]) -> Result<Counts, PlanError> {
        Ok(self.plan(Shape::new(c, h, w), None, self.storage(), SCRATCH[0])?.counts(&self.network.constants))
    }

    /// Runs on zeros `[C, H, W]` once to warm up and once step by step, and says how long each step took.
    ///
    /// # Errors
    /// [`Failure`] as a run.
    pub async fn time(&mut self, [c, h, w]: [usize; 3]) -> Result<Vec<StepTime>, Failure> {
        let shape = Shape::new(c, h, w);
        self.prepare_for(shape, None).await?;
        let names: Vec<&str> = self.network.steps.steps.iter().map(|step| step.name.as_str()).collect();
        let Some(prepared) = &self.prepared else { return Ok(Vec::new()) };
        prepared.write(&self.gpu, &vec![0.0; shape.channels * shape.pixels()]).await?;
        prepared.time(&self.gpu, &names).await?;
        Ok(prepared.time(&self.gpu, &names).await?)
    }

    /// Decodes one latent `[C, H, W]` into a texture without reading the picture back: `(x + 1) / 2` in its upper left
    /// corner, opaque.
    ///
    /// The texture is an `rgba8unorm` of [`Gpu::device`] with `STORAGE_BINDING`, at least as large as the picture; a page
    /// draws it to a canvas, or wraps a canvas that is configured so.
    ///
    /// # Errors
    /// [`Failure`] as a run, if the model gives no pictures of three channels, if the texture is too small, and if a value
    /// is NaN or infinite: what was drawn is then no picture.
    pub async fn draw(
        &mut self,
        input: ArrayView3<'_, f32>,
        texture: &wgpu::Texture,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let (c, h, w) = input.dim();
        self.check_channels(c)?;
        self.prepare_for(Shape::new(c, h, w), None).await?;
        let Some(prepared) = &self.prepared else { return Err("there is no plan".into()) };
        let shape = prepared.plan.output.shape;
        if shape.channels != 3 {
            return Err(format!("the output has {} channels, a picture has 3", shape.channels).into());
        }
        if (texture.width() as usize) < shape.width || (texture.height() as usize) < shape.height {
            let (width, height) = (texture.width(), texture.height());
            let picture = format!("{} by {}", shape.width, shape.height);
            return Err(format!("the picture is {picture}, the texture {width} by {height}").into());
        }
        let storage = prepared.plan.storage;
        if self.drawer.as_ref().is_none_or(|drawer| drawer.storage() != storage) {
            self.drawer = Some(Drawer::new(&self.gpu, storage).await?);
        }
        let Some(drawer) = &self.drawer else { return Err("there is no kernel that draws".into()) };
        let input = input.as_standard_layout();
        let mut progress = Progress { done: 0, total: prepared.macs() };
        let begin = clock::seconds();
        prepared.write(&self.gpu, input.as_slice().ok_or("the input has no standard layout")?).await?;
        let written = clock::seconds();
        prepared.run(&self.gpu, observer, &mut progress, &mut self.rate).await?;
        let computed = clock::seconds();
        let wrong = drawer.draw(&self.gpu, prepared.output_buffer(), texture).await?;
        self.times = Times::new([begin, written, computed, clock::seconds()]);
        if wrong > 0 {
            return Err(format!("{wrong} pixels of {} are NaN or infinite", shape.pixels()).into());
        }
        Ok(())
    }

    /// Plans for images or latents `[C, H, W]`, tries the kernels, and takes the memory that the next run of this size needs.
    ///
    /// # Errors
    /// [`Failure`] if the device cannot run it.
    pub async fn prepare(&mut self, [c, h, w]: [usize; 3]) -> Result<(), Failure> {
        self.prepare_for(Shape::new(c, h, w), None).await
    }

    /// What the last run took, in seconds.
    pub fn times(&self) -> Times {
        self.times
    }

    fn check_channels(&self, c: usize) -> Result<(), Failure> {
        let channels = self.inputs();
        if c == channels {
            Ok(())
        } else {
            Err(format!("the input has {c} channels, the model takes {channels}").into())
        }
    }

    fn storage(&self) -> Storage {
        if self.options.prefer_f16 { self.gpu.half_storage() } else { Storage::F32 }
    }

    fn plan(&self, shape: Shape, piece: Option<&Piece<'_>>, storage: Storage, scratch: u64) -> Result<Plan, PlanError> {
        let capabilities = self.gpu.capabilities();
        let memory = self.options.memory.unwrap_or(capabilities.memory);
        let capabilities = Capabilities { storage, memory, scratch, ..capabilities };
        match piece {
            Some(piece) => Plan::of_piece(&self.network, shape, &capabilities, piece),
            None => Plan::new(&self.network, shape, &capabilities),
        }
    }

    /// Makes sure that there is a plan for this size with memory and kernels that work: in f32 if it can be, else in smaller
    /// bands, else in f16 if it may be.
    async fn prepare_for(&mut self, shape: Shape, piece: Option<&Piece<'_>>) -> Result<(), Failure> {
        self.gpu.alive()?;
        let is_whole = |prepared: &Prepared| prepared.plan.input.shape == shape && prepared.plan.watched.is_empty();
        if piece.is_none() && self.prepared.as_ref().is_some_and(is_whole) {
            return Ok(());
        }
        let half = (self.options.allow_f16 && !self.options.prefer_f16).then(|| self.gpu.half_storage());
        let mut failure = None;
        let storages = std::iter::once(self.storage()).chain(half);
        for (storage, scratch) in storages.flat_map(|storage| SCRATCH.map(|scratch| (storage, scratch))) {
            match self.prepare_with(shape, piece, storage, scratch).await {
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

    async fn prepare_with(
        &mut self,
        shape: Shape,
        piece: Option<&Piece<'_>>,
        storage: Storage,
        scratch: u64,
    ) -> Result<Prepared, Failure> {
        loop {
            let plan = self.plan(shape, piece, storage, scratch).map_err(|error| match error {
                PlanError::TooLarge { .. } => Failure::OutOfMemory(error.to_string()),
                PlanError::NoKernel { .. } | PlanError::Empty { .. } => Failure::Other(error.to_string()),
            })?;
            let mut all_work = true;
            for dispatch in &plan.dispatches {
                all_work &= self.gpu.works(&dispatch.kernel).await?;
            }
            // Where one does not, the next plan takes another in its place.
            if all_work {
                // What does not fit is freed before anything is asked for.
                if let Some(prepared) = self.prepared.take().filter(|prepared| prepared.fits(&plan)) {
                    return Ok(prepared.adopt(&self.gpu, plan).await?);
                }
                return Ok(Prepared::new(&self.gpu, plan, &self.constants).await?);
            }
        }
    }

    async fn run_batch(
        &mut self,
        input: ArrayView4<'_, f32>,
        mut output: ArrayViewMut4<'_, f32>,
        piece: Option<&Piece<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let (n, c, h, w) = input.dim();
        self.check_channels(c)?;
        if output.len_of(Axis(0)) != n {
            return Err(format!("the output is for {} items, the input holds {n}", output.len_of(Axis(0))).into());
        }
        self.prepare_for(Shape::new(c, h, w), piece).await?;
        let Some(prepared) = &self.prepared else { return Err("there is no plan".into()) };
        if let Some(given) = piece.and_then(|piece| piece.given) {
            prepared.give(&self.gpu, given).await?;
        }
        let shape = prepared.plan.output.shape;
        let shape = [shape.channels, shape.height, shape.width];
        if output.shape()[1..] != shape {
            return Err(format!("the output has shape {:?}, but {shape:?} is computed", &output.shape()[1..]).into());
        }
        let of_one = prepared.macs();
        let mut progress = Progress { done: 0, total: of_one.saturating_mul(n as u64) };
        for (input, output) in input.outer_iter().zip(output.outer_iter_mut()) {
            self.times = run_one(&self.gpu, prepared, input, output, observer, &mut progress, &mut self.rate).await?;
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
) -> Result<Times, Failure> {
    let input = input.as_standard_layout();
    let begin = clock::seconds();
    prepared.write(gpu, input.as_slice().ok_or("the input has no standard layout")?).await?;
    let written = clock::seconds();
    prepared.run(gpu, observer, progress, rate).await?;
    let computed = clock::seconds();
    let planar = output.as_slice_mut().ok_or("the output has no standard layout")?;
    prepared.output(gpu, planar).await?;
    Ok(Times::new([begin, written, computed, clock::seconds()]))
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
        Box::pin(self.run_batch(input, output, None, observer))
    }

    fn piecewise(&mut self) -> Option<&mut dyn Piecewise> {
        if self.network.norms.is_empty() { None } else { Some(self) }
    }
}

impl Piecewise for WgpuSession {
    fn run_piece<'a>(
        &'a mut self,
        piece: &'a Piece<'a>,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        found: &'a mut Statistics,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a> {
        Box::pin(async move {
            self.run_batch(input, output, Some(piece), observer).await?;
            if let Some(prepared) = &self.prepared {
                *found = prepared.found(&self.gpu).await?;
            }
            Ok(())
        })
    }
}
