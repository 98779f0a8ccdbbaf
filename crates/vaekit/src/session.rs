//! What a runtime implements: one graph that turns an array into an array.

use std::pin::Pin;

use ndarray::{ArrayView4, ArrayViewMut4};

/// The future of a run. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(not(target_arch = "wasm32"))]
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<(), RunError>> + Send + 'a>>;
/// The future of a run. `Send` natively; in a browser it may hold JavaScript values.
#[cfg(target_arch = "wasm32")]
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<(), RunError>> + 'a>>;

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
pub trait Session: MaybeSend {
    /// What runs: runtime, its version, the execution provider.
    fn engine(&self) -> &Engine;

    /// Runs the graph on `input` `[N, C, H, W]` (f32) and fills `output` `[N, C', H', W']` (f32), which is in standard layout.
    ///
    /// # Errors
    /// [`RunError`] if the runtime fails, runs out of memory, or gives another shape than `output` has.
    fn run<'a>(&'a mut self, input: ArrayView4<'a, f32>, output: ArrayViewMut4<'a, f32>) -> RunFuture<'a>;
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
#[error("{engine} could not run the graph on {input:?}: {reason}")]
pub struct RunError {
    /// The engine, as [`Engine`] prints.
    pub engine: String,
    /// Shape of the input.
    pub input: Vec<usize>,
    /// What the runtime said.
    pub reason: String,
}

impl RunError {
    /// A failure of `engine` on an input of this shape.
    pub fn new(engine: &Engine, input: &[usize], reason: impl std::fmt::Display) -> Self {
        RunError { engine: engine.to_string(), input: input.to_vec(), reason: reason.to_string() }
    }
}
