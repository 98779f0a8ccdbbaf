//! What the sessions of this process hold, for a system that does not tell how much memory is free.

use std::sync::atomic::{AtomicUsize, Ordering};

static HELD: AtomicUsize = AtomicUsize::new(0);

/// Bytes that all open sessions hold: weights, and what is kept from run to run.
pub fn held_bytes() -> u64 {
    HELD.load(Ordering::Relaxed) as u64
}

/// Some of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(usize);

impl Held {
    pub(crate) fn new(bytes: usize) -> Self {
        HELD.fetch_add(bytes, Ordering::Relaxed);
        Held(bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}
