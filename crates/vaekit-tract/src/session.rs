//! A session on tract.

use std::num::NonZero;

use ndarray::{ArrayView3, ArrayView4, ArrayViewMut3, ArrayViewMut4, Axis};
use tract_onnx::{prelude::*, tract_core::tract_linalg::multithread::Executor};
use vaekit::{Engine, Failure, Observer, RunFuture, Session, ask};

use crate::{
    guard::guarded,
    model::{Model, OpenError},
    plan::{Plan, plan},
};

/// The version of tract that this crate is built with; a test compares it with the lock file.
const TRACT_VERSION: &str = "0.23.9";

/// Plans that a session keeps: each holds its own packed copy of the weights, and tiles taken row by row come in two sizes at
/// a time, the full ones and the one at the row's end.
const MAX_PLANS: usize = 2;

/// How a session runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Threads for convolutions and products of matrices: nothing for as many as the machine has. Always 1 on wasm32.
    pub threads: Option<NonZero<usize>>,
}

/// What every session here runs on.
pub fn engine() -> Engine {
    Engine { name: "tract", version: TRACT_VERSION.into(), provider: "cpu".into() }
}

/// One half of a VAE on tract.
pub struct TractSession {
    engine: Engine,
    model: Model,
    options: RunOptions,
    /// The last used comes last.
    plans: Vec<([usize; 3], Plan)>,
}

impl TractSession {
    /// Parses the bytes of a `model.onnx`: one input `[N, C, H, W]` in f32 or f16 and one output. Plans nothing yet, see
    /// [`TractSession::prepare`].
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(onnx: &[u8], options: &Options) -> Result<Self, OpenError> {
        let threads = options.threads.map_or_else(available_threads, NonZero::get);
        Ok(TractSession {
            engine: engine(),
            model: Model::parse(onnx)?,
            options: RunOptions { executor: Some(executor(threads)?), ..RunOptions::default() },
            plans: Vec::new(),
        })
    }

    /// Makes the plan for images or latents `[C, H, W]`, unless it is one of those kept, so that the next run starts at once.
    ///
    /// # Errors
    /// [`Failure`] if the model does not take this size, or tract cannot run one of its operators.
    pub fn prepare(&mut self, [c, h, w]: [usize; 3]) -> Result<(), Failure> {
        self.plan([c, h, w]).map(drop).map_err(Failure::Other)
    }

    fn plan(&mut self, size: [usize; 3]) -> Result<Plan, String> {
        let [c, h, w] = size;
        if let Some(expected) = self.model.input_channels.filter(|&expected| expected != c) {
            return Err(format!("the input has {c} channels, the model takes {expected}"));
        }
        let kept = self.plans.iter().position(|(kept, _)| *kept == size);
        let (_, plan) = match kept {
            Some(idx) => self.plans.remove(idx),
            None => {
                // Room first, so that there are never more plans in memory than are kept.
                self.plans.drain(..(self.plans.len() + 1).saturating_sub(MAX_PLANS));
                let plan = guarded(|| plan(&self.model, [1, c, h, w], &self.options))?;
                (size, plan)
            }
        };
        self.plans.push((size, Arc::clone(&plan)));
        Ok(plan)
    }

    fn run_batch(&mut self, input: ArrayView4<'_, f32>, mut output: ArrayViewMut4<'_, f32>) -> Result<(), String> {
        let (n, c, h, w) = input.dim();
        if output.len_of(Axis(0)) != n {
            return Err(format!("the output is for {} items, the input holds {n}", output.len_of(Axis(0))));
        }
        let plan = self.plan([c, h, w])?;
        // One item after the other: tract unrolls convolutions of a larger batch in memory, which took 5 times as long.
        input.outer_iter().zip(output.outer_iter_mut()).try_for_each(|(input, output)| run_one(&plan, input, output))
    }
}

fn run_one(plan: &Plan, input: ArrayView3<'_, f32>, mut output: ArrayViewMut3<'_, f32>) -> Result<(), String> {
    let input = input.insert_axis(Axis(0)).to_owned().into_tensor();
    let results = guarded(|| plan.run(tvec!(input.into())))?;
    let result = guarded(|| results[0].to_plain_array_view::<f32>())?;
    if result.shape().split_first() != Some((&1, output.shape())) {
        return Err(format!("the model gives {:?}, expected [1, {}]", result.shape(), sides(output.shape())));
    }
    output.assign(&result.index_axis(Axis(0), 0));
    Ok(())
}

fn sides(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

impl Session for TractSession {
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
            ask(observer).await?;
            self.run_batch(input, output).map_err(Failure::Other)
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

#[cfg(target_arch = "wasm32")]
fn available_threads() -> usize {
    1
}

#[cfg(not(target_arch = "wasm32"))]
fn executor(threads: usize) -> Result<Executor, OpenError> {
    if threads == 1 {
        return Ok(Executor::SingleThread);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|idx| format!("vaekit-tract-{idx}"))
        .build()
        .map_err(|error| OpenError::Threads { n: threads, reason: error.to_string() })?;
    Ok(Executor::MultiThread(Arc::new(pool)))
}

#[cfg(target_arch = "wasm32")]
fn executor(_threads: usize) -> Result<Executor, OpenError> {
    Ok(Executor::SingleThread)
}
