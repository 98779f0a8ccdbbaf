//! tract, for graphs that vaekit's own engine does not know.

use std::io::Read;

use vaekit::Session;
use vaekit_onnx::{ModelFile, ReadSeek};
use vaekit_tract::{OpenError, Options, TractSession};

use super::{Host, check_weights, failed};
use crate::blob::Watched;
use crate::error::{Error, Kind};

/// Nothing is shared between sessions.
pub(crate) struct Runtime;

impl Host for Runtime {
    async fn start(_: bool) -> Result<Self, Error> {
        Ok(Runtime)
    }

    async fn session(
        &self,
        mut file: Watched<Box<dyn ReadSeek + '_>>,
        model: &ModelFile,
    ) -> Result<Box<dyn Session>, Error> {
        check_weights(model, model.size)?;
        let mut bytes = Vec::with_capacity(model.size as usize);
        file.read_to_end(&mut bytes).map_err(|error| failed(Kind::BadInput, model, error))?;
        match TractSession::open(&bytes, &Options::default()) {
            Ok(session) => Ok(Box::new(session)),
            Err(error @ OpenError::Unsupported { .. }) => Err(failed(Kind::Engine, model, error)),
            Err(error) => Err(failed(Kind::BadInput, model, error)),
        }
    }
}
