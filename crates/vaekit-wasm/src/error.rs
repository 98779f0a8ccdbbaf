//! Errors as JavaScript sees them: an `Error` with a `kind`, and a `code` where a program can mend it.

use std::fmt::Display;

use js_sys::Reflect;
use vaekit::{Failure, RunError, VaeError};
use vaekit_checkpoint::CheckpointError;
use wasm_bindgen::prelude::*;

/// What a program can do about an error; the package's `VaekitError.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was handed in cannot be used.
    BadInput,
    /// The engine cannot run it.
    Engine,
    /// The GPU was lost, and with it whatever was loaded.
    Lost,
    /// The module's engine does not know the model's graph, another may.
    #[cfg_attr(feature = "tract", expect(dead_code, reason = "tract is the last to be asked"))]
    Unsupported,
    OutOfMemory,
    Cancelled,
    Other,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::BadInput => "bad-input",
            Kind::Engine => "engine",
            Kind::Lost => "lost",
            Kind::Unsupported => "unsupported",
            Kind::OutOfMemory => "out-of-memory",
            Kind::Cancelled => "cancelled",
            Kind::Other => "other",
        }
    }
}

/// An error, in the words of the crate that found it.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    message: String,
    /// What exactly is wrong, the package's `VaekitError.code`.
    code: Option<&'static str>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Display) -> Self {
        Error { kind, message: message.to_string(), code: None }
    }
}

/// Says what an error's category is.
pub(crate) trait OfKind<T> {
    fn of_kind(self, kind: Kind) -> Result<T, Error>;
}

impl<T, E: Display> OfKind<T> for Result<T, E> {
    fn of_kind(self, kind: Kind) -> Result<T, Error> {
        self.map_err(|error| Error::new(kind, error))
    }
}

impl Error {
    /// Whether a smaller picture may do.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.kind == Kind::OutOfMemory
    }

    /// The same, if the GPU it happened on was lost.
    pub(crate) fn lost(self) -> Self {
        Error { kind: Kind::Lost, ..self }
    }
}

impl From<VaeError> for Error {
    fn from(error: VaeError) -> Self {
        let kind = match &error {
            VaeError::NoHalf { .. } | VaeError::NoPixels { .. } | VaeError::Latents(_) => Kind::BadInput,
            VaeError::NonFinite { input_is_finite: false, .. } => Kind::BadInput,
            VaeError::Run(RunError { failure, .. }) => match failure {
                Failure::Cancelled => Kind::Cancelled,
                Failure::OutOfMemory(_) => Kind::OutOfMemory,
                Failure::Other(_) => Kind::Engine,
            },
            VaeError::NonFinite { .. } => Kind::Engine,
        };
        Error::new(kind, error)
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        let code = matches!(error, CheckpointError::Scaling { .. }).then_some("unknown-scaling");
        Error { code, ..Error::new(Kind::BadInput, error) }
    }
}

impl From<Error> for JsValue {
    fn from(error: Error) -> JsValue {
        let value = js_sys::Error::new(&error.message);
        // An error takes every key.
        let _ = Reflect::set(&value, &"kind".into(), &error.kind.name().into());
        if let Some(code) = error.code {
            let _ = Reflect::set(&value, &"code".into(), &code.into());
        }
        value.into()
    }
}
