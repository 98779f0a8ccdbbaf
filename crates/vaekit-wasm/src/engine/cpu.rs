//! vaekit's own engine. Runs that cannot fit are refused before they begin.

use std::sync::Arc;

use vaekit::Session;
use vaekit_cpu::{CpuSession, Options, held_bytes};
use vaekit_onnx::{ModelFile, ReadSeek};

use super::{Host, MAX_MEMORY, check_weights, failed};
use crate::blob::Watched;
use crate::error::{Error, Kind};

/// For the module and its threads' stacks, pictures on their way in and out, and gaps between what is held.
const RESERVE: u64 = 256 << 20;

/// What of the module's memory no session holds. What the memory has grown to says nothing: it never shrinks.
fn free_memory() -> u64 {
    MAX_MEMORY.saturating_sub(RESERVE).saturating_sub(held_bytes())
}

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
        check_weights(model, 0)?;
        let options = Options { memory: Some(Arc::new(|| Some(free_memory()))), ..Options::default() };
        match CpuSession::open(file, &options) {
            Ok(session) => Ok(Box::new(session)),
            Err(error) if error.is_unsupported() => Err(failed(Kind::Unsupported, model, error)),
            Err(error) => Err(failed(Kind::BadInput, model, error)),
        }
    }
}
