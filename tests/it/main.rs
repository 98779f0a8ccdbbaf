//! Cross-crate tests: from checkpoints to pictures.

mod bad;
mod numbers;
mod taef2;
