//! Weights as the convolutions read them.

use crate::layout::LANES;

/// Biases, then weights `[batches][outputs / 4][inputs / 4][taps][lane of the input]` of vectors of four outputs, from
/// batches of weights `[outputs, inputs, taps]` in row order.
///
/// # Panics
/// If a length does not fit.
pub fn pack_weights(batches: &[Vec<f32>], bias: &[f32], inputs: usize, taps: usize) -> Vec<f32> {
    let outputs = bias.len();
    let (out_planes, in_planes) = (outputs.div_ceil(LANES), inputs.div_ceil(LANES));
    let mut packed = crate::layout::pack_channels(bias);
    let first = packed.len();
    let batch = out_planes * in_planes * taps * LANES * LANES;
    packed.resize(first + batches.len() * batch, 0.0);
    for (weights, to) in batches.iter().zip(packed[first..].chunks_exact_mut(batch)) {
        assert_eq!(weights.len(), outputs * inputs * taps, "weights of a convolution");
        for (i, &weight) in weights.iter().enumerate() {
            let (output, input, tap) = (i / taps / inputs, i / taps % inputs, i % taps);
            let vector = ((output / LANES * in_planes + input / LANES) * taps + tap) * LANES + input % LANES;
            to[vector * LANES + output % LANES] = weight;
        }
    }
    packed
}

/// The weights `[outputs, inputs, 2, 2]` of the four parities of a 3x3 convolution of an image that was enlarged, to be
/// convolved with the image itself: output (2 y + p, 2 x + q) sees source rows y - 1 + p and y + p, columns alike, each tap
/// the sum of those of the nine that fall on it. Sums are made in f64. Batch 2 p + q.
pub fn fold_upsample(weight: &[f32]) -> [Vec<f32>; 4] {
    // Rows (or columns) of the 3x3 that fall on the first and on the second source row.
    const GROUPS: [[&[usize]; 2]; 2] = [[&[0], &[1, 2]], [&[0, 1], &[2]]];
    std::array::from_fn(|parity| {
        let (p, q) = (parity / 2, parity % 2);
        let filters = weight.as_chunks::<9>().0.iter();
        let fold = |filter: &[f32; 9], tap: usize| {
            let rows = GROUPS[p][tap / 2].iter();
            let taps =
                rows.flat_map(|row| GROUPS[q][tap % 2].iter().map(move |column| f64::from(filter[row * 3 + column])));
            taps.sum::<f64>() as f32
        };
        filters.flat_map(|filter| [0, 1, 2, 3].map(|tap| fold(filter, tap))).collect()
    })
}
