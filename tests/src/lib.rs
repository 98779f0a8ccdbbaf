//! The harness of the cross-crate tests: fixtures, PyTorch's answers, and what counts as equal to them.

pub mod engines;
pub mod fixtures;
pub mod tolerance;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
