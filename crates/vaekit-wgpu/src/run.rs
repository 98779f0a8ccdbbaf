//! A plan with the buffers that it works on, and running it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use vaekit::{Failure, Observer, Progress};

use crate::clock;
use crate::device::{Fault, Submission};
use crate::gpu::Gpu;
use crate::layout::{LANES, Shape, pack, unpack};
use crate::pipeline::{Pipeline, UNIFORM_BYTES, UNIFORM_STRIDE};
use crate::plan::{Array, Dispatch, Plan};

/// Seconds that one submission should take: short enough to cancel and for other programs to draw, long enough that handing
/// over costs nothing.
const SUBMISSION: f64 = 0.1;

/// Submissions that the device has at a time: one is computed while the next is handed over.
const IN_FLIGHT: usize = 2;

/// A plan that is ready to run.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    slots: Vec<wgpu::Buffer>,
    /// What each dispatch runs, and on what.
    bound: Vec<(Arc<Pipeline>, wgpu::BindGroup)>,
    /// The output, where the host can read it.
    read: wgpu::Buffer,
}

/// How fast a device was so far, in multiply-adds a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(f64);

impl Rate {
    /// A careful guess: a device that is slower than this is a program.
    pub(crate) fn first(gpu: &Gpu) -> Self {
        Rate(if gpu.report().is_software() { 1e9 } else { 5e10 })
    }

    fn learn(&mut self, macs: u64, seconds: f64) {
        // What takes no time says nothing.
        if macs > 0 && seconds > 1e-3 {
            self.0 = 0.5 * self.0 + 0.5 * macs as f64 / seconds;
        }
    }
}

/// Time that a step took on the device.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StepTime {
    /// The layer, as the model's node is called.
    pub name: String,
    /// The kernel.
    pub kind: &'static str,
    /// Multiply-adds that a direct evaluation takes.
    pub macs: u64,
    /// Seconds, with waiting for the device.
    pub seconds: f64,
}

impl Prepared {
    /// Takes memory for a plan and compiles its kernels, which are known to work.
    pub(crate) async fn new(gpu: &Gpu, plan: Plan, constants: &[wgpu::Buffer]) -> Result<Self, Fault> {
        let mut pipelines = Vec::with_capacity(plan.dispatches.len());
        for dispatch in &plan.dispatches {
            pipelines.push(gpu.compile(&dispatch.kernel).await?);
        }
        // The largest come first; what is not there is said at once.
        let allocated = gpu.scoped(|device| {
            let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let slot = |&bytes: &u64| buffer(device, "images", bytes, storage);
            let slots: Vec<wgpu::Buffer> = plan.slots.iter().map(slot).collect();
            let output = plan.output.shape.vectors() as u64 * plan.storage.bytes();
            let read = buffer(device, "output", output, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            (slots, read)
        });
        let (slots, read) = allocated.await?;
        let bound = gpu.scoped(|device| {
            let bytes = plan.dispatches.len() as u64 * UNIFORM_STRIDE;
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let uniforms = buffer(device, "uniforms", bytes, usage);
            let mut words = vec![0u8; bytes as usize];
            for (dispatch, to) in plan.dispatches.iter().zip(words.chunks_exact_mut(UNIFORM_STRIDE as usize)) {
                to[..UNIFORM_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&dispatch.uniform.0));
            }
            gpu.queue().write_buffer(&uniforms, 0, &words);
            let mut known: HashMap<&[Array], wgpu::BindGroup> = HashMap::new();
            let bind = |dispatch: &Dispatch, pipeline: &Pipeline| {
                let arrays = dispatch.arrays.iter().map(|array| match *array {
                    Array::Slot { slot, bytes } => (&slots[slot], bytes),
                    Array::Constant(constant) => (&constants[constant], constants[constant].size()),
                });
                let arrays: Vec<(&wgpu::Buffer, u64)> = arrays.collect();
                gpu.bind_group(&pipeline.layout, &uniforms, &arrays)
            };
            let mut bound = Vec::with_capacity(pipelines.len());
            for (dispatch, pipeline) in plan.dispatches.iter().zip(&pipelines) {
                let group = known.entry(&dispatch.arrays).or_insert_with(|| bind(dispatch, pipeline));
                bound.push((Arc::clone(pipeline), group.clone()));
            }
            bound
        });
        let bound = bound.await?;
        Ok(Prepared { plan, slots, bound, read })
    }

    /// Puts an image `[C, H, W]` in its place.
    pub(crate) async fn write(&self, gpu: &Gpu, planar: &[f32]) -> Result<(), Fault> {
        let vectors = self.plan.storage.encode(&pack(self.plan.input.shape, planar));
        let slot = &self.slots[self.plan.input.slot];
        gpu.scoped(|_| gpu.queue().write_buffer(slot, 0, &vectors)).await
    }

    /// Computes, in submissions of as many dispatches as take a moment, and asks the observer before each.
    pub(crate) async fn run(
        &self,
        gpu: &Gpu,
        observer: &mut dyn Observer,
        progress: &mut Progress,
        rate: &mut Rate,
    ) -> Result<(), Failure> {
        let mut in_flight: Vec<(Submission, u64)> = Vec::new();
        let mut waited = clock::seconds();
        let mut next = 0;
        while next < self.bound.len() {
            if observer.step(*progress).await == ControlFlow::Break(()) {
                return Err(Failure::Cancelled);
            }
            let budget = (rate.0 * SUBMISSION) as u64;
            let macs = |count: usize| self.plan.dispatches[next..next + count].iter().map(|d| d.macs).sum::<u64>();
            let most = self.bound.len() - next;
            let count = (1..=most).take_while(|&count| count == 1 || macs(count) <= budget).last().unwrap_or(1);
            let macs = macs(count);
            let submission = gpu.scoped(|device| self.submit(gpu, device, next..next + count)).await?;
            in_flight.push((submission, macs));
            next += count;
            if in_flight.len() == IN_FLIGHT {
                let (submission, macs) = in_flight.remove(0);
                gpu.wait(submission).await?;
                let now = clock::seconds();
                rate.learn(macs, now - waited);
                waited = now;
            }
            progress.done = progress.done.saturating_add(macs);
        }
        for (submission, _) in in_flight {
            gpu.wait(submission).await?;
        }
        Ok(())
    }

    fn submit(&self, gpu: &Gpu, device: &wgpu::Device, dispatches: std::ops::Range<usize>) -> Submission {
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for index in dispatches {
            let (pipeline, bind_group) = &self.bound[index];
            let [x, y, z] = self.plan.dispatches[index].grid;
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, bind_group, &[(index as u64 * UNIFORM_STRIDE) as u32]);
            pass.dispatch_workgroups(x, y, z);
        }
        drop(pass);
        gpu.submit(encoder.finish())
    }

    /// Computes step by step, waiting for each.
    pub(crate) async fn time(&self, gpu: &Gpu, names: &[&str]) -> Result<Vec<StepTime>, Fault> {
        let mut times = Vec::new();
        let mut next = 0;
        while let Some(dispatch) = self.plan.dispatches.get(next) {
            let step = dispatch.step;
            let of_step = self.plan.dispatches[next..].iter().take_while(|dispatch| dispatch.step == step);
            let last = of_step.clone().max_by_key(|dispatch| dispatch.macs).unwrap_or(dispatch);
            let (kind, count) = (last.kernel.name(), of_step.count());
            let begin = clock::seconds();
            let submission = gpu.scoped(|device| self.submit(gpu, device, next..next + count)).await?;
            gpu.wait(submission).await?;
            let seconds = clock::seconds() - begin;
            times.push(StepTime { name: names[step].to_owned(), kind, macs: self.plan.step_macs[step], seconds });
            next += count;
        }
        Ok(times)
    }

    /// Multiply-adds of a run.
    pub(crate) fn macs(&self) -> u64 {
        self.plan.dispatches.iter().map(|dispatch| dispatch.macs).sum()
    }

    /// Where the output is.
    pub(crate) fn output_buffer(&self) -> (&wgpu::Buffer, Shape) {
        (&self.slots[self.plan.output.slot], self.plan.output.shape)
    }

    /// Reads the output `[C, H, W]`.
    pub(crate) async fn output(&self, gpu: &Gpu, planar: &mut [f32]) -> Result<(), Fault> {
        let slot = &self.slots[self.plan.output.slot];
        let copied = gpu.scoped(|device| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(slot, 0, &self.read, 0, self.read.size());
            gpu.submit(encoder.finish())
        });
        let _ = copied.await?;
        let shape = self.plan.output.shape;
        let lanes = shape.vectors() * LANES;
        gpu.read(&self.read, |bytes| unpack(shape, &self.plan.storage.decode(bytes)[..lanes], planar)).await
    }
}

/// A buffer; of at least one vector, since an empty one cannot be bound.
fn buffer(device: &wgpu::Device, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let label = Some(label);
    device.create_buffer(&wgpu::BufferDescriptor { label, size: bytes.max(16), usage, mapped_at_creation: false })
}
