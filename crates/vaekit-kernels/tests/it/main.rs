//! Every kernel against its scalar twin, at every instruction set of the processor.

mod attention;
mod convolution;
mod norm;
mod support;
