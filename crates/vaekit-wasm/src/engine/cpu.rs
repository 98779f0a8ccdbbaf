//! vaekit's own engine. Runs that cannot fit are refused before they begin.

use ndarray::{ArrayView4, ArrayViewMut4};
use vaekit::{Engine, Failure, Half, Observer, RunError, RunFuture, Session};
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
        match CpuSession::open(file, &Options::default()) {
            Ok(session) => Ok(Box::new(Bounded { session, half: model.half })),
            Err(error) if error.is_unsupported() => Err(failed(Kind::Unsupported, model, error)),
            Err(error) => Err(failed(Kind::BadInput, model, error)),
        }
    }
}

/// A session that knows before a run whether its memory can be had.
struct Bounded {
    session: CpuSession,
    half: Half,
}

impl Session for Bounded {
    fn engine(&self) -> &Engine {
        self.session.engine()
    }

    fn run<'a>(
        &'a mut self,
        input: ArrayView4<'a, f32>,
        output: ArrayViewMut4<'a, f32>,
        observer: &'a mut dyn Observer,
    ) -> RunFuture<'a> {
        let (_, c, h, w) = input.dim();
        let needed = self.session.run_bytes([c, h, w]) as u64;
        if needed > MAX_MEMORY {
            let failure = Failure::OutOfMemory(format!(
                "the {} would need {} MB, and WebAssembly can address 4 GiB; use a smaller picture",
                self.half,
                needed / 1_000_000
            ));
            let error = RunError::new(self.engine(), input.shape(), failure);
            return Box::pin(std::future::ready(Err(error)));
        }
        self.session.run(input, output, observer)
    }
}
