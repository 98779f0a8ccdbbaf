//! The threads that a session's kernels share their work among.

use std::num::NonZero;

use crate::session::OpenError;

/// A pool of its own natively, so that sessions may differ in their number of threads.
pub(crate) struct Threads {
    #[cfg(not(target_arch = "wasm32"))]
    pool: rayon::ThreadPool,
}

impl Threads {
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn new(threads: Option<NonZero<usize>>) -> Result<Self, OpenError> {
        let n = threads.map_or_else(available, NonZero::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).thread_name(|i| format!("vaekit-cpu-{i}")).build();
        Ok(Threads { pool: pool.map_err(|error| OpenError::Threads { n, reason: error.to_string() })? })
    }

    /// On wasm32 threads are started by the page, into rayon's global pool.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn new(_: Option<NonZero<usize>>) -> Result<Self, OpenError> {
        Ok(Threads {})
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.run(rayon::current_num_threads)
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.pool.install(work)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn available() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
