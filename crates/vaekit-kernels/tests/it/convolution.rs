//! Convolutions.

use proptest::prelude::*;
use vaekit_kernels::layout::{Block, Shape};
use vaekit_kernels::{
    Affine, Conv2d, Conv3x3, Epilogue, GroupNorm, Io, Level, Moments, Prologue, Upsample2xConv3x3, Window, Workspace,
    scalar,
};

use crate::support::{Picture, assert_close, noise, weight};

/// The largest errors allowed where inputs and outputs have a variance of 1.
const WINOGRAD: f64 = 2e-5;
const DIRECT: f64 = 5e-6;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Same,
    Upsampled,
    Window(Window),
}

/// A convolution of one kind, in every form that a test needs.
struct Case {
    kind: Kind,
    shape: Shape,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(kind: Kind, shape: Shape, outputs: usize) -> Self {
        let size = if let Kind::Window(window) = kind { window.size } else { 3 };
        let weight = weight(2, outputs, shape.channels * size * size);
        Self { kind, shape, weight, bias: noise(3, outputs) }
    }

    fn output(&self) -> Shape {
        let (outputs, Shape { height, width, .. }) = (self.bias.len(), self.shape);
        match self.kind {
            Kind::Same => Shape::new(outputs, height, width),
            Kind::Upsampled => Shape::new(outputs, 2 * height, 2 * width),
            Kind::Window(window) => Shape::new(outputs, window.outputs(height), window.outputs(width)),
        }
    }

    fn tolerance(&self) -> f64 {
        if let Kind::Window(_) = self.kind { DIRECT } else { WINOGRAD }
    }

    fn exact(&self, x: &[f32]) -> Vec<f64> {
        match self.kind {
            Kind::Same => scalar::conv3x3(self.shape, x, &self.weight, &self.bias),
            Kind::Upsampled => scalar::upsample2x_conv3x3(self.shape, x, &self.weight, &self.bias),
            Kind::Window(window) => scalar::conv2d(window, self.shape, x, &self.weight, &self.bias),
        }
    }

    fn run(&self, level: Level, keep: bool, io: Io<'_>, out: &mut [Block], moments: Option<&mut Moments>) {
        self.run_in(&Workspace::new(), level, keep, io, out, moments);
    }

    fn run_in(
        &self,
        workspace: &Workspace,
        level: Level,
        keep: bool,
        io: Io<'_>,
        out: &mut [Block],
        moments: Option<&mut Moments>,
    ) {
        let inputs = self.shape.channels;
        match self.kind {
            Kind::Same => {
                let mut conv = Conv3x3::new(level, &self.weight, &self.bias, inputs);
                if keep {
                    conv.keep_transformed();
                }
                conv.run(io, out, moments, workspace);
            }
            Kind::Upsampled => {
                let mut conv = Upsample2xConv3x3::new(level, &self.weight, &self.bias, inputs);
                if keep {
                    conv.keep_transformed();
                }
                conv.run(io, out, moments, workspace);
            }
            Kind::Window(window) => {
                let conv = Conv2d::new(level, window, &self.weight, &self.bias, inputs);
                assert_eq!(conv.output(self.shape), self.output());
                conv.run(io, out, moments, workspace);
            }
        }
    }

    fn plain(&self, level: Level, x: &[f32]) -> Vec<f32> {
        let picture = Picture::new(self.shape, x);
        let mut out = Picture::unwritten(self.output());
        self.run(level, false, Io::new(picture.view()), &mut out.blocks, None);
        out.planar()
    }
}

/// The plain convolution.
#[track_caller]
fn check(kind: Kind, shape: Shape, outputs: usize) {
    let case = Case::new(kind, shape, outputs);
    let x = noise(1, shape.channels * shape.pixels());
    let exact = case.exact(&x);
    for level in Level::available() {
        let what = format!("{kind:?} of {shape:?} to {outputs} at {}", level.name());
        assert_close(&case.plain(level, &x), &exact, case.tolerance(), &what);
    }
}

/// The convolution with a prologue, a residual, ReLU, kept filters, and the moments of what it writes.
#[track_caller]
fn check_fused(kind: Kind, shape: Shape, outputs: usize) {
    let case = Case::new(kind, shape, outputs);
    let x = noise(1, shape.channels * shape.pixels());
    let (scale, shift) = (noise(4, shape.channels), noise(5, shape.channels));
    let affine = Affine::new(&scale, &shift);
    let picture = Picture::new(shape, &x);
    let residual = noise(6, outputs * case.output().pixels());
    let residual_picture = Picture::new(case.output(), &residual);
    let (ones, zeros) = (vec![1.0; outputs], vec![0.0; outputs]);
    let norm = GroupNorm::new(outputs, 1e-6, &ones, &zeros);
    for (prologue, silu) in [(Prologue::Affine(&affine), false), (Prologue::AffineSilu(&affine), true)] {
        let before = |(i, &x): (usize, &f32)| {
            let c = i / shape.pixels();
            let y = f64::from(x) * f64::from(scale[c]) + f64::from(shift[c]);
            (if silu { scalar::silu(y) } else { y }) as f32
        };
        let input: Vec<f32> = x.iter().enumerate().map(before).collect();
        let exact = case.exact(&input);
        for relu in [false, true] {
            let after = |(y, r): (&f64, &f32)| (y + f64::from(*r)).max(if relu { 0.0 } else { f64::MIN });
            let expected: Vec<f64> = exact.iter().zip(&residual).map(after).collect();
            for level in Level::available() {
                let what = format!("{kind:?} of {shape:?} to {outputs}, fused, at {}", level.name());
                let epilogue = Epilogue { residual: Some(residual_picture.view()), relu };
                let io = Io { input: picture.view(), prologue, epilogue };
                let (mut out, mut moments) = (Picture::unwritten(case.output()), Moments::new());
                case.run(level, true, io, &mut out.blocks, Some(&mut moments));
                let found = out.planar();
                assert_close(&found, &expected, case.tolerance(), &what);
                let mut normal = Picture::unwritten(case.output());
                Prologue::Affine(&norm.affine(&moments)).apply(level, out.view(), &mut normal.blocks);
                let exact = scalar::group_norm(outputs, 1e-6, &ones, &zeros, case.output(), &found);
                assert_close(&normal.planar(), &exact, 1e-5, &format!("moments of {what}"));
            }
        }
    }
}

#[test]
fn conv3x3() {
    for (channels, height, width, outputs) in [
        (1, 1, 1, 1),
        (3, 1, 7, 5),
        (1, 9, 2, 16),
        (3, 8, 8, 32),
        (16, 5, 6, 3),
        (32, 13, 11, 63),
        (63, 4, 4, 17),
        (64, 17, 67, 48),
        (512, 6, 7, 20),
        (20, 8, 5, 512),
    ] {
        check(Kind::Same, Shape::new(channels, height, width), outputs);
    }
    check_fused(Kind::Same, Shape::new(35, 10, 21), 33);
}

#[test]
fn upsample2x_conv3x3() {
    for (channels, height, width, outputs) in
        [(1, 1, 1, 1), (3, 1, 7, 5), (1, 6, 2, 16), (32, 11, 13, 63), (63, 5, 5, 17), (512, 3, 6, 20), (4, 5, 31, 96)]
    {
        check(Kind::Upsampled, Shape::new(channels, height, width), outputs);
    }
    check_fused(Kind::Upsampled, Shape::new(35, 7, 11), 33);
}

#[test]
fn conv2d() {
    let wide = Window { size: 4, stride: 2, before: 1, after: 1 };
    for window in [Window::POINT, Window::SAME, Window::HALVE_DOWN, Window::HALVE_UP, wide] {
        for (channels, height, width, outputs) in
            [(1, 2, 2, 1), (3, 4, 9, 5), (16, 7, 7, 32), (63, 15, 10, 33), (512, 3, 5, 20), (4, 23, 22, 512)]
        {
            check(Kind::Window(window), Shape::new(channels, height, width), outputs);
        }
        check_fused(Kind::Window(window), Shape::new(35, 9, 20), 33);
    }
}

#[test]
fn an_empty_picture_stays_empty() {
    for kind in [Kind::Same, Kind::Upsampled, Kind::Window(Window::POINT), Kind::Window(Window::HALVE_DOWN)] {
        for (height, width) in [(0, 0), (0, 5), (5, 0)] {
            check(kind, Shape::new(3, height, width), 4);
        }
    }
}

/// A value that is not finite, or close to the largest, reaches the outputs around it and no other.
#[test]
fn unkind_values_stay_where_they_belong() {
    for kind in [Kind::Same, Kind::Upsampled, Kind::Window(Window::HALVE_UP)] {
        let shape = Shape::new(18, 9, 14);
        let case = Case::new(kind, shape, 5);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e37, -3e38] {
            let mut x = noise(1, 18 * shape.pixels());
            x[3 * shape.pixels() + 4 * shape.width + 5] = bad;
            let exact = case.exact(&x);
            for level in Level::available() {
                let found = case.plain(level, &x);
                for (i, (&found, &exact)) in found.iter().zip(&exact).enumerate() {
                    let close = (f64::from(found) - exact).abs() <= 1e-5 * exact.abs().max(1.0);
                    assert!(close || !exact.is_finite() && !found.is_finite(), "{bad} {i}: {found}, expected {exact}");
                }
            }
        }
    }
}

/// Errors grow with the largest inputs nearby, as they do in a direct convolution, and with nothing else.
#[test]
fn large_offsets_and_small_numbers_keep_their_precision() {
    let shape = Shape::new(64, 12, 12);
    let case = Case::new(Kind::Same, shape, 16);
    for (scale, offset) in [(1.0f32, 1000.0f32), (1e-30, 0.0), (1e20, 0.0)] {
        let x: Vec<f32> = noise(1, 64 * shape.pixels()).iter().map(|v| v * scale + offset).collect();
        let unbiased = Case { kind: case.kind, shape, weight: case.weight.clone(), bias: vec![0.0; 16] };
        let magnitude = f64::from(scale.max(offset));
        for level in Level::available() {
            assert_close(&unbiased.plain(level, &x), &unbiased.exact(&x), WINOGRAD * magnitude, level.name());
        }
    }
}

/// The errors at the widest layer of an AutoencoderKL: here the largest is held to without regard to the output's size.
#[test]
fn precision_at_512_channels() {
    let shape = Shape::new(512, 20, 20);
    for kind in [Kind::Same, Kind::Upsampled] {
        let case = Case::new(kind, shape, 16);
        let x = noise(1, 512 * shape.pixels());
        let exact = case.exact(&x);
        for level in Level::available() {
            let found = case.plain(level, &x);
            let squares: f64 = found.iter().zip(&exact).map(|(f, e)| (f64::from(*f) - e).powi(2)).sum();
            let error = (squares / exact.len() as f64).sqrt();
            let largest = found.iter().zip(&exact).map(|(f, e)| (f64::from(*f) - e).abs()).fold(0.0, f64::max);
            println!("{kind:?} at {}: root mean square {error:.2e}, largest {largest:.2e}", level.name());
            assert!(error < 2e-6 && largest < WINOGRAD, "{kind:?} at {}: {error:e}, {largest:e}", level.name());
        }
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn results_do_not_depend_on_the_number_of_threads() {
    let kinds = [Kind::Same, Kind::Upsampled, Kind::Window(Window::HALVE_DOWN), Kind::Window(Window::POINT)];
    // The second has fewer rows of tiles than there are threads.
    for (kind, height) in kinds.into_iter().flat_map(|kind| [(kind, 41), (kind, 3)]) {
        let shape = Shape::new(48, height, 70);
        let case = Case::new(kind, shape, 48);
        let picture = Picture::new(shape, &noise(1, 48 * shape.pixels()));
        let norm = GroupNorm::new(12, 1e-6, &[1.0; 48], &[0.0; 48]);
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
            pool.install(|| {
                let (mut out, mut moments) = (Picture::unwritten(case.output()), Moments::new());
                case.run(Level::best(), false, Io::new(picture.view()), &mut out.blocks, Some(&mut moments));
                let mut normal = Picture::unwritten(case.output());
                Prologue::AffineSilu(&norm.affine(&moments)).apply(Level::best(), out.view(), &mut normal.blocks);
                normal.planar()
            })
        };
        let one = with_threads(1);
        assert!([2, 3, 8].into_iter().all(|threads| with_threads(threads) == one), "{kind:?}");
    }
}

/// A value too large for a transform: which tiles are convolved directly depends on where it is, and on nothing else.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn large_values_do_not_make_results_depend_on_the_number_of_threads() {
    for kind in [Kind::Same, Kind::Upsampled] {
        let shape = Shape::new(20, 32, 64);
        let case = Case::new(kind, shape, 24);
        for (c, y, x) in [(3, 0, 0), (7, 13, 40), (19, 31, 63)] {
            let mut values = noise(1, shape.channels * shape.pixels());
            values[c * shape.pixels() + y * shape.width + x] = 1e37;
            let (picture, residual) =
                (Picture::new(shape, &values), Picture::new(case.output(), &noise(6, 24 * case.output().pixels())));
            for level in Level::available() {
                let with_threads = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
                    let epilogue = Epilogue { residual: Some(residual.view()), relu: true };
                    let io = Io { epilogue, ..Io::new(picture.view()) };
                    let (mut out, mut moments) = (Picture::unwritten(case.output()), Moments::new());
                    pool.install(|| case.run(level, false, io, &mut out.blocks, Some(&mut moments)));
                    let groups = GroupNorm::new(24, 1e-6, &[1.0; 24], &[0.0; 24]).groups(&moments);
                    (out.planar(), groups)
                };
                let one = with_threads(1);
                let exact = case.exact(&values);
                let reached = exact.iter().filter(|y| y.abs() > 1e30).count();
                let expected: Vec<f64> =
                    exact.iter().zip(residual.planar()).map(|(y, r)| (y + f64::from(r)).max(0.0)).collect();
                assert_close(&one.0, &expected, WINOGRAD, &format!("{kind:?} with {reached} large values"));
                for threads in [2, 3, 4, 8] {
                    assert!(
                        with_threads(threads) == one,
                        "{kind:?} of ({c}, {y}, {x}) on {threads} threads at {}",
                        level.name()
                    );
                }
            }
        }
    }
}

/// What a workspace grows to is what was foretold.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn what_a_run_needs_is_known_before() {
    let level = Level::best();
    for (inputs, outputs, height, width) in [(3, 64, 70, 50), (64, 3, 9, 9), (40, 300, 33, 120), (512, 512, 8, 8)] {
        let shape = Shape::new(inputs, height, width);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
            for kind in [Kind::Same, Kind::Upsampled, Kind::Window(Window::HALVE_UP), Kind::Window(Window::POINT)] {
                let case = Case::new(kind, shape, outputs);
                let (weight, bias) = (&case.weight, &case.bias);
                let need = match kind {
                    Kind::Same => Conv3x3::new(level, weight, bias, inputs).need(shape, threads),
                    Kind::Upsampled => Upsample2xConv3x3::new(level, weight, bias, inputs).need(shape, threads),
                    Kind::Window(window) => Conv2d::new(level, window, weight, bias, inputs).need(shape),
                };
                let picture = Picture::new(shape, &noise(1, inputs * shape.pixels()));
                let mut out = Picture::unwritten(case.output());
                let workspace = Workspace::new();
                assert!(workspace.reserve(need, threads));
                assert_eq!(workspace.bytes() as u64, need.bytes(threads));
                pool.install(|| case.run_in(&workspace, level, false, Io::new(picture.view()), &mut out.blocks, None));
                assert_eq!(workspace.bytes() as u64, need.bytes(threads), "{kind:?} of {shape:?} to {outputs}");
            }
        }
    }
}

#[test]
#[cfg_attr(target_family = "wasm", ignore = "starts threads")]
fn memory_does_not_grow_with_the_picture() {
    let bytes = |side| {
        let shape = Shape::new(32, side, side);
        let case = Case::new(Kind::Same, shape, 32);
        let (picture, mut out) = (Picture::unwritten(shape), Picture::unwritten(shape));
        let workspace = Workspace::new();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of threads");
        let conv = Conv3x3::new(Level::best(), &case.weight, &case.bias, 32);
        pool.install(|| conv.run(Io::new(picture.view()), &mut out.blocks, None, &workspace));
        workspace.bytes()
    };
    assert_eq!(bytes(64), bytes(256));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape(channels in 1..40usize, outputs in 1..40usize, height in 1..30usize, width in 1..30usize, n in 0..4) {
        let kind = match n {
            0 => Kind::Same,
            1 => Kind::Upsampled,
            2 => Kind::Window(Window::HALVE_UP),
            _ => Kind::Window(Window::HALVE_DOWN),
        };
        check(kind, Shape::new(channels, height, width), outputs);
    }
}
