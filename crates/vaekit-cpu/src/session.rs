//! A session on vaekit's own kernels.

use std::io::{Read, Seek};
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4, Axis};
use vaekit::{Engine, Failure, Observer, Piece, Piecewise, Progress, RunFuture, Session, Statistics};
use vaekit_kernels::layout::{Blocks, Shape, View, pack, unpack};
use vaekit_kernels::{Level, Moments, Workspace};
use vaekit_onnx::ops::{Ops, OpsError};

use crate::held::Held;
use crate::memory::Memory;
use crate::schedule::{Schedule, schedule};
use crate::step::{Compute, Context, Image, Watched};
use crate::threads::Threads;

/// How a session runs.
#[derive(Clone, Default)]
pub struct Options {
    /// Threads: nothing for as many as the machine has. On wasm32 the threads of the page's pool, whatever is said here.
    pub threads: Option<NonZero<usize>>,
    /// How many bytes a run may take besides the weights; nothing for as many as the system gives.
    pub memory: Option<FreeMemory>,
}

/// How many bytes may be taken, if that is known. Asked when a run of a new size is planned, after the last one's memory is
/// freed.
pub type FreeMemory = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// Why a model was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is no ONNX model, is damaged, or holds something that no VAE of the known families has.
    #[error(transparent)]
    Model(#[from] OpsError),
    /// Known operations that this engine has no step for, or whose operands do not fit each other.
    #[error("{reason}, which this engine has no step for")]
    Schedule {
        /// Which.
        reason: String,
    },
    /// No threads.
    #[error("cannot start {n} threads: {reason}")]
    Threads {
        /// How many were asked for.
        n: usize,
        /// What the system said.
        reason: String,
    },
}

impl OpenError {
    /// Whether the model is in order as far as can be told, and another engine may run it.
    pub fn is_unsupported(&self) -> bool {
        match self {
            OpenError::Model(error) => error.is_unsupported(),
            OpenError::Schedule { .. } => true,
            OpenError::Threads { .. } => false,
        }
    }
}

/// What every session here runs on: `vaekit-cpu 0.1.0 on avx512`.
pub fn engine() -> Engine {
    Engine { name: "cpu", version: env!("CARGO_PKG_VERSION").into(), provider: Level::best().name().into() }
}

/// One half of a VAE on vaekit's own kernels.
pub struct CpuSession {
    engine: Engine,
    level: Level,
    threads: Threads,
    schedule: Schedule,
    free: Option<FreeMemory>,
    _held: Held,
    /// The memory of the last run, which the next one of that size uses again.
    kept: Option<Kept>,
}

/// One step of a run, for profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInfo {
    /// The layer, as the model's node is called.
    pub name: String,
    /// The kernel.
    pub kind: &'static str,
    /// Multiply-adds that a direct evaluation takes.
    pub macs: u64,
}

struct Kept {
    input: Shape,
    memory: Memory,
    slots: Vec<Blocks>,
    workspace: Workspace,
    _held: Held,
}

/// A side that every VAE halves without a rest: operands that do not fit each other then are no VAE's.
const SIDE: usize = 4096;

const NO_PLACE: &str = "a value has no place";

impl CpuSession {
    /// Opens a `model.onnx`: one input `[N, C, H, W]` in f32 or f16 and one output.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::is_unsupported`] says whether another engine may do.
    pub fn open(model: impl Read + Seek, options: &Options) -> Result<Self, OpenError> {
        let level = Level::best();
        let ops = Ops::read(model)?;
        let schedule = schedule(level, ops).map_err(|error| OpenError::Schedule { reason: error.to_string() })?;
        let threads = Threads::new(options.threads)?;
        let held = Held::new(schedule.bytes());
        let (engine, free) = (engine(), options.memory.clone());
        let session = CpuSession { engine, level, threads, schedule, free, _held: held, kept: None };
        match session.plan([session.schedule.network.channels[0], SIDE, SIDE]) {
            Err(Failure::Other(reason)) => Err(OpenError::Schedule { reason }),
            _ => Ok(session),
        }
    }

    /// Bytes that a run on images or latents `[C, H, W]` holds besides the weights: images, and what its threads work in.
    ///
    /// # Errors
    /// [`Failure`] if the network does not run on this size.
    pub fn run_bytes(&self, size: [usize; 3]) -> Result<u64, Failure> {
        Ok(self.plan(size)?.bytes(self.threads.count()))
    }

    /// The size `[C, H, W]` of the output for images or latents `[C, H, W]`.
    ///
    /// # Errors
    /// Those of [`run_bytes`](Self::run_bytes).
    pub fn output(&self, size: [usize; 3]) -> Result<[usize; 3], Failure> {
        let place = self.plan(size)?.places[self.schedule.network.output].ok_or(NO_PLACE)?;
        Ok([place.shape.channels, place.shape.height, place.shape.width])
    }

    /// The steps of a run on images or latents `[C, H, W]`, in the order in which an [`Observer`] is asked.
    ///
    /// # Errors
    /// Those of [`run_bytes`](Self::run_bytes).
    pub fn steps(&self, size: [usize; 3]) -> Result<Vec<StepInfo>, Failure> {
        let steps = self.schedule.network.steps.iter().zip(self.plan(size)?.macs);
        Ok(steps.map(|(step, macs)| StepInfo { name: step.name.clone(), kind: step.work.kind(), macs }).collect())
    }

    fn plan(&self, [c, h, w]: [usize; 3]) -> Result<Memory, Failure> {
        Memory::plan(&self.schedule.network, Shape::new(c, h, w), self.level, self.threads.count())
    }

    async fn run_batch(
        &mut self,
        input: ArrayView4<'_, f32>,
        mut output: ArrayViewMut4<'_, f32>,
        watched: Option<&Watched<'_>>,
        observer: &mut dyn Observer,
    ) -> Result<(), Failure> {
        let (n, c, h, w) = input.dim();
        let channels = self.schedule.network.channels[0];
        if c != channels {
            return Err(format!("the input has {c} channels, the model takes {channels}").into());
        }
        if output.len_of(Axis(0)) != n {
            return Err(format!("the output is for {} items, the input holds {n}", output.len_of(Axis(0))).into());
        }
        let mut kept = self.memory(Shape::new(c, h, w))?;
        let of_one = kept.memory.macs.iter().fold(0, |sum: u64, &macs| sum.saturating_add(macs));
        let mut progress = Progress { done: 0, total: of_one.saturating_mul(n as u64) };
        let mut result = Ok(());
        for (input, output) in input.outer_iter().zip(output.outer_iter_mut()) {
            result = self.run_one(&mut kept, input, output, watched, observer, &mut progress).await;
            if result.is_err() {
                break;
            }
        }
        self.kept = Some(kept);
        result
    }

    /// Memory for an input of this shape: what the last run used, if it had the same.
    fn memory(&mut self, input: Shape) -> Result<Kept, Failure> {
        if let Some(kept) = self.kept.take_if(|kept| kept.input == input) {
            return Ok(kept);
        }
        // Freed before anything is asked for.
        self.kept = None;
        let memory = self.plan([input.channels, input.height, input.width])?;
        let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
        let threads = self.threads.count();
        let needed = memory.bytes(threads);
        let wanted = format!("{} MB would have to be held at once", megabytes(needed));
        if let Some(free) = self.free.as_ref().and_then(|ask| ask()).filter(|&free| needed > free) {
            return Err(Failure::OutOfMemory(format!("{wanted}, and {} MB can be", megabytes(free))));
        }
        let slots: Option<Vec<Blocks>> = memory.slots.iter().map(|&blocks| Blocks::new(blocks)).collect();
        let workspace = Workspace::new();
        let slots = slots.filter(|_| workspace.reserve(memory.need, threads)).ok_or(Failure::OutOfMemory(wanted))?;
        Ok(Kept { input, memory, slots, workspace, _held: Held::new(usize::try_from(needed).unwrap_or(usize::MAX)) })
    }

    async fn run_one(
        &self,
        kept: &mut Kept,
        input: ArrayView3<'_, f32>,
        mut output: ArrayViewMut3<'_, f32>,
        watched: Option<&Watched<'_>>,
        observer: &mut dyn Observer,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let Kept { memory, slots, workspace, .. } = kept;
        let place = |value: usize| memory.places[value].ok_or(NO_PLACE);
        let Schedule { norms, network } = &self.schedule;
        let context = Context { level: self.level, norms, workspace, watched };
        let (first, last) = (place(0)?, place(network.output)?);
        let shape = [last.shape.channels, last.shape.height, last.shape.width];
        if output.shape() != shape {
            return Err(format!("the output has shape {:?}, but {shape:?} was computed", output.shape()).into());
        }
        let planar = input.as_standard_layout();
        let planar = planar.as_slice().ok_or("the input has no standard layout")?;
        self.threads.run(|| pack(first.shape, planar, &mut slots[first.slot][..first.shape.blocks()]));
        let mut moments: Vec<Option<Moments>> = (0..network.channels.len()).map(|_| None).collect();
        for ((step, &macs), &worked_in) in network.steps.iter().zip(&memory.macs).zip(&memory.worked_in) {
            if observer.step(*progress).await == ControlFlow::Break(()) {
                return Err(Failure::Cancelled);
            }
            let to = place(step.output)?;
            // What is written is taken out while the others are read.
            let mut out = std::mem::take(&mut slots[to.slot]);
            let mut working = worked_in.map(|(slot, len)| (slot, len, std::mem::take(&mut slots[slot])));
            let mut sums = step.moments.then(Moments::new);
            let image = |value: usize| {
                let Some(place) = memory.places[value] else { unreachable!("a step reads what an earlier one made") };
                let view = View::new(place.shape, &slots[place.slot][..place.shape.blocks()]);
                Image { view, moments: moments[value].as_ref() }
            };
            let blocks = &mut out[..to.shape.blocks()];
            let work_in = working.as_mut().map_or(&mut [][..], |(_, len, blocks)| &mut blocks[..*len]);
            self.threads.run(|| step.work.run(&context, image, work_in, blocks, sums.as_mut()));
            moments[step.output] = sums;
            slots[to.slot] = out;
            if let Some((slot, _, blocks)) = working {
                slots[slot] = blocks;
            }
            progress.done = progress.done.saturating_add(macs);
        }
        let planar = output.as_slice_mut().ok_or("the output has no standard layout")?;
        let blocks = &slots[last.slot][..last.shape.blocks()];
        self.threads.run(|| unpack(View::new(last.shape, blocks), planar));
        Ok(())
    }
}

impl Session for CpuSession {
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

    fn release(&mut self) -> bool {
        self.kept.take().is_some()
    }

    fn piecewise(&mut self) -> Option<&mut dyn Piecewise> {
        if self.schedule.norms.is_empty() { None } else { Some(self) }
    }
}

impl Piecewise for CpuSession {
    fn run_piece<'a>(
        &'a mut self,
        piece: &'a Piece<'a>,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        found: &'a mut Statistics,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a> {
        Box::pin(async move {
            let watched = Watched { piece, found: Mutex::default() };
            self.run_batch(input, output, Some(&watched), observer).await?;
            *found = watched.found.into_inner().unwrap_or_else(PoisonError::into_inner);
            Ok(())
        })
    }
}
