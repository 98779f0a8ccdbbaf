//! vaekit for a browser's worker.
//!
//! A thin face: types in, a call of the core crates, errors out. The npm package in `web/vaekit` starts the worker that
//! loads this, and says in TypeScript what each function takes and gives. Objects with nothing but text and numbers cross as
//! JSON, arrays of numbers as typed arrays, files as `Blob`s that are read in slices.
//!
//! The crate is empty but on `wasm32-unknown-unknown`. `cargo xtask web build` builds it once for each set of
//! instructions; with the feature `tract` or `webgpu` instead of `cpu` it runs models on that.

#![cfg(all(target_arch = "wasm32", target_os = "unknown"))]

mod blob;
#[cfg(feature = "compare")]
pub mod compare;
pub mod convert;
pub mod devices;
mod engine;
mod error;
mod files;
mod js;
#[cfg(feature = "webgpu")]
pub mod kernels;
pub mod latents;
mod observer;
#[cfg(target_feature = "atomics")]
pub mod threads;
pub mod vae;

use wasm_bindgen::prelude::*;

/// Makes a panic an exception with its words: the worker tells them and starts anew.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| wasm_bindgen::throw_str(&panic.to_string())));
}

/// Bytes that the module's memory has; it never shrinks, so that this is also the most it had.
#[wasm_bindgen(js_name = memoryBytes)]
pub fn memory_bytes() -> f64 {
    engine::memory_bytes() as f64
}
