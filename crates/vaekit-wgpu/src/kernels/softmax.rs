//! An attention's scores to weights, a chunk of queries at a time.

use super::text::{self, Elements};
use crate::layout::{LANES, Storage};

/// Queries of a workgroup, which lie side by side.
const QUERIES: u32 = 8;
/// Threads that share a query's keys.
const SLICES: u32 = 8;

/// In place: scores `[keys / 4][queries]` of four keys become `exp(scale * score)` over their sum; lanes past the last key
/// become 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax;

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct SoftmaxParams {
    /// Keys.
    pub keys: u32,
    /// Queries.
    pub queries: u32,
    /// Factor of the scores.
    pub scale: f32,
}

impl Softmax {
    /// Workgroups of a dispatch.
    pub fn grid(params: &SoftmaxParams) -> [u32; 3] {
        [params.queries.div_ceil(QUERIES), 1, 1]
    }

    pub(super) fn bindings(self) -> Vec<Storage> {
        vec![Storage::F32]
    }

    pub(super) fn wgsl(self) -> String {
        let threads = QUERIES * SLICES;
        text::head(&["keys", "queries", "scale_bits"], &[("scores", Elements::Vectors(Storage::F32))])
            + &format!(
                "const LOW = -3.4e38;\n\
                 var<workgroup> shared_lanes: array<f32, {threads}>;\n\
                 fn scores_of(vector: u32, query: u32) -> vec4<f32> {{\n\
                 \x20 return load_scores(vector * p.queries + query) * bitcast<f32>(p.scale_bits);\n}}\n\
                 @compute @workgroup_size({threads})\n\
                 fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
                 \x20 let column = local % {QUERIES}u;\n  let slice = local / {QUERIES}u;\n\
                 \x20 let query = group.x * {QUERIES}u + column;\n  let inside = query < p.queries;\n\
                 \x20 let vectors = (p.keys + 3u) / 4u;\n\
                 \x20 var most = LOW;\n\
                 \x20 if (inside) {{ for (var i = slice; i < vectors; i += {SLICES}u) {{\n\
                 \x20   let x = select(vec4<f32>(LOW), scores_of(i, query), i * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.keys));\n\
                 \x20   most = max(most, max(max(x.x, x.y), max(x.z, x.w)));\n  }} }}\n\
                 \x20 shared_lanes[local] = most;\n  workgroupBarrier();\n\
                 \x20 for (var i = 0u; i < {SLICES}u; i++) {{ most = max(most, shared_lanes[i * {QUERIES}u + column]); }}\n\
                 \x20 workgroupBarrier();\n\
                 \x20 var sum = 0.0;\n\
                 \x20 if (inside) {{ for (var i = slice; i < vectors; i += {SLICES}u) {{\n\
                 \x20   let x = exp(scores_of(i, query) - most);\n\
                 \x20   let y = select(vec4<f32>(), x, i * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.keys));\n\
                 \x20   sum += y.x + y.y + y.z + y.w;\n  }} }}\n\
                 \x20 shared_lanes[local] = sum;\n  workgroupBarrier();\n\
                 \x20 var all = 0.0;\n\
                 \x20 for (var i = 0u; i < {SLICES}u; i++) {{ all += shared_lanes[i * {QUERIES}u + column]; }}\n\
                 \x20 if (inside) {{ for (var i = slice; i < vectors; i += {SLICES}u) {{\n\
                 \x20   let x = exp(scores_of(i, query) - most) / all;\n\
                 \x20   let y = select(vec4<f32>(), x, i * 4u + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.keys));\n\
                 \x20   store_scores(i * p.queries + query, y);\n  }} }}\n}}\n"
            )
    }

    pub(super) fn twin(self, p: &SoftmaxParams, scores: &mut [f32]) {
        let at = |key: u32, query: u32| (key / 4 * p.queries + query) as usize * LANES + key as usize % LANES;
        for query in 0..p.queries {
            let most = (0..p.keys).map(|key| scores[at(key, query)] * p.scale).fold(f32::MIN, f32::max);
            let weight = |score: f32| f64::from(score * p.scale - most).exp();
            let sum: f64 = (0..p.keys).map(|key| weight(scores[at(key, query)])).sum();
            for key in 0..p.keys.next_multiple_of(LANES as u32) {
                let score = &mut scores[at(key, query)];
                *score = if key < p.keys { (weight(*score) / sum) as f32 } else { 0.0 };
            }
        }
    }
}
