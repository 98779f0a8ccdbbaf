//! Which VAE is best for these pictures: measures, a verdict in plain words, and a report to look at.
//!
//! ```
//! use vaekit::Images;
//! use vaekit_compare::Original;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let picture = Images::from_rgb(16, 16, &[90u8; 3 * 16 * 16])?;
//! let decoded = Images::from_rgb(16, 16, &[92u8; 3 * 16 * 16])?;
//! let score = Original::new(picture)?.compare(&decoded)?.score;
//! assert!(score.colour.delta_e_mean < 1.0);
//! # Ok(())
//! # }
//! ```
//!
//! Values in, values out: who calls reads the pictures, runs the VAEs and encodes what the report shows. Pictures are taken for
//! sRGB and alpha is left out.

#![deny(unsafe_code)] // not forbid: ndarray's s! macro allows it in its expansion

mod character;
mod colour;
mod comparison;
mod detail;
pub mod heat;
pub mod html;
mod latents;
mod measure;
mod ranking;
mod regions;
mod score;
mod statistics;
mod summary;
mod table;
mod verdict;
mod views;
mod warnings;
mod words;

pub use character::Remark;
pub use colour::Colour;
pub use comparison::{Agreement, CLOSE, Comparison, Passage, Picture, Trip, Variant, label, pairs};
pub use detail::Detail;
pub use latents::{Fit, LatentStatistics, Moments, Suspicion, suspicion};
pub use measure::{Better, MEASURES, Measure, PRIMARY};
pub use ranking::{ALPHA, Lead, Ranking};
pub use regions::{Reason, Region, regions};
pub use score::{Decoded, Original, Score, ScoreError};
pub use statistics::{Paired, holm};
pub use summary::{Cell, Column, Summary, summary};
pub use table::csv;
pub use verdict::{Verdict, verdict};
pub use views::{Colours, Shown, views};
pub use warnings::{Warning, WarningKind};
