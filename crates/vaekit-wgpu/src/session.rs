//! A session on a GPU.

use std::io::{Read, Seek};

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4, Axis};
use vaekit::{Engine, Failure, Observer, Piece, Piecewise, Progress, RunFuture, Session, Statistics};
use vaekit_onnx::ops::{Ops, OpsError, StepsError};

use crate::clock;
use crate::device::{Fault, locked};
use crate::gpu::Gpu;
use crate::kernels::Kernel;
use crate::layout::{Shape, Storage};
use crate::memory::{Buffer, Picture};
use crate::network::Network;
use crate::plan::{Capabilities, Counts, Plan, PlanError};
use crate::run::{Frame, Prepared, StepTime};

/// How a session runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether images may be stored in f16 where f32 does not fit: for VAEs that are known to stay in its range, since what
    /// leaves it becomes its largest value.
    pub allow_f16: bool,
    /// Most bytes for images and what a step needs beside them, without weights; nothing for as much as there is. A run that
    /// takes more is out of memory before anything is asked of the device. What all sessions take together is the
    /// [GPU's](Gpu::limit_memory) to limit.
    pub memory: Option<u64>,
}

/// Bytes that a band of what a step needs beside images may take, and those that it is tried with where memory is short.
const SCRATCH: [u64; 2] = [32 << 20, 4 << 20];

/// Bytes of weights that are handed over at a time: until then they are held twice.
const UPLOAD: u64 = 32 << 20;

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
    number: u64,
    engine: Engine,
    options: Options,
    network: Network,
    constants: Vec<Buffer>,
    times: Times,
}

impl Drop for WgpuSession {
    fn drop(&mut self) {
        self.release();
    }
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
        let uploaded = gpu.scoped(|_| {
            let mut upload = Upload { gpu, constants: Ok(Vec::new()), waiting: 0 };
            let network = Network::new(ops, |values| upload.add(&values));
            Ok((network, upload.constants?))
        });
        let (network, constants) = uploaded.await.map_err(device)?;
        let network = network?;
        let (number, options) = (gpu.number(), options.clone());
        Ok(WgpuSession {
            gpu: gpu.clone(),
            number,
            engine: engine(gpu),
            options,
            network,
            constants,
            times: Times::default(),
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
        let shape = self.plan(Shape::new(c, h, w), None, self.frames()[0])?.output.shape;
        Ok([shape.channels, shape.height, shape.width])
    }

    /// What a run on images or latents `[C, H, W]` comes to.
    ///
    /// # Errors
    /// [`PlanError`] if that is too large for the device.
    pub fn counts(&self, [c, h, w]: [usize; 3]) -> Result<Counts, PlanError> {
        Ok(self.plan(Shape::new(c, h, w), None, self.frames()[0])?.counts(&self.network.constants))
    }

    /// Runs on zeros `[C, H, W]` once to warm up and once step by step, and says how long each step took.
    ///
    /// # Errors
    /// [`Failure`] as a run.
    pub async fn time(&mut self, [c, h, w]: [usize; 3]) -> Result<Vec<StepTime>, Failure> {
        let shape = Shape::new(c, h, w);
        let prepared = self.prepare_for(shape, None).await?;
        let names: Vec<&str> = self.network.steps.steps.iter().map(|step| step.name.as_str()).collect();
        prepared.write(&self.gpu, &vec![0.0; shape.channels * shape.pixels()]).await?;
        prepared.time(&self.gpu, &names).await?;
        let times = prepared.time(&self.gpu, &names).await?;
        self.keep(prepared);
        Ok(times)
    }

    /// A texture for [`draw`](Self::draw) of pictures of this height and width, on a device that is known to draw.
    ///
    /// # Errors
    /// [`Failure`] if the device has no memory for it, or was tried and does not draw.
    pub async fn picture(&self, [height, width]: [usize; 2]) -> Result<Picture, Failure> {
        self.gpu.drawer(Storage::F32).await?;
        let most = self.gpu.device().limits().max_texture_dimension_2d as usize;
        if height.max(width) > most {
            return Err(format!("the picture is {width} by {height}, this device draws {most} a side").into());
        }
        Ok(self.gpu.scoped(|_| self.gpu.texture(width as u32, height as u32)).await?)
    }

    /// Decodes one latent `[C, H, W]` into a texture without reading the picture back: `(x + 1) / 2` in its upper left
    /// corner, opaque.
    ///
    /// The texture is a [`picture`](Self::picture), or an `rgba8unorm` of [`Gpu::device`] with `STORAGE_BINDING`, at least as
    /// large as the picture; a page draws it to a canvas, or wraps a canvas that is configured so.
    ///
    /// # Errors
    /// [`Failure`] as a run, if the model gives no pictures of three channels, if the texture is too small, if the device was
    /// tried and does not draw, and if a value is NaN or infinite: what was drawn is then no picture.
    pub async fn draw(
        &mut self,
        input: ArrayView3<'_, f32>,
        texture: &wgpu::Texture,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let (c, h, w) = input.dim();
        self.check_channels(c)?;
        let prepared = self.prepare_for(Shape::new(c, h, w), None).await?;
        let drawn = self.draw_with(&prepared, input, texture, observer).await;
        self.keep(prepared);
        drawn
    }

    async fn draw_with(
        &mut self,
        prepared: &Prepared,
        input: ArrayView3<'_, f32>,
        texture: &wgpu::Texture,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let shape = prepared.plan.output.shape;
        if shape.channels != 3 {
            return Err(format!("the output has {} channels, a picture has 3", shape.channels).into());
        }
        if (texture.width() as usize) < shape.width || (texture.height() as usize) < shape.height {
            let (width, height) = (texture.width(), texture.height());
            let picture = format!("{} by {}", shape.width, shape.height);
            return Err(format!("the picture is {picture}, the texture {width} by {height}").into());
        }
        let drawer = self.gpu.drawer(prepared.plan.storage).await?;
        let input = input.as_standard_layout();
        let mut progress = Progress { done: 0, total: prepared.macs() };
        let begin = clock::seconds();
        prepared.write(&self.gpu, input.as_slice().ok_or("the input has no standard layout")?).await?;
        let written = clock::seconds();
        prepared.run(&self.gpu, observer, &mut progress).await?;
        let computed = clock::seconds();
        let wrong = drawer.draw(&self.gpu, prepared.output_buffer(), texture).await?;
        self.times = Times::new([begin, written, computed, clock::seconds()]);
        if wrong > 0 {
            return Err(format!("{wrong} pixels of {} are NaN or infinite", shape.pixels()).into());
        }
        Ok(())
    }

    /// Plans for images or latents `[C, H, W]`, tries the kernels, and takes the memory that the next run of this size needs.
    /// A network takes the same kernels whatever the size, so that any will do to try them.
    ///
    /// # Errors
    /// [`Failure`] if the device cannot run it.
    pub async fn prepare(&mut self, [c, h, w]: [usize; 3]) -> Result<(), Failure> {
        let prepared = self.prepare_for(Shape::new(c, h, w), None).await?;
        self.keep(prepared);
        Ok(())
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

    /// What the last run worked on, if it was this session's; another's is given back, so that no two are held.
    fn take(&self) -> Option<Prepared> {
        let idle = locked(&self.gpu.shared.idle).take();
        idle.filter(|(number, _)| *number == self.number).map(|(_, prepared)| prepared)
    }

    /// Keeps it for the next run.
    fn keep(&self, prepared: Prepared) {
        let before = locked(&self.gpu.shared.idle).replace((self.number, prepared));
        drop(before);
    }

    fn plan(&self, shape: Shape, piece: Option<&Piece<'_>>, frame: Frame) -> Result<Plan, PlanError> {
        let capabilities = self.gpu.capabilities();
        let memory = self.options.memory.unwrap_or(capabilities.memory);
        let Frame { storage, scratch, dispatch_macs } = frame;
        let capabilities = Capabilities { storage, memory, scratch, dispatch_macs, ..capabilities };
        match piece {
            Some(piece) => Plan::of_piece(&self.network, shape, &capabilities, piece),
            None => Plan::new(&self.network, shape, &capabilities),
        }
    }

    /// What is tried one after another: f32, then smaller bands, then f16 if it may be.
    fn frames(&self) -> Vec<Frame> {
        let dispatch_macs = self.gpu.capabilities().dispatch_macs;
        let half = self.options.allow_f16.then(|| self.gpu.half_storage());
        let storages = std::iter::once(Storage::F32).chain(half);
        let frames = storages.flat_map(|storage| SCRATCH.map(|scratch| Frame { storage, scratch, dispatch_macs }));
        frames.collect()
    }

    /// A plan for this size with memory and kernels that work, the last one if it is.
    async fn prepare_for(&mut self, shape: Shape, piece: Option<&Piece<'_>>) -> Result<Prepared, Failure> {
        self.gpu.alive()?;
        let mut frames = self.frames();
        // Dispatches that have turned out to take too long are cut anew.
        let most = 2 * self.gpu.capabilities().dispatch_macs;
        let mut held = self.take();
        if let Some(Prepared { plan, frame, .. }) = &held
            && plan.input.shape == shape
        {
            if piece.is_none() && plan.watched.is_empty() && frame.dispatch_macs <= most {
                return held.ok_or_else(|| "there is no plan".into());
            }
            // What has worked for this size is tried first, since what comes before has not.
            let worked = |other: &Frame| (other.storage, other.scratch) == (frame.storage, frame.scratch);
            frames = frames.into_iter().skip_while(|other| !worked(other)).collect();
            if frame.dispatch_macs <= most
                && let Some(first) = frames.first_mut()
            {
                *first = *frame;
            }
        }
        let mut failure = None;
        for frame in frames {
            match self.prepare_with(shape, piece, frame, &mut held).await {
                Err(error @ Failure::OutOfMemory(_)) => failure = Some(error),
                done => return done,
            }
        }
        Err(failure.unwrap_or_else(|| "there is no plan".into()))
    }

    async fn prepare_with(
        &self,
        shape: Shape,
        piece: Option<&Piece<'_>>,
        frame: Frame,
        held: &mut Option<Prepared>,
    ) -> Result<Prepared, Failure> {
        loop {
            let plan = self.plan(shape, piece, frame).map_err(|error| match error {
                PlanError::TooLarge { .. } => Failure::OutOfMemory(error.to_string()),
                PlanError::NoKernel { .. } | PlanError::Empty { .. } => Failure::Other(error.to_string()),
            })?;
            let kernels: Vec<Kernel> = plan.dispatches.iter().map(|dispatch| dispatch.kernel).collect();
            // Where one does not work, the next plan takes another in its place.
            if self.gpu.all_work(&kernels).await? {
                // What does not fit is given back before anything is asked for.
                if let Some(held) = held.take().filter(|held| held.fits(&plan)) {
                    return Ok(held.adopt(&self.gpu, plan, frame).await?);
                }
                return Ok(Prepared::new(&self.gpu, plan, frame, &self.constants).await?);
            }
        }
    }

    /// Runs on each image of a batch, or on one that is a piece, of which it gives the statistics.
    async fn run_batch(
        &mut self,
        input: ArrayView4<'_, f32>,
        output: ArrayViewMut4<'_, f32>,
        piece: Option<&Piece<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<Statistics, Failure> {
        let (n, c, h, w) = input.dim();
        self.check_channels(c)?;
        if output.len_of(Axis(0)) != n {
            return Err(format!("the output is for {} items, the input holds {n}", output.len_of(Axis(0))).into());
        }
        let prepared = self.prepare_for(Shape::new(c, h, w), piece).await?;
        let found = self.run_with(&prepared, input, output, piece, observer).await;
        self.keep(prepared);
        found
    }

    async fn run_with(
        &mut self,
        prepared: &Prepared,
        input: ArrayView4<'_, f32>,
        mut output: ArrayViewMut4<'_, f32>,
        piece: Option<&Piece<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<Statistics, Failure> {
        if let Some(given) = piece.and_then(|piece| piece.given) {
            prepared.give(&self.gpu, given).await?;
        }
        let shape = prepared.plan.output.shape;
        let shape = [shape.channels, shape.height, shape.width];
        if output.shape()[1..] != shape {
            return Err(format!("the output has shape {:?}, but {shape:?} is computed", &output.shape()[1..]).into());
        }
        let total = prepared.macs().saturating_mul(input.len_of(Axis(0)) as u64);
        let mut progress = Progress { done: 0, total };
        for (input, output) in input.outer_iter().zip(output.outer_iter_mut()) {
            self.times = run_one(&self.gpu, prepared, input, output, observer, &mut progress).await?;
        }
        Ok(prepared.found(&self.gpu).await?)
    }
}

async fn run_one(
    gpu: &Gpu,
    prepared: &Prepared,
    input: ArrayView3<'_, f32>,
    mut output: ArrayViewMut3<'_, f32>,
    observer: &mut dyn Observer,
    progress: &mut Progress,
) -> Result<Times, Failure> {
    let input = input.as_standard_layout();
    let begin = clock::seconds();
    prepared.write(gpu, input.as_slice().ok_or("the input has no standard layout")?).await?;
    let written = clock::seconds();
    prepared.run(gpu, observer, progress).await?;
    let computed = clock::seconds();
    let planar = output.as_slice_mut().ok_or("the output has no standard layout")?;
    prepared.output(gpu, planar).await?;
    Ok(Times::new([begin, written, computed, clock::seconds()]))
}

/// What every session on this GPU runs on.
pub fn engine(gpu: &Gpu) -> Engine {
    Engine { name: "wgpu", version: env!("CARGO_PKG_VERSION").into(), provider: gpu.report().to_string() }
}

/// Weights on their way to the device.
struct Upload<'a> {
    gpu: &'a Gpu,
    constants: Result<Vec<Buffer>, Fault>,
    /// Bytes that are not yet handed over.
    waiting: u64,
}

impl Upload<'_> {
    fn add(&mut self, values: &[f32]) {
        let Ok(constants) = &mut self.constants else { return };
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        match self.gpu.buffer("weights", bytes.len() as u64, usage) {
            Ok(buffer) => {
                self.gpu.queue().write_buffer(&buffer, 0, bytes);
                constants.push(buffer);
                self.waiting += bytes.len() as u64;
            }
            Err(fault) => self.constants = Err(fault),
        }
        if self.waiting >= UPLOAD {
            self.gpu.hand_over();
            self.waiting = 0;
        }
    }
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
        Box::pin(async move { self.run_batch(input, output, None, observer).await.map(drop) })
    }

    fn release(&mut self) -> bool {
        let ours = locked(&self.gpu.shared.idle).take_if(|(number, _)| *number == self.number);
        ours.is_some()
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
            *found = self.run_batch(input, output, Some(piece), observer).await?;
            Ok(())
        })
    }
}
