//! From a model to a session on the engine that this module was built with.

use ndarray::ArrayView3;
use vaekit::{Observer, Session};
use vaekit_onnx::{Files, ModelFile, ReadSeek};
use web_sys::ImageBitmap;

use crate::blob::Watched;
use crate::error::{Error, Kind};
use crate::files::Given;
use crate::observer::Telling;

#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "tract")]
mod tract;
#[cfg(feature = "webgpu")]
mod webgpu;

#[cfg(feature = "cpu")]
pub(crate) use cpu::Runtime;
#[cfg(feature = "tract")]
pub(crate) use tract::Runtime;
#[cfg(feature = "webgpu")]
pub(crate) use webgpu::Runtime;

/// What the sessions of an engine share.
pub(crate) trait Host: Sized {
    /// Starts it, `by_name` where it was asked for so: then a GPU that is a program on the CPU will do.
    async fn start(by_name: bool) -> Result<Self, Error>;

    /// Opens a model.
    async fn session(
        &self,
        file: Watched<Box<dyn ReadSeek + '_>>,
        model: &ModelFile,
    ) -> Result<Box<dyn Session>, Error>;

    /// Runs each half once on a small input, where that may show that it does not work here.
    async fn try_out(&self, _: &mut vaekit::Vae) -> Result<(), Error> {
        Ok(())
    }

    /// The GPU, for people.
    fn adapter(&self) -> Option<String> {
        None
    }

    /// What did not work and was replaced, for people.
    fn notices(&self) -> Vec<String> {
        Vec::new()
    }

    /// Decodes native latents `[C, h, w]` to a picture of the first (height, width), and gives its upper left part of the second
    /// as a bitmap without reading it back, where that can be.
    async fn draw(
        &self,
        _: &mut dyn Session,
        _: ArrayView3<'_, f32>,
        _: (usize, usize),
        _: (usize, usize),
        _: &mut dyn Observer,
    ) -> Result<Option<ImageBitmap>, Error> {
        Ok(None)
    }

    /// Seconds of the stages of a half's last run, where the engine tells.
    fn stages(&self, _: &mut dyn Session) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Whether nothing can run any more.
    fn is_lost(&self) -> bool {
        false
    }
}

/// What a module of 32-bit WebAssembly can address.
pub(crate) const MAX_MEMORY: u64 = 1 << 32;

/// Bytes that the module's memory has.
pub(crate) fn memory_bytes() -> u64 {
    core::arch::wasm32::memory_size(0) as u64 * 65536
}

/// Bytes that a model's weights take as f32.
pub(crate) fn weights_bytes(model: &ModelFile) -> u64 {
    let halved = vaekit_onnx::ElementType::FLOAT16;
    let initializers = model.info.initializers.iter();
    initializers.map(|(&element, of_type)| if element == halved { 2 * of_type.bytes } else { of_type.bytes }).sum()
}

/// Opens one half.
///
/// # Errors
/// [`Kind::Unsupported`] if another engine may know the graph, [`Kind::OutOfMemory`] if the weights cannot fit.
pub(crate) async fn open(
    runtime: &Runtime,
    files: &Given,
    model: &ModelFile,
    report: &Telling,
) -> Result<Box<dyn Session>, Error> {
    let file = files.open(&model.path).map_err(|error| failed(Kind::BadInput, model, error))?;
    let (half, size, report) = (model.half, model.size, report.clone());
    let mut told = 0;
    let tell = move |position: u64| {
        if position.abs_diff(told) >= 1 << 22 || position == size {
            told = position;
            report.tell(&format!("loading the {half}"), position, size);
        }
    };
    runtime.session(Watched { inner: file, tell: Box::new(tell) }, model).await
}

/// Refuses weights that this module's memory cannot hold, with so many bytes of the file besides.
#[cfg(not(feature = "webgpu"))]
fn check_weights(model: &ModelFile, file_bytes: u64) -> Result<(), Error> {
    let needed = weights_bytes(model).saturating_add(file_bytes);
    if memory_bytes().saturating_add(needed) <= MAX_MEMORY {
        return Ok(());
    }
    let reason = format!(
        "loading the {} takes {} MB, which does not fit into the 4 GiB that WebAssembly can address",
        model.half,
        needed / 1_000_000
    );
    Err(failed(Kind::OutOfMemory, model, reason))
}

fn failed(kind: Kind, model: &ModelFile, reason: impl std::fmt::Display) -> Error {
    Error::new(kind, format!("{}: {reason}", model.path.display()))
}
