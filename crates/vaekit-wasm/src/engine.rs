//! From a model to a session on the engine that this module was built with.

use std::path::Path;

use vaekit::Session;
use vaekit_onnx::{Files, ModelFile, ReadSeek};

use crate::blob::Watched;
use crate::error::{Error, Kind};
use crate::files::Given;
use crate::observer::Telling;

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
pub(crate) fn open(files: &Given, model: &ModelFile, report: &Telling) -> Result<Box<dyn Session>, Error> {
    let weights = weights_bytes(model);
    if memory_bytes().saturating_add(weights) > MAX_MEMORY {
        let message = format!(
            "{}: the {}'s weights take {} MB, which does not fit into the 4 GiB that WebAssembly can address",
            model.path.display(),
            model.half,
            weights / 1_000_000
        );
        return Err(Error::new(Kind::OutOfMemory, message));
    }
    let file = files.open(&model.path).map_err(|error| failed(Kind::BadInput, &model.path, error))?;
    let (half, size, report) = (model.half, model.size, report.clone());
    let mut told = 0;
    let tell = move |position: u64| {
        if position.abs_diff(told) >= 1 << 22 || position == size {
            told = position;
            report.tell(&format!("loading the {half}"), position, size);
        }
    };
    session(Watched { inner: file, tell: Box::new(tell) }, model)
}

fn failed(kind: Kind, path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::new(kind, format!("{}: {reason}", path.display()))
}

#[cfg(feature = "cpu")]
fn session(file: Watched<Box<dyn ReadSeek + '_>>, model: &ModelFile) -> Result<Box<dyn Session>, Error> {
    let opened = vaekit_cpu::CpuSession::open(file, &vaekit_cpu::Options::default());
    match opened {
        Ok(session) => Ok(Box::new(crate::bounded::Bounded { session, half: model.half })),
        Err(error) if error.is_unsupported() => Err(failed(Kind::Unsupported, &model.path, error)),
        Err(error) => Err(failed(Kind::BadInput, &model.path, error)),
    }
}

#[cfg(all(feature = "tract", not(feature = "cpu")))]
fn session(mut file: Watched<Box<dyn ReadSeek + '_>>, model: &ModelFile) -> Result<Box<dyn Session>, Error> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| failed(Kind::BadInput, &model.path, error))?;
    match vaekit_tract::TractSession::open(&bytes, &vaekit_tract::Options::default()) {
        Ok(session) => Ok(Box::new(session)),
        Err(error @ vaekit_tract::OpenError::Unsupported { .. }) => Err(failed(Kind::Engine, &model.path, error)),
        Err(error) => Err(failed(Kind::BadInput, &model.path, error)),
    }
}
