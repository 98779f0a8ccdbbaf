//! From steps to dispatches.

use vaekit::Piece;
use vaekit_onnx::ops::{Operand, Scales, Work};

use super::slots::{Interval, colour};
use super::winograd::Images;
use super::{Array, Capabilities, Dispatch, Place, Plan, PlanError, Watched};
use crate::kernels::{
    Conv, ConvParams, Kernel, Map, MapParams, Merge, MergeParams, Moments, MomentsParams, Prologue, Softmax,
    SoftmaxParams, Tile, Uniform, Weights,
};
use crate::layout::{LANES, Shape, Storage};
use crate::network::{Layer, Network};

/// Queries of an attention's chunk are a multiple of the first of these that its memory allows: whole tiles, or at least a
/// quarter of one.
const QUERIES: [usize; 3] = [256, 64, 16];

/// How much longer a multiply-add takes where nothing is staged in workgroup memory, about.
const PLAIN: u64 = 8;

impl Plan {
    /// A plan for an input of this size.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] where a smaller picture, less bytes a value or another device may do.
    pub fn new(network: &Network, input: Shape, capabilities: &Capabilities) -> Result<Self, PlanError> {
        Self::build(network, input, capabilities, None)
    }

    /// A plan for a piece of a larger image.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_piece(
        network: &Network,
        input: Shape,
        capabilities: &Capabilities,
        piece: &Piece<'_>,
    ) -> Result<Self, PlanError> {
        Self::build(network, input, capabilities, Some(piece))
    }

    fn build(
        network: &Network,
        input: Shape,
        capabilities: &Capabilities,
        piece: Option<&Piece<'_>>,
    ) -> Result<Self, PlanError> {
        let (shapes, step_macs) = shapes(network, input)?;
        let arrays = Vec::new();
        let norms = vec![None; network.norms.len()];
        let mut builder = Builder { network, capabilities, piece, shapes, arrays, norms, drafts: Vec::new() };
        builder.images()?;
        for step in 0..network.steps.steps.len() {
            builder.step(step)?;
        }
        builder.finish(step_macs)
    }
}

/// The shape of every value, and each step's multiply-adds as a direct evaluation would take them.
fn shapes(network: &Network, input: Shape) -> Result<(Vec<Option<Shape>>, Vec<u64>), PlanError> {
    let mut shapes = vec![None; network.steps.channels.len()];
    let mut macs = Vec::new();
    shapes[0] = Some(input);
    for step in &network.steps.steps {
        let Some(input) = step.work.reads().next().and_then(|value| shapes[value]) else { continue };
        let (output, factors) = match &step.work {
            Work::Conv { conv, .. } => {
                let output = conv.output(input);
                (output, [conv.size * conv.size, conv.inputs, conv.outputs, output.pixels()])
            }
            Work::Map { .. } => (input, [1, 1, input.channels, input.pixels()]),
            Work::Attention { .. } => (input, [2, input.channels, input.pixels(), input.pixels()]),
        };
        if output.pixels() == 0 || input.pixels() == 0 {
            return Err(PlanError::Empty { height: input.height, width: input.width });
        }
        shapes[step.output] = Some(output);
        macs.push(factors.into_iter().fold(1, |product: u64, factor| product.saturating_mul(factor as u64)));
    }
    Ok((shapes, macs))
}

/// An array that has no slot yet.
type Name = usize;

/// A group normalisation's arrays.
#[derive(Clone, Copy)]
struct Norm {
    scales: Name,
    pieces: Name,
    found: MergeParams,
    given: Option<Name>,
}

/// What a dispatch works on before slots are given.
#[derive(Clone, Copy)]
pub(super) enum Draft {
    Name(Name),
    Constant(usize),
}

pub(super) struct Builder<'a> {
    network: &'a Network,
    pub(super) capabilities: &'a Capabilities,
    piece: Option<&'a Piece<'a>>,
    /// Of every value that is made.
    shapes: Vec<Option<Shape>>,
    /// When each array is needed; values come first, under their own numbers.
    arrays: Vec<Interval>,
    /// Each normalisation, once computed.
    norms: Vec<Option<Norm>>,
    drafts: Vec<(Dispatch, Vec<Draft>)>,
}

impl Builder<'_> {
    /// An array for each value.
    fn images(&mut self) -> Result<(), PlanError> {
        let steps = &self.network.steps;
        let last_readers = steps.last_readers();
        let mut first = vec![0; steps.channels.len()];
        steps.steps.iter().enumerate().for_each(|(index, step)| first[step.output] = index);
        for (value, shape) in self.shapes.iter().enumerate() {
            let vectors = shape.map_or(0, |shape| shape.vectors() as u64);
            let bytes = vectors.saturating_mul(self.capabilities.storage.bytes());
            let last =
                if value == steps.output { steps.steps.len() } else { last_readers[value].unwrap_or(first[value]) };
            self.check("an image", bytes)?;
            self.arrays.push(Interval { first: first[value], last, bytes });
        }
        Ok(())
    }

    /// That an array fits, in one piece and into 32 bits of an index.
    fn check(&self, what: &str, bytes: u64) -> Result<(), PlanError> {
        let Capabilities { max_buffer, max_binding, .. } = *self.capabilities;
        let most = max_buffer.min(max_binding).min(u64::from(u32::MAX));
        if bytes <= most {
            return Ok(());
        }
        let limit = format!("this device takes {most} bytes at a time");
        Err(PlanError::TooLarge { what: what.into(), bytes, limit })
    }

    /// An array that a step needs beside images, until the step `last`.
    pub(super) fn scratch(&mut self, what: &str, first: usize, last: usize, bytes: u64) -> Result<Name, PlanError> {
        self.check(what, bytes)?;
        self.arrays.push(Interval { first, last, bytes });
        Ok(self.arrays.len() - 1)
    }

    pub(super) fn shape(&self, value: usize) -> Shape {
        self.shapes[value].unwrap_or(Shape::new(0, 0, 0))
    }

    pub(super) fn push(
        &mut self,
        step: usize,
        kernel: Kernel,
        grid: [u32; 3],
        uniform: Uniform,
        arrays: Vec<Draft>,
        macs: u64,
    ) {
        self.drafts.push((Dispatch { step, kernel, grid, uniform, arrays: Vec::new(), macs }, arrays));
    }

    fn step(&mut self, index: usize) -> Result<(), PlanError> {
        let step = &self.network.steps.steps[index];
        match &step.work {
            Work::Conv { conv, input, residual, relu } => self.conv(index, conv, input, *residual, *relu, step.output),
            Work::Map { function, input, residual } => {
                let storage = self.capabilities.storage;
                let (prologue, scales) = self.scales(index, input)?;
                let map = Map { function: *function, prologue, residual: residual.is_some(), storage };
                let shape = self.shape(input.value);
                let params = MapParams::new(shape.pixels() as u32, shape.planes() as u32, self.capabilities.max_groups);
                let mut arrays = vec![Draft::Name(input.value)];
                arrays.extend(scales);
                arrays.extend(residual.map(Draft::Name));
                arrays.push(Draft::Name(step.output));
                let macs = (shape.pixels() * shape.channels) as u64;
                self.working(index, &[Kernel::Map(map)])?;
                self.push(index, Kernel::Map(map), Map::grid(&params), Uniform::new(&params), arrays, macs);
                Ok(())
            }
            &Work::Attention { qkv, scale } => self.attention(index, qkv, scale, step.output),
        }
    }

    /// The first of several kernels that do the same that is known to work here.
    fn working(&self, step: usize, variants: &[Kernel]) -> Result<Kernel, PlanError> {
        let works = |kernel: &&Kernel| !self.capabilities.wrong.contains(kernel);
        variants.iter().find(works).copied().ok_or_else(|| PlanError::NoKernel {
            step: self.network.steps.steps[step].name.clone(),
            tried: variants.len(),
        })
    }

    /// How an operand is read, and its scales and shifts, which are computed here if they are a normalisation's.
    fn scales(&mut self, step: usize, operand: &Operand) -> Result<(Prologue, Option<Draft>), PlanError> {
        let prologue = if operand.silu { Prologue::AffineSilu } else { Prologue::Affine };
        match operand.affine {
            None if !operand.silu => Ok((Prologue::Plain, None)),
            Some(Scales::Norm(norm)) => Ok((prologue, Some(Draft::Name(self.norm(step, norm, operand.value)?)))),
            Some(Scales::Fixed { .. }) | None => Ok((prologue, self.network.fixed[step].map(Draft::Constant))),
        }
    }

    /// The scales and shifts of a normalisation of a value.
    fn norm(&mut self, step: usize, norm: usize, value: usize) -> Result<Name, PlanError> {
        if let Some(Norm { scales, .. }) = self.norms[norm] {
            return Ok(scales);
        }
        let shape = self.shape(value);
        let planes = shape.planes() as u64;
        let whole = MomentsParams::whole(shape);
        let own =
            self.piece.filter(|piece| piece.given.is_some()).map(|piece| piece.own_of([shape.height, shape.width]));
        let moments = own.as_ref().map_or(whole, |own| MomentsParams::region(shape, own));
        let group = &self.network.steps.norms[norm];
        let (channels, group, epsilon) = (shape.channels as u32, (shape.channels / group.groups) as u32, group.epsilon);
        let found = MergeParams { moments, channels, group, epsilon };
        let reads = |operand: &Operand| operand.affine == Some(Scales::Norm(norm));
        let readers = self.network.steps.steps.iter().rposition(|step| match &step.work {
            Work::Conv { input, .. } | Work::Map { input, .. } => reads(input),
            Work::Attention { .. } => false,
        });
        // Whoever watches a piece reads them in the end. The memory of a region is that of the whole, so that pieces of one
        // size take the same.
        let until = if self.piece.is_some() { self.network.steps.steps.len() } else { step };
        let pieces =
            self.scratch("a normalisation's statistics", step, until, u64::from(whole.chunks) * planes * 2 * 16)?;
        let scales = self.scratch("scales and shifts", step, readers.unwrap_or(step), planes * 2 * 16)?;
        let given = own.map(|_| self.scratch("given statistics", 0, step, planes * 2 * 16)).transpose()?;
        let kernel = self.working(step, &[Kernel::Moments(Moments { input: self.capabilities.storage })])?;
        let macs = (shape.pixels() * shape.channels) as u64;
        let arrays = vec![Draft::Name(value), Draft::Name(pieces)];
        self.push(step, kernel, Moments::grid(&moments), Uniform::new(&moments), arrays, macs);
        let kernel = self.working(step, &[Kernel::Merge(Merge)])?;
        // What is given is as if each channel had one value, and that its group's variance.
        let one = MomentsParams { pixels: 1, chunk: 1, chunks: 1, ..moments };
        let merge = if given.is_some() { MergeParams { moments: one, ..found } } else { found };
        let from = Draft::Name(given.unwrap_or(pieces));
        let arrays = vec![from, Draft::Constant(self.network.norms[norm]), Draft::Name(scales)];
        self.push(step, kernel, Merge::grid(&merge), Uniform::new(&merge), arrays, 0);
        self.norms[norm] = Some(Norm { scales, pieces, found, given });
        Ok(scales)
    }

    fn conv(
        &mut self,
        step: usize,
        layer: &Layer,
        input: &Operand,
        residual: Option<usize>,
        relu: bool,
        output: usize,
    ) -> Result<(), PlanError> {
        let (prologue, scales) = self.scales(step, input)?;
        let images = Images { input: input.value, prologue, scales, residual, relu, output };
        if self.winograd_pays(step, layer, &images) {
            return self.winograd(step, layer, &images);
        }
        let storage = self.capabilities.storage;
        let (from, to) = (self.shape(input.value), self.shape(output));
        let point = layer.size == 1 && layer.stride == 1 && layer.before + layer.after == 0;
        let size = if layer.upsample { 2 } else { layer.size as u32 };
        let conv = |tile| Conv {
            size,
            stride: layer.stride as u32,
            upsample: layer.upsample,
            tile,
            weights: Weights::Packed,
            prologue,
            residual: residual.is_some(),
            relu,
            input: storage,
            output: storage,
        };
        let conv = self.tiled(step, to.planes(), conv)?;
        // One tap sees no neighbours: the image is one row.
        let row = |shape: Shape| if point { Shape::new(shape.channels, 1, shape.pixels()) } else { shape };
        let (from, to) = (row(from), row(to));
        let params = ConvParams::packed(&conv, from, to, layer.before);
        let mut arrays = vec![Draft::Name(input.value), Draft::Constant(layer.weights)];
        arrays.extend(scales);
        arrays.extend(residual.map(Draft::Name));
        arrays.push(Draft::Name(output));
        let of_pixel = u64::from(conv.batches() * size * size) * (layer.inputs * layer.outputs) as u64;
        self.bands(step, conv, params, of_pixel, &arrays);
        Ok(())
    }

    /// The tile that suits so many planes of outputs, or a simpler one.
    pub(super) fn tiled(&self, step: usize, planes: usize, conv: impl Fn(Tile) -> Conv) -> Result<Conv, PlanError> {
        let tile = match planes {
            0..=1 => Tile::Narrow,
            2..=4 => Tile::Slim,
            5..=8 => Tile::Medium,
            _ => Tile::Wide,
        };
        let order = [tile, Tile::Wide, Tile::Medium, Tile::Slim, Tile::Narrow, Tile::Plain];
        let fitting = order.map(&conv).into_iter().filter(|conv| conv.fits(self.capabilities));
        let variants: Vec<Kernel> = fitting.map(Kernel::Conv).collect();
        match self.working(step, &variants)? {
            Kernel::Conv(conv) => Ok(conv),
            _ => unreachable!("a convolution"),
        }
    }

    /// Multiply-adds of one dispatch of a convolution.
    pub(super) fn dispatch_macs(&self, conv: &Conv) -> u64 {
        self.capabilities.dispatch_macs / if conv.tile == Tile::Plain { PLAIN } else { 1 }
    }

    /// Cuts a convolution into dispatches of whole rows, or of pieces of its only row where one tap sees no neighbours, none of
    /// which takes long.
    fn bands(&mut self, step: usize, conv: Conv, params: ConvParams, of_pixel: u64, arrays: &[Draft]) {
        let max_groups = self.capabilities.max_groups;
        let tile = conv.tile_size();
        let pixels = self.dispatch_macs(&conv) / of_pixel.max(1);
        let (width, rows) = (params.out_width, params.rows_end);
        if conv.size == 1 && conv.stride == 1 && params.before == 0 && [params.in_height, rows] == [1, 1] {
            let piece = whole(pixels, tile.width, max_groups);
            for first in (0..width).step_by(piece as usize) {
                let out_width = piece.min(width - first);
                let (in_first, out_first) = (params.in_first + first, params.out_first + first);
                let in_width = out_width.min(params.in_width.saturating_sub(first));
                let params = ConvParams { in_first, out_first, in_width, out_width, ..params };
                let macs = of_pixel * u64::from(out_width);
                self.push(step, Kernel::Conv(conv), conv.grid(&params), Uniform::new(&params), arrays.to_vec(), macs);
            }
            return;
        }
        let piece = whole(pixels / u64::from(width.max(1)), tile.height, max_groups);
        for row in (0..rows).step_by(piece as usize) {
            let params = ConvParams { row, rows_end: row.saturating_add(piece).min(rows), ..params };
            let macs = of_pixel * u64::from(params.rows_end - row) * u64::from(width);
            self.push(step, Kernel::Conv(conv), conv.grid(&params), Uniform::new(&params), arrays.to_vec(), macs);
        }
    }

    /// Chunks of queries: scores, their softmax, and the values that they weight.
    fn attention(&mut self, step: usize, [q, k, v]: [usize; 3], scale: f32, output: usize) -> Result<(), PlanError> {
        let storage = self.capabilities.storage;
        let (shape, keys) = (self.shape(q), self.shape(k).pixels());
        let (queries, planes, vectors) = (shape.pixels(), shape.planes(), keys.div_ceil(LANES));
        let of_query = vectors as u64 * Storage::F32.bytes();
        let most = (self.capabilities.scratch / of_query.max(1)).min(queries as u64) as usize;
        let of_tiles = QUERIES.into_iter().map(|tile| most / tile * tile).find(|&chunk| chunk > 0);
        let chunk = if most == queries { queries } else { of_tiles.unwrap_or(QUERIES[2]).min(queries) };
        let scores = self.scratch("an attention's scores", step, step, of_query.saturating_mul(chunk as u64))?;
        let conv = |weights, input, output, tile| Conv {
            size: 1,
            stride: 1,
            upsample: false,
            tile,
            weights,
            prologue: Prologue::Plain,
            residual: false,
            relu: false,
            input,
            output,
        };
        // As wide for few keys as for many, so that a network takes the same kernels whatever the size of its input.
        let by_keys = self.tiled(step, usize::MAX, |tile| conv(Weights::Keys(storage), storage, Storage::F32, tile))?;
        let by_values = self.tiled(step, planes, |tile| conv(Weights::Values(storage), Storage::F32, storage, tile))?;
        let softmax = self.working(step, &[Kernel::Softmax(Softmax)])?;
        let (keys, planes, pixels) = (keys as u32, planes as u32, queries as u32);
        for first in (0..queries).step_by(chunk) {
            let count = chunk.min(queries - first) as u32;
            let first = first as u32;
            let chunk = [first, count];
            let params = ConvParams::scores(&by_keys, planes, pixels, chunk, keys);
            let of_pixel = shape.channels as u64 * u64::from(keys);
            self.bands(step, by_keys, params, of_pixel, &[q, k, scores].map(Draft::Name));
            let params = SoftmaxParams { keys, queries: count, scale };
            self.push(step, softmax, Softmax::grid(&params), Uniform::new(&params), vec![Draft::Name(scores)], 0);
            let params = ConvParams::sums(&by_values, planes, pixels, chunk, keys);
            self.bands(step, by_values, params, of_pixel, &[scores, v, output].map(Draft::Name));
        }
        Ok(())
    }

    /// Gives slots.
    fn finish(self, step_macs: Vec<u64>) -> Result<Plan, PlanError> {
        let (of, slots) = colour(&self.arrays);
        let memory: u64 = slots.iter().fold(0, |sum, &bytes| sum.saturating_add(bytes));
        if memory > self.capabilities.memory {
            let limit = format!("there are {} bytes", self.capabilities.memory);
            return Err(PlanError::TooLarge { what: "everything that is held at once".into(), bytes: memory, limit });
        }
        let array = |draft: Draft| match draft {
            Draft::Name(name) => Array::Slot { slot: of[name], bytes: self.arrays[name].bytes },
            Draft::Constant(constant) => Array::Constant(constant),
        };
        let most = self.capabilities.max_groups;
        if let Some((dispatch, _)) = self.drafts.iter().find(|(dispatch, _)| dispatch.grid.iter().any(|&n| n > most)) {
            let step = &self.network.steps.steps[dispatch.step].name;
            let limit = format!("this device takes {most} along an axis");
            let what = format!("a grid of {:?} workgroups for {step}", dispatch.grid);
            return Err(PlanError::TooLarge { what, bytes: memory, limit });
        }
        let dispatches = self.drafts.into_iter().map(|(dispatch, arrays)| {
            let arrays = arrays.into_iter().map(array).collect();
            Dispatch { arrays, ..dispatch }
        });
        let watched = |norm: &Option<Norm>| {
            norm.map(|norm| Watched {
                found: of[norm.pieces],
                params: norm.found,
                given: norm.given.map(|name| of[name]),
            })
        };
        let watched = if self.piece.is_some() { self.norms.iter().filter_map(watched).collect() } else { Vec::new() };
        let place = |value: usize| Place { slot: of[value], shape: self.shapes[value].unwrap_or(Shape::new(0, 0, 0)) };
        Ok(Plan {
            dispatches: dispatches.collect(),
            input: place(0),
            output: place(self.network.steps.output),
            slots,
            storage: self.capabilities.storage,
            step_macs,
            watched,
        })
    }
}

/// The largest multiple of `tile` that is at most `count`, but at least one tile and at most `groups` of them.
fn whole(count: u64, tile: u32, groups: u32) -> u32 {
    let tiles = (count / u64::from(tile)).clamp(1, u64::from(groups.min(u32::MAX / tile)));
    tiles as u32 * tile
}
