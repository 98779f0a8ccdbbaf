//! Lists of [`Case`]s: what a device is tried with.

use std::collections::HashSet;

use vaekit_onnx::ops::Function;

use super::{Case, Conv, Filters, Inputs, Kernel, Map, Merge, Moments, Outputs, Prologue, Softmax, Tile, Weights};
use crate::layout::{Shape, Storage};

const TILES: [Tile; 5] = [Tile::Wide, Tile::Medium, Tile::Slim, Tile::Narrow, Tile::Plain];
const PROLOGUES: [Prologue; 3] = [Prologue::Plain, Prologue::Affine, Prologue::AffineSilu];
const FUNCTIONS: [Function; 3] = [Function::Identity, Function::Relu, Function::Tanh];

/// A plain 3x3 convolution.
const CONV: Conv = Conv {
    size: 3,
    stride: 1,
    upsample: false,
    tile: Tile::Slim,
    weights: Weights::Packed,
    prologue: Prologue::Plain,
    residual: false,
    relu: false,
    input: Storage::F32,
    output: Storage::F32,
};

/// One with all there is before and after it. Lists take those kernels that others take too, since compiling takes longest.
const FULL: Conv = Conv { prologue: Prologue::AffineSilu, residual: true, relu: true, ..CONV };

impl Case {
    /// Small cases of all kernels in all of their variants, images stored in f32 or as `half` says: what a device is tried
    /// with where it shall be known before a model is there.
    pub fn probes(half: Storage) -> Vec<Self> {
        let mut kernels = vec![Kernel::Merge(Merge), Kernel::Softmax(Softmax), Kernel::Filters(Filters)];
        for storage in [Storage::F32, half] {
            // What is stored changes two functions only.
            let tiles = if storage == Storage::F32 { &TILES[..] } else { &TILES[..1] };
            for &tile in tiles {
                let conv = Conv { tile, input: storage, output: storage, ..CONV };
                let product = Conv { size: 1, ..conv };
                let (keys, values) = (Weights::Keys(storage), Weights::Values(storage));
                let convs = [
                    Conv { input: storage, output: storage, tile, ..FULL },
                    Conv { stride: 2, ..conv },
                    Conv { size: 2, upsample: true, ..conv },
                    product,
                    Conv { weights: keys, output: Storage::F32, ..product },
                    Conv { weights: values, input: Storage::F32, ..product },
                    Conv { weights: Weights::Points, input: Storage::F32, output: Storage::F32, ..product },
                ];
                kernels.extend(convs.map(Kernel::Conv));
            }
            for function in FUNCTIONS {
                let map = Map { function, prologue: Prologue::Affine, residual: true, storage };
                kernels.push(Kernel::Map(map));
            }
            kernels.push(Kernel::Moments(Moments { input: storage }));
            kernels.extend(PROLOGUES.map(|prologue| Kernel::Inputs(Inputs { prologue, input: storage })));
            kernels.push(Kernel::Outputs(Outputs { residual: true, relu: true, output: storage }));
        }
        let mut known = HashSet::new();
        kernels.retain(|kernel| known.insert(*kernel));
        kernels.into_iter().map(Case::small).collect()
    }

    /// A few hundred cases: odd sizes, channels that fill no vector, seams of bands, every prologue and epilogue, what f16
    /// cannot hold. For tests; under naga and in a browser, whose compilers differ.
    pub fn thorough(half: Storage) -> Vec<Self> {
        let mut cases = Vec::new();
        winograd(&mut cases);
        prologues_and_epilogues(&mut cases);
        sizes(&mut cases);
        channels(&mut cases);
        seams(&mut cases);
        groups(&mut cases);
        stored_in_half(&mut cases, Storage::PackedF16);
        if half != Storage::PackedF16 {
            stored_in_half(&mut cases, half);
        }
        [Storage::F32, Storage::PackedF16, half].into_iter().for_each(|storage| not_numbers(&mut cases, storage));
        cases
    }

    /// Both, the small ones first.
    pub fn all(half: Storage) -> Vec<Self> {
        let mut cases = Case::probes(half);
        cases.extend(Case::thorough(half));
        cases
    }
}

/// Winograd's transforms at any size.
fn winograd(cases: &mut Vec<Case>) {
    cases.push(Case::filters(36, 33));
    let inputs = Inputs { prologue: Prologue::AffineSilu, input: Storage::F32 };
    let outputs = Outputs { residual: true, relu: false, output: Storage::F32 };
    for side in (1..20).step_by(3) {
        let shape = Shape::new(3 + side % 4, side, 20 - side);
        for row in 0..side.div_ceil(4).min(2) {
            cases.extend([Case::inputs(inputs, shape, row), Case::outputs(outputs, shape, row)]);
        }
    }
}

fn prologues_and_epilogues(cases: &mut Vec<Case>) {
    for prologue in PROLOGUES {
        for (residual, relu) in [(false, false), (true, false), (false, true), (true, true)] {
            let conv = Conv { prologue, residual, relu, tile: Tile::Narrow, ..CONV };
            cases.push(Case::conv(conv, Shape::new(5, 9, 7), 6, 1, 1, 0));
            let maps = FUNCTIONS.map(|function| Map { function, prologue, residual, storage: Storage::F32 });
            cases.extend(maps.map(|map| Case::small(Kernel::Map(map))));
        }
    }
}

/// Odd ones, cut by tiles of every size.
fn sizes(cases: &mut Vec<Case>) {
    let moments = Moments { input: Storage::F32 };
    for side in (1..20).step_by(2) {
        let shape = Shape::new(3 + side % 4, side, 20 - side);
        for (tile, outputs) in TILES.into_iter().zip([64, 36, 32, 4, 3]) {
            cases.push(Case::conv(Conv { tile, ..FULL }, shape, outputs, 1, 1, 0));
            let upsample = Conv { tile, size: 2, upsample: true, ..CONV };
            cases.push(Case::conv(upsample, shape, outputs, 0, 0, 0));
        }
        cases.push(Case::conv(Conv { size: 1, ..CONV }, Shape::new(36, 1, side * side), 32, 0, 0, 0));
        if (2..19).contains(&side) {
            let halve = Conv { stride: 2, tile: Tile::Wide, ..CONV };
            // At the bottom and right only, as Stable Diffusion's encoder pads, and on all sides.
            cases.extend([0, 1].map(|before| Case::conv(halve, shape, 4, before, 1, 0)));
        }
        let (bottom, right) = (shape.height / 2..shape.height, shape.width / 3..shape.width);
        cases.extend([Case::moments(moments, shape), Case::region(moments, shape, &[bottom, right])]);
        cases.push(Case::softmax(side, 20 - side));
    }
    // A grid that is folded where an axis ends.
    let map = Map { function: Function::Relu, prologue: Prologue::Plain, residual: false, storage: Storage::F32 };
    cases.push(Case::map(map, Shape::new(5, 20, 50), 3));
    cases.push(Case::moments(moments, Shape::new(5, 70, 90)));
}

fn channels(cases: &mut Vec<Case>) {
    for inputs in [3, 4, 32, 36, 64] {
        for outputs in [3, 4, 32, 36, 64] {
            cases.push(Case::conv(FULL, Shape::new(inputs, 5, 6), outputs, 1, 1, 0));
        }
    }
}

/// Bands, which write their rows and no others, and chunks of queries.
fn seams(cases: &mut Vec<Case>) {
    let shape = Shape::new(6, 23, 17);
    for tile in TILES {
        // Rows before the band are compared too, as unwritten.
        cases.push(Case::conv(Conv { tile, ..FULL }, shape, 5, 1, 1, 8));
        cases.push(Case::conv(Conv { tile, size: 2, upsample: true, ..CONV }, shape, 5, 0, 0, 8));
        let product = |weights| Conv { tile, size: 1, weights, ..CONV };
        cases.push(Case::sums(product(Weights::Values(Storage::F32)), 7, [19, 5], 13));
        cases.push(Case::scores(product(Weights::Keys(Storage::F32)), 7, [19, 5], 13));
    }
}

/// Normalisations of groups of any size.
fn groups(cases: &mut Vec<Case>) {
    for (channels, group) in [(3, 1), (6, 3), (8, 2), (12, 12), (36, 9), (64, 2), (256, 256)] {
        cases.push(Case::merge(Shape::new(channels, 40, 70), group));
    }
}

fn stored_in_half(cases: &mut Vec<Case>, storage: Storage) {
    let conv = Conv { input: storage, output: storage, tile: Tile::Wide, ..FULL };
    let product = Conv { size: 1, tile: Tile::Wide, ..CONV };
    let keys = Conv { weights: Weights::Keys(storage), input: storage, ..product };
    let values = Conv { weights: Weights::Values(storage), output: storage, ..product };
    let map = Map { function: Function::Tanh, prologue: Prologue::AffineSilu, residual: false, storage };
    let kernels = [conv, keys, values].map(Kernel::Conv);
    let kernels = kernels.into_iter().chain([Kernel::Map(map), Kernel::Moments(Moments { input: storage })]);
    cases.extend(kernels.map(Case::small));
}

/// NaN stays one, and what is too large becomes the largest there is.
fn not_numbers(cases: &mut Vec<Case>, output: Storage) {
    let conv = Conv { size: 1, relu: true, output, tile: Tile::Narrow, ..CONV };
    cases.push(with_strangers(Case::conv(conv, Shape::new(4, 1, 20), 4, 0, 0, 0), 0));
    let outputs = Outputs { residual: true, relu: true, output };
    cases.push(with_strangers(Case::outputs(outputs, Shape::new(4, 4, 20), 0), 2));
    for function in FUNCTIONS {
        let map = Map { function, prologue: Prologue::Plain, residual: false, storage: output };
        cases.push(with_strangers(Case::map(map, Shape::new(4, 4, 5), 65535), 0));
    }
}

/// The case with NaN and two large values in one of its arrays, each in a vector of its own.
fn with_strangers(mut case: Case, array: usize) -> Case {
    let storage = case.kernel.bindings()[array];
    for (lane, value) in [(2, f32::NAN), (21, 1e30), (40, -1e30), (59, f32::NAN)] {
        case.arrays[array][lane] = storage.round(value);
    }
    case
}
