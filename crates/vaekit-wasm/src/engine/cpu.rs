//! vaekit's own engine. Runs that cannot fit are refused before they begin.

use vaekit::Session;
use vaekit_cpu::{CpuSession, Options};
use vaekit_onnx::{ModelFile, ReadSeek};

use super::{Host, MAX_MEMORY, check_weights, failed};
use crate::blob::Watched;
use crate::error::{Error, Kind};

/// Nothing is shared between sessions but rayon's threads.
pub(crate) struct Runtime;

impl Host for Runtime {
    async fn start(_: bool) -> Result<Self, Error> {
        Ok(Runtime)
    }

    async fn session(
        &self,
        file: Watched<Box<dyn ReadSeek + '_>>,
        model: &ModelFile,
    ) -> Result<Box<dyn Session>, Error> {
        check_weights(model)?;
        let options = Options { memory: Some(MAX_MEMORY), ..Options::default() };
        match CpuSession::open(file, &options) {
            Ok(session) => Ok(Box::new(session)),
            Err(error) if error.is_unsupported() => Err(failed(Kind::Unsupported, model, error)),
            Err(error) => Err(failed(Kind::BadInput, model, error)),
        }
    }
}
