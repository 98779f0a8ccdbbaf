//! Evaluates a VAE directly from its config and tensors, to check everything else against.
//!
//! The networks are written here a second time, as straight code after diffusers' `autoencoder_kl.py`, `vae.py`,
//! `attention_processor.py` and `autoencoder_tiny.py` and madebyollin/taesd's `taesd.py`. They share neither
//! [`vaekit::arch::layers`] nor any kernel with the ONNX graphs and the engines, because a graph compared with itself proves
//! nothing. Activations lie channels last, which no other part of vaekit does.
//!
//! - [`Reference`] runs a half in f32 or f64 and can tell how large each activation got,
//! - [`probe_ranges`] collects that over probing inputs, for the fp16 plan,
//! - [`compare`] and [`verification_input`] are what a conversion is verified with.
//!
//! A result has the same bits whatever the number of threads; it may differ in the last bits between CPUs.

#![deny(unsafe_code)] // not forbid: matmul.rs calls gemm

mod compare;
mod inputs;
mod kernels;
mod map;
mod matmul;
mod network;
mod ranges;
mod real;

use std::marker::PhantomData;

use ndarray::{Array4, ArrayView4};
use rayon::{ThreadPool, ThreadPoolBuilder};
use vaekit::{Half, VaeConfig, Weights};

use map::Map;
use network::Pass;

pub use compare::{Comparison, ShapeMismatch, compare};
pub use inputs::{Noise, verification_input};
pub use network::ReferenceError;
pub use ranges::probe_ranges;
pub use real::Real;

/// Told the name of each activation and its largest magnitude, in the order of the run; NaN if it holds a NaN.
///
/// | name | activation |
/// | --- | --- |
/// | `sample`, `latent_sample` | the encoder's or the decoder's input |
/// | a convolution's or normalisation's own name | its output |
/// | the name of a resnet or an attention | the sum with the residual |
/// | the name of a tiny block, and `NAME.pool` | the sum with the residual, before the ReLU |
/// | `NAME.to_q`, `.to_k`, `.to_v`, `.scores`, `.attended`, `.to_out.0` | inside attention `NAME`; scores are scaled by `C^-0.5` |
/// | `decoder.up_blocks.N.upsamplers.0.nearest`, `decoder.layers.N` | an upsampling |
/// | `encoder.to_unit_range`, `decoder.soft_clamp`, `decoder.to_signed_range` | the ends of a tiny network |
pub type Observer<'a> = dyn FnMut(&str, f32) + Send + 'a;

/// A VAE, evaluated in `T` (f32 or f64).
///
/// Each tensor is read when its layer runs and dropped after it, so that memory holds one layer's weights at a time; a half
/// that is not run is not read.
pub struct Reference<'a, T> {
    config: &'a VaeConfig,
    weights: &'a dyn Weights,
    pool: Option<ThreadPool>,
    real: PhantomData<T>,
}

impl<'a, T: Real> Reference<'a, T> {
    /// The VAE of this config and these tensors, on rayon's current threads.
    pub fn new(config: &'a VaeConfig, weights: &'a dyn Weights) -> Self {
        Reference { config, weights, pool: None, real: PhantomData }
    }

    /// The same on so many threads of its own; 0 is one for each CPU.
    ///
    /// # Errors
    /// [`ReferenceError::Threads`] if they cannot be started.
    pub fn with_threads(self, threads: usize) -> Result<Self, ReferenceError> {
        Ok(Reference { pool: Some(ThreadPoolBuilder::new().num_threads(threads).build()?), ..self })
    }

    /// Encodes images `[N, 3, H, W]` in [-1, 1] to moments `[N, 2C, h, w]` (mean, then log variance, not clamped), or to
    /// native latents `[N, C, h, w]` where the VAE has no posterior.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn encode(&self, images: ArrayView4<'_, f32>) -> Result<Array4<T>, ReferenceError> {
        self.run(Half::Encoder, images)
    }

    /// Decodes native latents `[N, C, h, w]` (raw for AutoencoderKL, scaled for the tiny ones) to images `[N, 3, H, W]`,
    /// nominally in [-1, 1], not clamped.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn decode(&self, latents: ArrayView4<'_, f32>) -> Result<Array4<T>, ReferenceError> {
        self.run(Half::Decoder, latents)
    }

    /// Runs one half: [`encode`](Self::encode) or [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn run(&self, half: Half, input: ArrayView4<'_, f32>) -> Result<Array4<T>, ReferenceError> {
        self.pass(half, input, None)
    }

    /// Runs one half and tells `observer` of every activation.
    ///
    /// # Errors
    /// [`ReferenceError`].
    pub fn observe(
        &self,
        half: Half,
        input: ArrayView4<'_, f32>,
        observer: &mut Observer<'_>,
    ) -> Result<Array4<T>, ReferenceError> {
        self.pass(half, input, Some(observer))
    }

    fn pass(
        &self,
        half: Half,
        input: ArrayView4<'_, f32>,
        observer: Option<&mut Observer<'_>>,
    ) -> Result<Array4<T>, ReferenceError> {
        let (channels, found) = (inputs::channels(self.config, half), input.shape());
        if found[1] != channels || found.contains(&0) {
            return Err(ReferenceError::Input { half, found: found.to_vec(), channels });
        }
        let mut pass = Pass { weights: self.weights, observer };
        let mut work = || Ok(pass.run(self.config, half, Map::from_nchw(input))?.to_nchw());
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
