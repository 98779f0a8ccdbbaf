//! Plans: the model for one size of image, optimised.

use tract_onnx::{prelude::*, tract_core::knobs::KnobScope};

use crate::model::Model;

/// A model ready to run on one size.
pub(crate) type Plan = Arc<TypedRunnableModel>;

/// tract's settings for our graphs.
///
/// Its direct convolution, which it takes for 3x3 kernels of up to 64 channels on rows of at least 128, ran 4 G
/// multiply-adds a second on one AVX-512 core where its product of matrices ran 16: TAESD took 3.0 s instead of 1.1 s for
/// 256 by 256. Not on wasm, which does not have that convolution.
const KNOBS: &[(&str, &str)] =
    if cfg!(target_family = "wasm") { &[] } else { &[("TRACT_DISABLE_DIRECT_SPATIAL", "true")] };

/// The plan for an input `[1, C, H, W]`.
pub(crate) fn plan(model: &Model, shape: [usize; 4], options: &RunOptions) -> TractResult<Plan> {
    KnobScope::new(KNOBS.iter().copied())?.enter(|| {
        let sized = model.graph.clone().with_input_fact(0, f32::fact(shape).into())?;
        // The output's size follows; what the file says of it is in symbols.
        let sized = sized.with_output_fact(0, InferenceFact::default())?;
        sized.into_typed()?.into_decluttered()?.into_optimized()?.into_runnable_with_options(options)
    })
}
