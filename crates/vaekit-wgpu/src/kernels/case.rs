//! Small dispatches whose results are known: for the probe and the tests.

use std::ops::Range;

use super::{
    Conv, ConvParams, Filters, FiltersParams, Inputs, Kernel, Map, MapParams, Merge, MergeParams, Moments,
    MomentsParams, Outputs, POINTS, Prologue, Softmax, SoftmaxParams, TILE, TilesParams, Uniform, Weights,
};
use crate::layout::{LANES, Shape, Storage};

/// A dispatch with all that it works on.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The kernel.
    pub kernel: Kernel,
    /// Its parameters.
    pub uniform: Uniform,
    /// Workgroups.
    pub grid: [u32; 3],
    /// The lanes of what is read.
    pub arrays: Vec<Vec<f32>>,
    /// The lanes of what is written, before: what no kernel should touch, or an in-place kernel's input.
    pub output: Vec<f32>,
}

/// Lanes behind every array that no kernel should read or write.
pub const GUARD: usize = 16;

/// An output of so many lanes before, with a guard behind.
fn unwritten(lanes: usize) -> Vec<f32> {
    vec![f32::NAN; lanes + GUARD]
}

impl Case {
    /// The smallest case that takes a kernel through all of its text: tiles cut by every edge, more than one step of every
    /// loop.
    pub fn small(kernel: Kernel) -> Self {
        match kernel {
            Kernel::Conv(conv) => {
                let tile = conv.tile_size();
                let outputs = (tile.planes() as usize * LANES + 3).min(70);
                let inputs = tile.depth as usize * LANES + 2;
                match conv.weights {
                    Weights::Packed => {
                        let side = |tile: u32| (tile * conv.stride) as usize + 1;
                        let shape = Shape::new(inputs, side(tile.height), side(tile.width));
                        let shape = if conv.size == 1 { Shape { height: 1, ..shape } } else { shape };
                        Case::conv(conv, shape, outputs, conv.size as usize / 2, conv.size as usize / 2, 0)
                    }
                    Weights::Keys(_) => Case::scores(conv, inputs, [tile.width as usize + 3, 1], outputs),
                    Weights::Values(_) => Case::sums(conv, outputs, [tile.width as usize + 3, 1], inputs),
                    Weights::Points => Case::points(conv, inputs, outputs, 3),
                }
            }
            Kernel::Map(map) => Case::map(map, Shape::new(6, 5, 15), 65535),
            Kernel::Moments(moments) => Case::region(moments, Shape::new(5, 43, 40), &[3..40, 2..35]),
            Kernel::Merge(_) => Case::merge(Shape::new(6, 33, 40), 2),
            Kernel::Softmax(_) => Case::softmax(21, 11),
            Kernel::Filters(_) => Case::filters(6, 10),
            Kernel::Inputs(inputs) => Case::inputs(inputs, Shape::new(6, 9, 37), 0),
            Kernel::Outputs(outputs) => Case::outputs(outputs, Shape::new(6, 9, 37), 0),
        }
    }

    /// A convolution of an image of this shape with `before` zeros above and to the left and `after` on the other sides,
    /// from its row `row` on.
    pub fn conv(conv: Conv, from: Shape, outputs: usize, before: usize, after: usize, row: usize) -> Self {
        let side = |side: usize| match conv.upsample {
            true => 2 * side,
            false => (side + before + after - conv.size as usize) / conv.stride as usize + 1,
        };
        let to = Shape::new(outputs, side(from.height), side(from.width));
        let params = ConvParams { row: row as u32, ..ConvParams::packed(&conv, from, to, before) };
        let mut noise = Noise(1);
        let taps = (conv.size * conv.size) as usize;
        let scale = 1.0 / ((taps * from.channels) as f32).sqrt();
        let of_batch = outputs * from.channels * taps;
        let weights: Vec<Vec<f32>> = (0..conv.batches()).map(|_| noise.take(of_batch, scale)).collect();
        let mut arrays = vec![
            noise.image(from, conv.input),
            super::pack_weights(&weights, &noise.take(outputs, 1.0), from.channels, taps),
        ];
        if conv.prologue != Prologue::Plain {
            arrays.push(noise.scales(from.channels));
        }
        if conv.residual {
            arrays.push(noise.image(to, conv.output));
        }
        let output = unwritten(to.vectors() * LANES);
        let grid = conv.grid(&params);
        Case { kernel: Kernel::Conv(conv), uniform: Uniform::new(&params), grid, arrays, output }
    }

    /// An attention's scores of all queries but the first, of images of these channels.
    pub fn scores(conv: Conv, channels: usize, [queries, first]: [usize; 2], keys: usize) -> Self {
        let mut noise = Noise(2);
        let (q, k) = (Shape::new(channels, 1, queries), Shape::new(channels, 1, keys));
        let Weights::Keys(storage) = conv.weights else { panic!("a product with keys") };
        let count = queries - first;
        let chunk = [first as u32, count as u32];
        let params = ConvParams::scores(&conv, q.planes() as u32, queries as u32, chunk, keys as u32);
        let arrays = vec![noise.image(q, conv.input), noise.image(k, storage)];
        let output = unwritten(keys.div_ceil(LANES) * count * LANES);
        Case { kernel: Kernel::Conv(conv), uniform: Uniform::new(&params), grid: conv.grid(&params), arrays, output }
    }

    /// The values that an attention's weights give of all queries but the first.
    pub fn sums(conv: Conv, channels: usize, [queries, first]: [usize; 2], keys: usize) -> Self {
        let mut noise = Noise(3);
        let Weights::Values(storage) = conv.weights else { panic!("a product with values") };
        let count = queries - first;
        let (weights, v, out) =
            (Shape::new(keys, 1, count), Shape::new(channels, 1, keys), Shape::new(channels, 1, queries));
        let chunk = [first as u32, count as u32];
        let params = ConvParams::sums(&conv, v.planes() as u32, queries as u32, chunk, keys as u32);
        let arrays = vec![noise.image(weights, conv.input), noise.image(v, storage)];
        let output = unwritten(out.vectors() * LANES);
        Case { kernel: Kernel::Conv(conv), uniform: Uniform::new(&params), grid: conv.grid(&params), arrays, output }
    }

    /// Winograd's products of so many tiles.
    pub fn points(conv: Conv, inputs: usize, outputs: usize, tiles: usize) -> Self {
        let mut noise = Noise(4);
        let (planes, out_planes) = (inputs.div_ceil(LANES), outputs.div_ceil(LANES));
        let params = ConvParams::points(&conv, planes as u32, out_planes as u32, tiles as u32);
        let arrays = vec![
            noise.take(POINTS * planes * tiles * LANES, 1.0),
            noise.take(POINTS * out_planes * planes * LANES * LANES, 1.0 / (inputs as f32).sqrt()),
        ];
        let output = unwritten(POINTS * out_planes * tiles * LANES);
        Case { kernel: Kernel::Conv(conv), uniform: Uniform::new(&params), grid: conv.grid(&params), arrays, output }
    }

    /// A function of an image on a device whose grids have at most `max_groups` along an axis.
    pub fn map(map: Map, shape: Shape, max_groups: u32) -> Self {
        let mut noise = Noise(5);
        let params = MapParams::new(shape.pixels() as u32, shape.planes() as u32, max_groups);
        let mut arrays = vec![noise.image(shape, map.storage)];
        if map.prologue != Prologue::Plain {
            arrays.push(noise.scales(shape.channels));
        }
        if map.residual {
            arrays.push(noise.image(shape, map.storage));
        }
        let output = unwritten(shape.vectors() * LANES);
        Case { kernel: Kernel::Map(map), uniform: Uniform::new(&params), grid: Map::grid(&params), arrays, output }
    }

    /// An image's statistics.
    pub fn moments(moments: Moments, shape: Shape) -> Self {
        Self::region(moments, shape, &[0..shape.height, 0..shape.width])
    }

    /// Those of some rows and columns.
    pub fn region(moments: Moments, shape: Shape, region: &[Range<usize>; 2]) -> Self {
        let params = MomentsParams::region(shape, region);
        let mut image = Noise(6).image(shape, moments.input);
        // Far from zero, where squares would cancel.
        image.iter_mut().filter(|lane| **lane != 0.0).for_each(|lane| *lane = moments.input.round(*lane + 100.0));
        let output = unwritten((params.planes * params.chunks) as usize * 2 * LANES);
        Case {
            kernel: Kernel::Moments(moments),
            uniform: Uniform::new(&params),
            grid: Moments::grid(&params),
            arrays: vec![image],
            output,
        }
    }

    /// Scales and shifts of groups of so many channels.
    pub fn merge(shape: Shape, group: usize) -> Self {
        let mut noise = Noise(7);
        let moments = MomentsParams::whole(shape);
        let params = MergeParams { moments, channels: shape.channels as u32, group: group as u32, epsilon: 1e-5 };
        let pieces = (moments.planes * moments.chunks) as usize;
        let pieces = (0..pieces).flat_map(|_| {
            let (mean, deviations) = (noise.take(LANES, 1.0), noise.take(LANES, 1.0));
            mean.into_iter().chain(deviations.into_iter().map(|x| 1000.0 * (x + 1.5)))
        });
        let pieces: Vec<f32> = pieces.collect();
        let arrays = vec![pieces, noise.scales(shape.channels)];
        let output = unwritten(shape.planes() * 2 * LANES);
        Case {
            kernel: Kernel::Merge(Merge),
            uniform: Uniform::new(&params),
            grid: Merge::grid(&params),
            arrays,
            output,
        }
    }

    /// Scores to weights.
    pub fn softmax(keys: usize, queries: usize) -> Self {
        let params = SoftmaxParams { keys: keys as u32, queries: queries as u32, scale: 0.7 };
        let mut output = Noise(8).take(keys.next_multiple_of(LANES) * queries, 4.0);
        // Past the last key is whatever the product left there.
        let last = keys.div_ceil(LANES) - 1;
        for vector in output.chunks_exact_mut(LANES).skip(last * queries) {
            vector.iter_mut().enumerate().filter(|(lane, _)| last * LANES + lane >= keys).for_each(|(_, x)| *x = 50.0);
        }
        output.extend([f32::NAN; GUARD]);
        Case {
            kernel: Kernel::Softmax(Softmax),
            uniform: Uniform::new(&params),
            grid: Softmax::grid(&params),
            arrays: Vec::new(),
            output,
        }
    }

    /// Weights of so many channels to points.
    pub fn filters(inputs: usize, outputs: usize) -> Self {
        let mut noise = Noise(9);
        let weights = noise.take(outputs * inputs * 9, 1.0 / 3.0);
        let packed = super::pack_weights(&[weights], &noise.take(outputs, 1.0), inputs, 9);
        let (planes, out_planes) = (inputs.div_ceil(LANES) as u32, outputs.div_ceil(LANES) as u32);
        let params = FiltersParams::new(planes, out_planes, 2);
        let output = unwritten(POINTS * params.vectors as usize * LANES);
        let (uniform, grid) = (Uniform::new(&params), Filters::grid(&params));
        Case { kernel: Kernel::Filters(Filters), uniform, grid, arrays: vec![packed], output }
    }

    /// Tiles of an image to points, from a row of tiles on.
    pub fn inputs(inputs: Inputs, shape: Shape, row: usize) -> Self {
        let mut noise = Noise(10);
        let params = TilesParams::new(shape, row as u32, (shape.height.div_ceil(TILE) - row) as u32);
        let mut arrays = vec![noise.image(shape, inputs.input)];
        if inputs.prologue != Prologue::Plain {
            arrays.push(noise.scales(shape.channels));
        }
        let output = unwritten(POINTS * (params.planes * params.tiles) as usize * LANES);
        let (uniform, grid) = (Uniform::new(&params), Inputs::grid(&params));
        Case { kernel: Kernel::Inputs(inputs), uniform, grid, arrays, output }
    }

    /// Points to outputs, from a row of tiles on.
    pub fn outputs(outputs: Outputs, shape: Shape, row: usize) -> Self {
        let mut noise = Noise(11);
        let params = TilesParams::new(shape, row as u32, (shape.height.div_ceil(TILE) - row) as u32);
        let points = noise.take(POINTS * (params.planes * params.tiles) as usize * LANES, 0.1);
        let mut arrays = vec![points, crate::layout::pack_channels(&noise.take(shape.channels, 1.0))];
        if outputs.residual {
            arrays.push(noise.image(shape, outputs.output));
        }
        let output = unwritten(shape.vectors() * LANES);
        let (uniform, grid) = (Uniform::new(&params), Outputs::grid(&params));
        Case { kernel: Kernel::Outputs(outputs), uniform, grid, arrays, output }
    }

    /// What the twin computes.
    pub fn expected(&self) -> Vec<f32> {
        let mut output = self.output.clone();
        let arrays: Vec<&[f32]> = self.arrays.iter().map(Vec::as_slice).collect();
        self.kernel.twin(&self.uniform, &arrays, &mut output);
        output
    }

    /// How far a lane may be off that should be `expected`: sums of up to a few hundred terms near 1 in f32, in another
    /// order, and one rounding of what is stored.
    pub fn tolerance(&self, expected: f32) -> f32 {
        let storage = *self.kernel.bindings().last().expect("a kernel writes");
        let rounding = if storage == Storage::F32 { 1e-5 } else { 2e-3 };
        let of_transforms = match self.kernel {
            Kernel::Moments(_) => 1e-4,
            // The factors of a tile's transform sum to a few dozen.
            Kernel::Inputs(_) | Kernel::Outputs(_) | Kernel::Filters(_) => 1e-4,
            _ => 0.0,
        };
        (rounding + of_transforms) * expected.abs().max(1.0)
    }
}

/// Values in [-1, 1] by a linear congruential generator: the same everywhere.
struct Noise(u64);

impl Noise {
    fn take(&mut self, count: usize, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        (0..count).map(|_| next()).collect()
    }

    fn image(&mut self, shape: Shape, storage: Storage) -> Vec<f32> {
        let planar: Vec<f32> =
            self.take(shape.channels * shape.pixels(), 1.0).into_iter().map(|x| storage.round(x)).collect();
        crate::layout::pack(shape, &planar)
    }

    fn scales(&mut self, channels: usize) -> Vec<f32> {
        let mut scales = crate::layout::pack_channels(&self.take(channels, 1.0));
        scales.extend(crate::layout::pack_channels(&self.take(channels, 1.0)));
        scales
    }
}
