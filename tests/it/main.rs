//! Cross-crate tests: from checkpoints to pictures.

mod bad;
mod folding;
mod fuzz;
mod numbers;
mod taef2;
mod tiles;
