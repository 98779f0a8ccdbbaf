//! The vocabulary and the pipeline of vaekit.

#![deny(unsafe_code)] // not forbid: ndarray's s! macro allows it in its expansion

pub mod arch;
mod config;
pub mod cost;
mod cut;
mod diffusers;
mod images;
mod latent_space;
pub mod metrics;
mod posterior;
mod session;
mod statistics;
mod tiles;
mod vae;
mod weights;

pub use config::{Half, Kl, KlClass, KlHalf, Network, Tiny, TinyDecoder, TinyEncoder, VaeConfig};
pub use cut::{Cut, Pieces, TileSize, TileSizeError};
pub use diffusers::{ConfigJsonError, DEFAULT_SCALING_FACTOR, from_config_json, to_config_json};
pub use images::{ImageError, Images, Sample};
pub use latent_space::{Domain, KnownScaling, LatentError, LatentSpace, Latents, Scaling, pack, unpack};
pub use pollster::block_on;
pub use posterior::{LOGVAR_RANGE, Posterior};
pub use session::{
    Engine, Failure, MaybeSend, Observer, Piecewise, Progress, RunError, RunFuture, Session, StepFuture, ask,
};
pub use statistics::{Piece, Statistics, Sums};
pub use tiles::Tiling;
pub use vae::{Vae, VaeError};
pub use weights::{Weights, WeightsError};
