//! What a runtime implements: one graph that turns an array into an array.

use std::any::Any;
use std::ops::ControlFlow;
use std::pin::Pin;

use ndarray::{ArrayView4, ArrayViewMut4};

use crate::cut::Cut;
use crate::statistics::{Piece, Statistics};

/// The future of a run. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(not(target_arch = "wasm32"))]
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;
/// The future of a run. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(target_arch = "wasm32")]
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// `Send` natively, nothing in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send> MaybeSend for T {}
/// `Send` natively, nothing in a browser.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T> MaybeSend for T {}

/// One half of a VAE, loaded by a runtime.
///
/// The caller knows the output's shape (see [`crate::Vae`]) and lends the memory, so that a session copies nothing it need
/// not copy and a caller can point it at a piece of something larger. A run is a future because a GPU in a browser can
/// only be waited for; a CPU runtime does its work when first polled and is then ready, so [`crate::block_on`] costs nothing.
///
/// It is `Any`, so that whoever knows its runtime can ask that for more.
pub trait Session: MaybeSend + Any {
    /// What runs: runtime, its version, the execution provider.
    fn engine(&self) -> &Engine;

    /// Runs the graph on `input` `[N, C, H, W]` (f32) and fills `output` `[N, C', H', W']` (f32), which is in standard layout.
    ///
    /// The observer is asked between two steps. A runtime that runs a graph in one go asks it once, before.
    ///
    /// # Errors
    /// [`Failure`] if the runtime fails, runs out of memory, gives another shape than `output` has, or the observer ended the
    /// run; the session can be run again.
    fn run<'a>(
        &'a mut self,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a>;

    /// Frees what it keeps to be quick at the next run, and says whether there was anything.
    fn release(&mut self) -> bool {
        false
    }

    /// The session as one whose normalisations can be told what they see, if its graph has any and the runtime can.
    fn piecewise(&mut self) -> Option<&mut dyn Piecewise> {
        None
    }
}

/// A session that normalises a piece of an image as the whole image is.
pub trait Piecewise {
    /// [`Session::run`] on one image that is a piece of a larger one. Normalises by the statistics that the piece is given, or
    /// where it is given none by its own; `found` becomes what its own part has, or where it is given none all of it.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    fn run_piece<'a>(
        &'a mut self,
        piece: &'a Piece<'a>,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        found: &'a mut Statistics,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a>;
}

/// How far a run is, in multiply-adds or whatever is proportional to the time that is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// What there is to do.
    pub total: u64,
}

/// The future of an observer's answer. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(not(target_arch = "wasm32"))]
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = ControlFlow<()>> + Send + 'a>>;
/// The future of an observer's answer. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(target_arch = "wasm32")]
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = ControlFlow<()>> + 'a>>;

/// Watches a run, and may end it.
///
/// Its answer is awaited, so that in a browser the event loop can turn between two steps and a wish to cancel be heard.
pub trait Observer: MaybeSend {
    /// Told before each step; [`ControlFlow::Break`] ends the run.
    fn step(&mut self, progress: Progress) -> StepFuture<'_>;

    /// Told once a run turned out to go in tiles, and again at its end if they were not normalised quite as one; see
    /// [`Tiling`](crate::Tiling).
    fn cut(&mut self, _: &Cut) {}
}

/// Lets everything run to its end.
impl Observer for () {
    fn step(&mut self, _: Progress) -> StepFuture<'_> {
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }
}

/// Asks the observer of a run that has only one step.
///
/// # Errors
/// [`Failure::Cancelled`] if it says so.
pub async fn ask(observer: &mut dyn Observer) -> Result<(), Failure> {
    match observer.step(Progress { done: 0, total: 1 }).await {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Failure::Cancelled),
    }
}

/// What a session runs on, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Engine {
    /// `ort`, `tract` ...
    pub name: &'static str,
    /// The runtime's own version.
    pub version: String,
    /// The execution provider or device: `cpu`, `cuda` ...
    pub provider: String,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} on {}", self.name, self.version, self.provider)
    }
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
#[error("{engine} could not run the graph on {input:?}: {failure}")]
pub struct RunError {
    /// The engine, as [`Engine`] prints.
    pub engine: String,
    /// Shape of the input.
    pub input: Vec<usize>,
    /// Why.
    pub failure: Failure,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// An [`Observer`] ended it.
    #[error("cancelled")]
    Cancelled,
    /// There is not enough memory; a smaller picture or tile may fit.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Other(reason)
    }
}

impl From<&str> for Failure {
    fn from(reason: &str) -> Self {
        Failure::Other(reason.to_owned())
    }
}

impl RunError {
    /// A failure of `engine` on an input of this shape.
    pub fn new(engine: &Engine, input: &[usize], failure: impl Into<Failure>) -> Self {
        RunError { engine: engine.to_string(), input: input.to_vec(), failure: failure.into() }
    }
}
