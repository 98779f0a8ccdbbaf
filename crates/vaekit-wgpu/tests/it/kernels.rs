//! Every kernel against its twin.

use std::collections::BTreeSet;

use vaekit::block_on;
use vaekit_onnx::ops::Function;
use vaekit_wgpu::Gpu;
use vaekit_wgpu::kernels::{Case, Conv, Inputs, Kernel, Map, Moments, Outputs, Prologue, Tile, Weights};
use vaekit_wgpu::layout::{Shape, Storage};
use vaekit_wgpu::probe::compare;

use crate::expectations::expected;
use crate::gpu;

const TILES: [Tile; 5] = [Tile::Wide, Tile::Medium, Tile::Slim, Tile::Narrow, Tile::Plain];

fn conv() -> Conv {
    Conv {
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
    }
}

#[track_caller]
fn check(gpu: &Gpu, what: &str, case: &Case) {
    let found = block_on(gpu.run_case(case)).unwrap_or_else(|error| panic!("{what}: {error}\n{}", case.kernel.wgsl()));
    compare(case, &found).unwrap_or_else(|wrong| panic!("{what}: {:?}: {wrong}", case.kernel));
}

#[test]
fn the_probe_s_cases() {
    let Some(gpu) = gpu() else { return };
    let findings = block_on(gpu.probe()).unwrap();
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.is_wrong()).collect();
    let names: BTreeSet<&str> = wrong.iter().map(|finding| finding.name).collect();
    assert_eq!(names, expected(&gpu).into_iter().collect(), "{wrong:?}");
}

#[test]
fn winograd_of_any_size() {
    let Some(gpu) = gpu() else { return };
    check(&gpu, "filters", &Case::filters(36, 33));
    for side in (1..20).step_by(3) {
        let shape = Shape::new(3 + side % 4, side, 20 - side);
        let inputs = Inputs { prologue: Prologue::AffineSilu, input: Storage::F32 };
        let outputs = Outputs { residual: true, relu: false, output: Storage::F32 };
        for row in 0..side.div_ceil(4).min(2) {
            check(&gpu, "inputs", &Case::inputs(inputs, shape, row));
            check(&gpu, "outputs", &Case::outputs(outputs, shape, row));
        }
    }
}

#[test]
fn prologues_and_epilogues() {
    let Some(gpu) = gpu() else { return };
    for prologue in [Prologue::Plain, Prologue::Affine, Prologue::AffineSilu] {
        for (residual, relu) in [(false, false), (true, false), (false, true), (true, true)] {
            let conv = Conv { prologue, residual, relu, ..conv() };
            check(&gpu, "conv", &Case::conv(conv, Shape::new(5, 9, 7), 6, 1, 1, 0));
            for function in [Function::Identity, Function::Relu, Function::Tanh] {
                let map = Map { function, prologue, residual, storage: Storage::F32 };
                check(&gpu, "map", &Case::small(Kernel::Map(map)));
            }
        }
    }
}

#[test]
fn packed_f16() {
    let Some(gpu) = gpu() else { return };
    let half = gpu.half_storage();
    for storage in [Storage::PackedF16, half] {
        let conv = Conv { input: storage, output: storage, residual: true, prologue: Prologue::AffineSilu, ..conv() };
        check(&gpu, "conv", &Case::small(Kernel::Conv(conv)));
        let map = Map { function: Function::Tanh, prologue: Prologue::Affine, residual: true, storage };
        check(&gpu, "map", &Case::small(Kernel::Map(map)));
        check(&gpu, "moments", &Case::small(Kernel::Moments(Moments { input: storage })));
        let product = Conv { size: 1, weights: Weights::Keys(storage), input: storage, ..self::conv() };
        check(&gpu, "keys", &Case::small(Kernel::Conv(product)));
        let product = Conv { size: 1, weights: Weights::Values(storage), output: storage, ..self::conv() };
        check(&gpu, "values", &Case::small(Kernel::Conv(product)));
    }
}

#[test]
fn odd_sizes_and_channels() {
    let Some(gpu) = gpu() else { return };
    for side in (1..20).step_by(2) {
        let shape = Shape::new(3 + side % 4, side, 20 - side);
        for (tile, outputs) in TILES.into_iter().zip([64, 36, 32, 4, 3]) {
            check(&gpu, "3x3", &Case::conv(Conv { tile, ..conv() }, shape, outputs, 1, 1, 0));
            check(
                &gpu,
                "upsample",
                &Case::conv(Conv { tile, size: 2, upsample: true, ..conv() }, shape, outputs, 0, 0, 0),
            );
        }
        let row = Shape::new(36, 1, side * side);
        check(&gpu, "1x1", &Case::conv(Conv { size: 1, ..conv() }, row, 32, 0, 0, 0));
        if (2..19).contains(&side) {
            let halve = Conv { stride: 2, ..conv() };
            check(&gpu, "halve down", &Case::conv(halve, shape, 4, 0, 1, 0));
            check(&gpu, "halve up", &Case::conv(halve, shape, 4, 1, 1, 0));
        }
        check(&gpu, "moments", &Case::moments(Moments { input: Storage::F32 }, shape));
        let (bottom, right) = (shape.height / 2..shape.height, shape.width / 3..shape.width);
        check(&gpu, "moments of a region", &Case::region(Moments { input: Storage::F32 }, shape, &[bottom, right]));
        check(&gpu, "softmax", &Case::softmax(side, 20 - side));
    }
}

#[test]
fn channels_3_4_32_36_64() {
    let Some(gpu) = gpu() else { return };
    for inputs in [3, 4, 32, 36, 64] {
        for outputs in [3, 4, 32, 36, 64] {
            check(&gpu, "3x3", &Case::conv(conv(), Shape::new(inputs, 5, 6), outputs, 1, 1, 0));
        }
    }
}

#[test]
fn a_band_writes_its_rows_and_no_others() {
    let Some(gpu) = gpu() else { return };
    let shape = Shape::new(6, 23, 17);
    for tile in TILES {
        // Rows before the band are compared too, as unwritten.
        check(&gpu, "band", &Case::conv(Conv { tile, residual: true, ..conv() }, shape, 5, 1, 1, 8));
        let upsample = Conv { tile, size: 2, upsample: true, ..conv() };
        check(&gpu, "band", &Case::conv(upsample, shape, 5, 0, 0, 8));
    }
    for tile in TILES {
        let product = Conv { tile, size: 1, weights: Weights::Values(Storage::F32), ..conv() };
        check(&gpu, "chunk", &Case::sums(product, 7, [19, 5], 13));
        let product = Conv { tile, size: 1, weights: Weights::Keys(Storage::F32), ..conv() };
        check(&gpu, "chunk", &Case::scores(product, 7, [19, 5], 13));
    }
}

#[test]
fn a_grid_is_folded_where_an_axis_ends() {
    let Some(gpu) = gpu() else { return };
    let map = Map { function: Function::Relu, prologue: Prologue::Plain, residual: false, storage: Storage::F32 };
    check(&gpu, "folded", &Case::map(map, Shape::new(5, 20, 50), 3));
}

#[test]
fn groups_of_any_size() {
    let Some(gpu) = gpu() else { return };
    for (channels, group) in [(3, 1), (6, 3), (8, 2), (12, 12), (36, 9), (64, 2), (256, 256)] {
        check(&gpu, "merge", &Case::merge(Shape::new(channels, 40, 70), group));
    }
    check(&gpu, "moments", &Case::moments(Moments { input: Storage::F32 }, Shape::new(5, 70, 90)));
}
