//! A plan with the buffers that it works on, and running it.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use vaekit::{Failure, Observer, Progress, Statistics, Sums};

use crate::clock;
use crate::device::{Fault, Submission, locked};
use crate::gpu::{AdapterReport, Gpu};
use crate::kernels::{Kernel, MergeParams};
use crate::layout::{LANES, Shape, Storage, pack, unpack};
use crate::memory::Buffer;
use crate::pipeline::{Pipeline, UNIFORM_BYTES, UNIFORM_STRIDE};
use crate::plan::{Array, Dispatch, Plan, Watched};

/// Seconds that one submission should take: short enough to cancel and for other programs to draw, long enough that handing
/// over costs nothing.
const SUBMISSION: f64 = 0.1;

/// Submissions that the device has at a time: one is computed while the next is handed over.
const IN_FLIGHT: usize = 2;

/// What a plan was made for, beside the size and what the device can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// How images are stored.
    pub(crate) storage: Storage,
    /// Most bytes of what a step needs beside images.
    pub(crate) scratch: u64,
    /// Multiply-adds of a dispatch, about.
    pub(crate) dispatch_macs: u64,
}

/// A plan that is ready to run.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) frame: Frame,
    slots: Vec<Buffer>,
    uniforms: Buffer,
    /// What each dispatch runs, and on what.
    bound: Vec<(Arc<Pipeline>, wgpu::BindGroup)>,
    /// The output, where the host can read it.
    read: Buffer,
    /// A piece's statistics, one normalisation after another, where the host can read them.
    read_found: Option<Buffer>,
}

/// How fast a device was so far, in multiply-adds a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate(f64);

impl Rate {
    /// A careful guess: a device that is slower than this is a program.
    pub(crate) fn first(report: &AdapterReport) -> Self {
        Rate(if report.is_software() { 1e9 } else { 5e10 })
    }

    pub(crate) fn per_second(self) -> f64 {
        self.0
    }

    fn learn(&mut self, macs: u64, seconds: f64) {
        if macs > 0 {
            // Clocks in browsers may be as coarse as this.
            self.0 = 0.5 * self.0 + 0.5 * macs as f64 / seconds.max(1e-3);
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
    pub(crate) async fn new(gpu: &Gpu, plan: Plan, frame: Frame, constants: &[Buffer]) -> Result<Self, Fault> {
        let kernels: Vec<Kernel> = plan.dispatches.iter().map(|dispatch| dispatch.kernel).collect();
        let pipelines = gpu.compile(&kernels).await?;
        // The largest come first; what is not there is said at once, and what was is given back.
        let allocated = gpu.scoped(|_| {
            let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let slot = |&bytes: &u64| gpu.buffer("images", bytes, storage);
            let slots = plan.slots.iter().map(slot).collect::<Result<Vec<Buffer>, Fault>>()?;
            let output = plan.output.shape.vectors() as u64 * plan.storage.bytes();
            let read_back = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let read = gpu.buffer("the output", output, read_back)?;
            let found: u64 = plan.watched.iter().map(|watched| found_bytes(&plan, watched)).sum();
            let read_found = (found > 0).then(|| gpu.buffer("statistics", found, read_back)).transpose()?;
            Ok((slots, read, read_found))
        });
        let (slots, read, read_found) = allocated.await?;
        let bound = gpu.scoped(|_| {
            let bytes = plan.dispatches.len() as u64 * UNIFORM_STRIDE;
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let uniforms = gpu.buffer("uniforms", bytes, usage)?;
            gpu.queue().write_buffer(&uniforms, 0, &uniform_bytes(&plan));
            let mut known: HashMap<&[Array], wgpu::BindGroup> = HashMap::new();
            let bind = |dispatch: &Dispatch, pipeline: &Pipeline| {
                let arrays = dispatch.arrays.iter().map(|array| match *array {
                    Array::Slot { slot, bytes } => (&*slots[slot], bytes),
                    Array::Constant(constant) => (&*constants[constant], constants[constant].size()),
                });
                let arrays: Vec<(&wgpu::Buffer, u64)> = arrays.collect();
                gpu.bind_group(&pipeline.layout, &uniforms, &arrays)
            };
            let mut bound = Vec::with_capacity(pipelines.len());
            for (dispatch, pipeline) in plan.dispatches.iter().zip(&pipelines) {
                let group = known.entry(&dispatch.arrays).or_insert_with(|| bind(dispatch, pipeline));
                bound.push((Arc::clone(pipeline), group.clone()));
            }
            Ok((bound, uniforms))
        });
        let (bound, uniforms) = bound.await?;
        Ok(Prepared { plan, frame, slots, uniforms, bound, read, read_found })
    }

    /// Whether another plan runs on the same memory with the same kernels.
    pub(crate) fn fits(&self, plan: &Plan) -> bool {
        let alike = |(a, b): (&Dispatch, &Dispatch)| a.kernel == b.kernel && a.arrays == b.arrays;
        self.plan.slots == plan.slots
            && self.plan.dispatches.len() == plan.dispatches.len()
            && self.plan.dispatches.iter().zip(&plan.dispatches).all(alike)
    }

    /// Takes another plan, which [`fits`](Self::fits).
    pub(crate) async fn adopt(self, gpu: &Gpu, plan: Plan, frame: Frame) -> Result<Self, Fault> {
        write(gpu, &self.uniforms, &uniform_bytes(&plan)).await?;
        Ok(Prepared { plan, frame, ..self })
    }

    /// Puts the statistics of a larger image where this piece's normalisations look for them.
    pub(crate) async fn give(&self, gpu: &Gpu, given: &Statistics) -> Result<(), Fault> {
        gpu.scoped(|_| {
            for (watched, sums) in self.plan.watched.iter().zip(&given.norms) {
                let Some(slot) = watched.given else { continue };
                let lanes = watched.params.moments.planes as usize * LANES;
                let mut values = vec![0.0; 2 * lanes];
                for channel in 0..watched.params.channels as usize {
                    let group = channel / watched.params.group as usize;
                    let (mean, variance) = sums.get(group).map_or((0.0, 1.0), |sums| sums.mean_and_variance());
                    let at = channel / LANES * 2 * LANES + channel % LANES;
                    (values[at], values[at + LANES]) = (mean as f32, variance as f32);
                }
                gpu.queue().write_buffer(&self.slots[slot], 0, bytemuck::cast_slice(&values));
            }
            Ok(())
        })
        .await
    }

    /// The statistics that the last run found.
    pub(crate) async fn found(&self, gpu: &Gpu) -> Result<Statistics, Fault> {
        let Some(read) = &self.read_found else { return Ok(Statistics::default()) };
        let copied = gpu.scoped(|device| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut at = 0;
            for watched in &self.plan.watched {
                let bytes = found_bytes(&self.plan, watched);
                encoder.copy_buffer_to_buffer(&self.slots[watched.found], 0, read, at, bytes);
                at += bytes;
            }
            Ok(gpu.submit(encoder.finish()))
        });
        let _ = copied.await?;
        let sums = |bytes: &[u8]| {
            let mut rest = bytes;
            let norms = self.plan.watched.iter().map(|watched| {
                let (ours, others) = rest.split_at(found_bytes(&self.plan, watched) as usize);
                rest = others;
                group_sums(&watched.params, &bytemuck::pod_collect_to_vec(ours))
            });
            Statistics { norms: norms.collect() }
        };
        gpu.read(read, sums).await
    }

    /// Puts an image `[C, H, W]` in its place.
    pub(crate) async fn write(&self, gpu: &Gpu, planar: &[f32]) -> Result<(), Fault> {
        let vectors = self.plan.storage.encode(&pack(self.plan.input.shape, planar));
        write(gpu, &self.slots[self.plan.input.slot], &vectors).await
    }

    /// Computes all of it.
    pub(crate) async fn run(
        &self,
        gpu: &Gpu,
        observer: &mut dyn Observer,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        self.compute(gpu, 0..self.bound.len(), observer, progress).await
    }

    /// Computes some dispatches, in submissions of as many as take a moment, and asks the observer before each.
    async fn compute(
        &self,
        gpu: &Gpu,
        range: Range<usize>,
        observer: &mut dyn Observer,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let mut in_flight: Vec<(Submission, u64)> = Vec::new();
        let mut waited = clock::seconds();
        let mut next = range.start;
        while next < range.end {
            if observer.step(*progress).await == ControlFlow::Break(()) {
                return Err(Failure::Cancelled);
            }
            let budget = (locked(&gpu.shared.rate).per_second() * SUBMISSION) as u64;
            let (end, macs) = self.within(next..range.end, budget);
            let submission = gpu.scoped(|device| Ok(self.submit(gpu, device, next..end))).await?;
            in_flight.push((submission, macs));
            next = end;
            if in_flight.len() == IN_FLIGHT {
                let (submission, macs) = in_flight.remove(0);
                gpu.wait(submission).await?;
                let now = clock::seconds();
                locked(&gpu.shared.rate).learn(macs, now - waited);
                waited = now;
            }
            progress.done = progress.done.saturating_add(macs);
        }
        for (submission, _) in in_flight {
            gpu.wait(submission).await?;
        }
        Ok(())
    }

    /// The end of as many dispatches, but at least one, as have so many multiply-adds together, and those that they have.
    fn within(&self, range: Range<usize>, budget: u64) -> (usize, u64) {
        let (mut end, mut all) = (range.start, 0);
        for dispatch in &self.plan.dispatches[range.clone()] {
            if end > range.start && all + dispatch.macs > budget {
                break;
            }
            (end, all) = (end + 1, all + dispatch.macs);
        }
        (end, all)
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
    pub(crate) async fn time(&self, gpu: &Gpu, names: &[&str]) -> Result<Vec<StepTime>, Failure> {
        let mut times = Vec::new();
        let mut next = 0;
        while let Some(dispatch) = self.plan.dispatches.get(next) {
            let step = dispatch.step;
            let of_step = self.plan.dispatches[next..].iter().take_while(|dispatch| dispatch.step == step);
            let last = of_step.clone().max_by_key(|dispatch| dispatch.macs).unwrap_or(dispatch);
            let (kind, end) = (last.kernel.name(), next + of_step.count());
            let begin = clock::seconds();
            self.compute(gpu, next..end, &mut (), &mut Progress { done: 0, total: 0 }).await?;
            let seconds = clock::seconds() - begin;
            times.push(StepTime { name: names[step].to_owned(), kind, macs: self.plan.step_macs[step], seconds });
            next = end;
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
            Ok(gpu.submit(encoder.finish()))
        });
        let _ = copied.await?;
        let shape = self.plan.output.shape;
        let lanes = shape.vectors() * LANES;
        gpu.read(&self.read, |bytes| unpack(shape, &self.plan.storage.decode(bytes)[..lanes], planar)).await
    }
}

async fn write(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: &[u8]) -> Result<(), Fault> {
    let written = gpu.scoped(|_| {
        gpu.queue().write_buffer(buffer, 0, bytes);
        Ok(())
    });
    written.await
}

/// The plan's parameters as they lie in their buffer.
fn uniform_bytes(plan: &Plan) -> Vec<u8> {
    let mut words = vec![0u8; plan.dispatches.len() * UNIFORM_STRIDE as usize];
    for (dispatch, to) in plan.dispatches.iter().zip(words.chunks_exact_mut(UNIFORM_STRIDE as usize)) {
        to[..UNIFORM_BYTES as usize].copy_from_slice(bytemuck::bytes_of(&dispatch.uniform.0));
    }
    words
}

/// Bytes that a normalisation's statistics take: those of all of the image, even where they are of a region.
fn found_bytes(plan: &Plan, watched: &Watched) -> u64 {
    let MergeParams { moments, .. } = watched.params;
    let whole = u64::from(moments.plane.div_ceil(moments.chunk)) * u64::from(moments.planes) * 2 * 16;
    whole.min(plan.slots[watched.found])
}

/// What [`Moments`](crate::kernels::Moments) found, by groups.
fn group_sums(params: &MergeParams, moments: &[f32]) -> Vec<Sums> {
    let MergeParams { moments: of, channels, group, .. } = *params;
    let mut groups = vec![Sums::default(); (channels / group.max(1)) as usize];
    for (channel, piece) in (0..channels).flat_map(|channel| (0..of.chunks).map(move |piece| (channel, piece))) {
        let at =
            ((channel as usize / LANES) * of.chunks as usize + piece as usize) * 2 * LANES + channel as usize % LANES;
        let count = f64::from(of.chunk.min(of.pixels - piece * of.chunk));
        let (mean, deviations) = (f64::from(moments[at]), f64::from(moments[at + LANES]));
        let sums = &mut groups[(channel / group) as usize];
        sums.count += count;
        sums.sum += count * mean;
        sums.squares += deviations + count * mean * mean;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_no_time_that_a_clock_shows_is_learned_too() {
        let mut rate = Rate(5e10);
        for _ in 0..20 {
            let budget = (rate.per_second() * SUBMISSION) as u64;
            // A device of 1e13 with a clock of milliseconds.
            rate.learn(budget, (budget as f64 / 1e13 * 1e3).floor() / 1e3);
        }
        assert!((0.5e13..2e13).contains(&rate.per_second()), "{rate:?}");
        rate.learn(0, 10.0);
        assert!(rate.per_second() > 0.5e13);
    }
}
