//! 3x3 convolutions by Winograd, a band of tiles at a time.

use super::build::{Builder, Draft};
use super::{Capabilities, PlanError};
use crate::kernels::{
    Conv, ConvParams, Filters, FiltersParams, Inputs, Kernel, Outputs, POINTS, Prologue, TILE, TilesParams, Uniform,
    Weights,
};
use crate::layout::{LANES, Storage};
use crate::network::Layer;

/// Channels, in and out, from which on it pays: with fewer, the points are more traffic than the products save.
const CHANNELS: usize = 128;

/// What a convolution reads and writes.
pub(super) struct Images {
    pub(super) input: usize,
    pub(super) prologue: Prologue,
    pub(super) scales: Option<Draft>,
    pub(super) residual: Option<usize>,
    pub(super) relu: bool,
    pub(super) output: usize,
}

impl Builder<'_> {
    /// Whether a convolution is one that Winograd's kernels do, and they work here.
    pub(super) fn winograd_pays(&self, step: usize, layer: &Layer, images: &Images) -> bool {
        let same = layer.size == 3 && layer.stride == 1 && layer.before == 1 && layer.after == 1 && !layer.upsample;
        let wide = layer.inputs >= CHANNELS && layer.outputs >= CHANNELS;
        let works = |kernel: &Kernel| !self.capabilities.wrong.contains(kernel);
        same && wide && self.transforms(images).iter().all(works) && self.product(step, layer).is_ok()
    }

    /// The products of the points.
    fn product(&self, step: usize, layer: &Layer) -> Result<Conv, PlanError> {
        self.tiled(step, layer.outputs.div_ceil(LANES), |tile| Conv {
            size: 1,
            stride: 1,
            upsample: false,
            tile,
            weights: Weights::Points,
            prologue: Prologue::Plain,
            residual: false,
            relu: false,
            input: Storage::F32,
            output: Storage::F32,
        })
    }

    fn transforms(&self, images: &Images) -> [Kernel; 3] {
        let storage = self.capabilities.storage;
        let inputs = Inputs { prologue: images.prologue, input: storage };
        let outputs = Outputs { residual: images.residual.is_some(), relu: images.relu, output: storage };
        [Kernel::Filters(Filters), Kernel::Inputs(inputs), Kernel::Outputs(outputs)]
    }

    /// The weights' points once, then bands of tiles: to points, their products, and back.
    pub(super) fn winograd(&mut self, step: usize, layer: &Layer, images: &Images) -> Result<(), PlanError> {
        let Capabilities { max_groups, scratch, .. } = *self.capabilities;
        let product = self.product(step, layer)?;
        let (from, to) = (self.shape(images.input), self.shape(images.output));
        let (planes, out_planes) = (from.planes() as u32, to.planes() as u32);
        let (across, rows) = (to.width.div_ceil(TILE) as u32, to.height.div_ceil(TILE) as u32);
        // Whole rows of tiles, as many as the budgets of memory, work and grids allow.
        let of_tile = POINTS as u64 * Storage::F32.bytes();
        let of_row = u64::from(across) * of_tile * u64::from(planes.max(out_planes));
        let macs_of_row = u64::from(across) * (POINTS * layer.inputs * layer.outputs) as u64;
        let of_axis = u64::from(max_groups) * 16 / u64::from(across);
        let band =
            (scratch / of_row).min(self.dispatch_macs(&product) / macs_of_row).min(of_axis).clamp(1, u64::from(rows))
                as u32;

        let weights = FiltersParams::new(planes, out_planes, max_groups);
        let filters =
            self.scratch("transformed weights", step, step, POINTS as u64 * u64::from(weights.vectors) * 16)?;
        let tiles = u64::from(band * across) * of_tile;
        let points = self.scratch("transformed tiles", step, step, tiles * u64::from(planes))?;
        let products = self.scratch("products of tiles", step, step, tiles * u64::from(out_planes))?;
        let [to_points, tiles_to_points, to_outputs] = self.transforms(images);
        let constant = Draft::Constant(layer.weights);
        let arrays = vec![constant, Draft::Name(filters)];
        self.push(step, to_points, Filters::grid(&weights), Uniform::new(&weights), arrays, 0);
        for row in (0..rows).step_by(band as usize) {
            let count = band.min(rows - row);
            let params = TilesParams::new(from, row, count);
            let mut arrays = vec![Draft::Name(images.input)];
            arrays.extend(images.scales);
            arrays.push(Draft::Name(points));
            self.push(step, tiles_to_points, Inputs::grid(&params), Uniform::new(&params), arrays, 0);

            let params = ConvParams::points(&product, planes, out_planes, params.tiles);
            let arrays = [points, filters, products].map(Draft::Name).to_vec();
            let grid = product.grid(&params);
            let macs = macs_of_row * u64::from(count);
            self.push(step, Kernel::Conv(product), grid, Uniform::new(&params), arrays, macs);

            let params = TilesParams::new(to, row, count);
            let mut arrays = vec![Draft::Name(products), constant];
            arrays.extend(images.residual.map(Draft::Name));
            arrays.push(Draft::Name(images.output));
            self.push(step, to_outputs, Outputs::grid(&params), Uniform::new(&params), arrays, 0);
        }
        Ok(())
    }
}
