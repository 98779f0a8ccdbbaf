//! Plans: the model for one size of image, optimised.

use tract_onnx::{
    prelude::*,
    tract_core::{floats::FloatPrecisionTranslator, knobs::KnobScope, transform::ModelTransform},
};

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
        let mut graph = model
            .graph
            .clone()
            .with_input_fact(0, InferenceFact::dt_shape(model.input_type, shape))?
            .with_output_fact(0, InferenceFact::default())?
            .into_typed()?;
        if has_f16(&graph) {
            FloatPrecisionTranslator::new(DatumType::F16, DatumType::F32).transform(&mut graph)?;
        }
        graph.into_decluttered()?.into_optimized()?.into_runnable_with_options(options)
    })
}

fn has_f16(graph: &TypedModel) -> bool {
    graph.nodes.iter().flat_map(|node| &node.outputs).any(|output| output.fact.datum_type == DatumType::F16)
}
