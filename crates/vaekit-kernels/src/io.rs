//! What a convolution reads besides its weights, and what it does on the way in and out.

use crate::finish::Epilogue;
use crate::layout::{Block, Shape, View};
use crate::norm::Prologue;

/// The operands of one run of a convolution.
#[derive(Clone, Copy)]
pub struct Io<'a> {
    /// The input.
    pub input: View<'a>,
    /// What is done to the input as it is read; padding comes after it.
    pub prologue: Prologue<'a>,
    /// What is done to the output as it is written.
    pub epilogue: Epilogue<'a>,
}

impl<'a> Io<'a> {
    /// Reads `input` as it is and writes the output as it comes.
    pub fn new(input: View<'a>) -> Self {
        Self { input, prologue: Prologue::Identity, epilogue: Epilogue::default() }
    }

    /// Whether the input is read as it is.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.prologue, Prologue::Identity)
    }

    /// Panics unless `out` and the residual fit `output`, and the prologue the input.
    pub(crate) fn check(&self, output: Shape, out: &[Block]) {
        assert_eq!(out.len(), output.blocks(), "blocks of a convolution's output of {output:?}");
        if let Some(residual) = self.epilogue.residual {
            assert_eq!(residual.shape(), output, "shape of a residual");
        }
        self.prologue.check(self.input.shape());
    }
}
