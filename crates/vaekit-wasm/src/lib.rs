//! vaekit for a browser's worker.
//!
//! A thin face: types in, a call of the core crates, errors out. The npm package in `web/vaekit` starts the worker that
//! loads this, and says in TypeScript what each function takes and gives. Objects with nothing but text and numbers cross as
//! JSON, arrays of numbers as typed arrays, files as `Blob`s that are read in slices.
//!
//! The crate is empty but on `wasm32-unknown-unknown`. `cargo xtask web build` builds it once for each set of
//! instructions; with the feature `tract` or `webgpu` instead of `cpu` it runs models on that, with `compare` alone none.

#![cfg(all(target_arch = "wasm32", target_os = "unknown"))]
#![cfg_attr(not(feature = "vae"), expect(dead_code, reason = "comparing needs but a few of the errors and values"))]

#[cfg(feature = "vae")]
mod blob;
#[cfg(feature = "compare")]
pub mod compare;
#[cfg(feature = "vae")]
pub mod convert;
#[cfg(feature = "vae")]
pub mod devices;
#[cfg(feature = "vae")]
mod engine;
mod error;
#[cfg(feature = "vae")]
mod files;
mod js;
#[cfg(feature = "webgpu")]
pub mod kernels;
#[cfg(feature = "vae")]
pub mod latents;
#[cfg(feature = "vae")]
mod observer;
#[cfg(target_feature = "atomics")]
pub mod threads;
#[cfg(feature = "vae")]
pub mod vae;

use wasm_bindgen::prelude::*;

/// Makes a panic an exception with its words: the worker tells them and starts anew.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| wasm_bindgen::throw_str(&panic.to_string())));
}

/// Bytes that the module's memory has; it never shrinks, so that this is also the most it had.
#[cfg(feature = "vae")]
#[wasm_bindgen(js_name = memoryBytes)]
pub fn memory_bytes() -> f64 {
    engine::memory_bytes() as f64
}
