//! Convolutions with register tiles: each thread keeps four pixels of up to four vectors of channels.
//!
//! A workgroup stages a tile of the input, with the pixels around it, and the weights of its output channels in workgroup
//! memory, a few vectors of input channels at a time. A product of matrices is a convolution of one tap, whose weights may
//! be an image themselves (an attention's keys or values); batches are what Winograd's points and an enlargement's four
//! parities are. Accumulators are named variables: an indexed array is kept in memory by some compilers.

use super::{Prologue, apply, text};
use crate::layout::{LANES, Shape, Storage};

/// A convolution's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Taps along a side.
    pub size: u32,
    /// Input pixels from one output to the next.
    pub stride: u32,
    /// Whether batches are the four parities of an output twice as large, see [`fold_upsample`](super::fold_upsample).
    pub upsample: bool,
    /// How a workgroup shares the work.
    pub tile: Tile,
    /// What the weights are.
    pub weights: Weights,
    /// On the input as it is read.
    pub prologue: Prologue,
    /// Whether an image of the output's shape is added.
    pub residual: bool,
    /// Whether negative values become 0 at the end.
    pub relu: bool,
    /// Of the input.
    pub input: Storage,
    /// Of the output and what is added to it.
    pub output: Storage,
}

/// What a convolution's weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    /// Biases, then weights, see [`pack_weights`](super::pack_weights); in f32.
    Packed,
    /// As packed, without biases: of Winograd's points.
    Points,
    /// An image whose pixels are the output's channels: `out[j] = sum over c of in[c] w[c][j]`.
    Keys(Storage),
    /// An image whose pixels are the input's channels: `out[c] = sum over j of in[j] w[c][j]`.
    Values(Storage),
}

/// How a workgroup shares the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 64 pixels by 64 channels.
    Wide,
    /// 128 pixels by 32 channels.
    Medium,
    /// 256 pixels by 16 channels.
    Slim,
    /// 256 pixels by 4 channels.
    Narrow,
    /// 64 pixels by 4 channels without workgroup memory: slow, and as simple as a kernel can be.
    Plain,
}

/// A tile in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileSize {
    /// Output pixels across.
    pub width: u32,
    /// Output pixels down.
    pub height: u32,
    /// Output pixels of a thread, side by side.
    pub pixels: u32,
    /// Output vectors of a thread.
    pub vectors: u32,
    /// Threads side by side along the channels.
    pub columns: u32,
    /// Input vectors that are staged together.
    pub depth: u32,
}

impl TileSize {
    /// Threads of a workgroup.
    pub fn threads(self) -> u32 {
        self.width / self.pixels * self.height * self.columns
    }

    /// Output vectors of a workgroup.
    pub fn planes(self) -> u32 {
        self.vectors * self.columns
    }
}

/// Sizes, strides in vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct ConvParams {
    /// The input's planes.
    pub planes: u32,
    /// The input's width, also from one row to the next.
    pub in_width: u32,
    /// The input's height.
    pub in_height: u32,
    /// Where the input begins.
    pub in_first: u32,
    /// From one plane of the input to the next.
    pub in_plane: u32,
    /// From one batch of the input to the next.
    pub in_batch: u32,
    /// Rows of zeros above the input.
    pub before: u32,
    /// Columns of outputs.
    pub out_width: u32,
    /// The first row of outputs.
    pub row: u32,
    /// The row after the last.
    pub rows_end: u32,
    /// The output's planes.
    pub out_planes: u32,
    /// Where the output begins.
    pub out_first: u32,
    /// From one row of outputs to the next.
    pub out_row: u32,
    /// From one plane of the output to the next.
    pub out_plane: u32,
    /// From one batch of the output to the next.
    pub out_batch: u32,
    /// Where the weights begin.
    pub weight_first: u32,
    /// From one output vector's weights to the next.
    pub weight_out: u32,
    /// From one input vector's weights to the next.
    pub weight_in: u32,
    /// From one batch's weights to the next.
    pub weight_batch: u32,
    /// Pixels of the image that the weights are, if they are.
    pub weight_pixels: u32,
    /// Workgroups along the channels of one batch.
    pub columns: u32,
}

impl ConvParams {
    /// Of a convolution with packed weights from an image to another, whose sides it does not check; `before` rows of zeros
    /// lie above, columns to the left.
    pub fn packed(conv: &Conv, from: Shape, to: Shape, before: usize) -> Self {
        let (planes, out_planes, lanes) =
            (from.planes() as u32, to.planes() as u32, conv.size * conv.size * LANES as u32);
        let outputs = if conv.upsample { from } else { to };
        ConvParams {
            planes,
            in_width: from.width as u32,
            in_height: from.height as u32,
            in_plane: from.pixels() as u32,
            before: before as u32,
            out_width: outputs.width as u32,
            rows_end: outputs.height as u32,
            out_planes,
            out_row: to.width as u32,
            out_plane: to.pixels() as u32,
            weight_first: out_planes,
            weight_in: lanes,
            weight_out: planes * lanes,
            weight_batch: out_planes * planes * lanes,
            columns: out_planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of an attention's scores: `count` queries from `first` on, of images of `planes`, with all keys.
    pub fn scores(conv: &Conv, planes: u32, queries: u32, [first, count]: [u32; 2], keys: u32) -> Self {
        let vectors = keys.div_ceil(LANES as u32);
        ConvParams {
            planes,
            in_width: count,
            in_height: 1,
            in_first: first,
            in_plane: queries,
            out_width: count,
            rows_end: 1,
            out_planes: vectors,
            out_plane: count,
            weight_out: LANES as u32,
            weight_in: keys,
            weight_pixels: keys,
            columns: vectors.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of Winograd's products: for each of 36 points, `tiles` vectors of each of the planes.
    pub fn points(conv: &Conv, planes: u32, out_planes: u32, tiles: u32) -> Self {
        ConvParams {
            planes,
            in_width: tiles,
            in_height: 1,
            in_plane: tiles,
            in_batch: planes * tiles,
            out_width: tiles,
            rows_end: 1,
            out_planes,
            out_plane: tiles,
            out_batch: out_planes * tiles,
            weight_in: LANES as u32,
            weight_out: planes * LANES as u32,
            weight_batch: out_planes * planes * LANES as u32,
            columns: out_planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }

    /// Of the sums of values that those queries' weights give.
    pub fn sums(conv: &Conv, planes: u32, queries: u32, [first, count]: [u32; 2], keys: u32) -> Self {
        ConvParams {
            planes: keys.div_ceil(LANES as u32),
            in_width: count,
            in_height: 1,
            in_plane: count,
            out_width: count,
            rows_end: 1,
            out_planes: planes,
            out_first: first,
            out_plane: queries,
            weight_out: keys,
            weight_in: LANES as u32,
            weight_pixels: keys,
            columns: planes.div_ceil(conv.tile_size().planes()),
            ..ConvParams::default()
        }
    }
}

const PARAMS: &[&str] = &[
    "planes",
    "in_width",
    "in_height",
    "in_first",
    "in_plane",
    "in_batch",
    "before",
    "out_width",
    "row",
    "rows_end",
    "out_planes",
    "out_first",
    "out_row",
    "out_plane",
    "out_batch",
    "weight_first",
    "weight_out",
    "weight_in",
    "weight_batch",
    "weight_pixels",
    "columns",
];

impl Conv {
    /// For people.
    pub(super) fn name(&self) -> &'static str {
        match (self.weights, self.size, self.upsample, self.stride) {
            (Weights::Keys(_) | Weights::Values(_), ..) => "product",
            (Weights::Points, ..) => "product of points",
            (Weights::Packed, _, true, _) => "upsample 2x and conv 3x3",
            (Weights::Packed, 1, ..) => "conv 1x1",
            (Weights::Packed, _, _, 1) => "conv 3x3",
            (Weights::Packed, ..) => "conv 3x3 stride 2",
        }
    }

    /// The tile in numbers.
    pub fn tile_size(&self) -> TileSize {
        let tile = |width, height, vectors, columns| {
            // One tap does not need its neighbours: rows of pixels are one row, and more planes fit.
            let depth = if self.size == 1 { 4 } else { 1 };
            let (width, height) = if self.size == 1 { (width * height, 1) } else { (width, height) };
            TileSize { width, height, pixels: 4, vectors, columns, depth }
        };
        match self.tile {
            Tile::Wide => tile(8, 8, 4, 4),
            Tile::Medium => tile(8, 16, 4, 2),
            Tile::Slim => tile(16, 16, 4, 1),
            Tile::Narrow => tile(16, 16, 1, 1),
            Tile::Plain if self.size == 1 => {
                TileSize { width: 64, height: 1, pixels: 1, vectors: 1, columns: 1, depth: 1 }
            }
            Tile::Plain => TileSize { width: 8, height: 8, pixels: 1, vectors: 1, columns: 1, depth: 1 },
        }
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        if self.tile == Tile::Plain {
            return 0;
        }
        let (across, down) = self.staged();
        let tile = self.tile_size();
        let vectors = across * down + self.size * self.size * tile.planes() * LANES as u32;
        vectors * tile.depth * 16
    }

    /// Input pixels of a tile, across and down.
    fn staged(&self) -> (u32, u32) {
        let tile = self.tile_size();
        ((tile.width - 1) * self.stride + self.size, (tile.height - 1) * self.stride + self.size)
    }

    /// Workgroups of a dispatch of so many batches.
    pub fn grid(&self, params: &ConvParams, batches: u32) -> [u32; 3] {
        let tile = self.tile_size();
        let rows = params.rows_end.saturating_sub(params.row);
        [params.out_width.div_ceil(tile.width), rows.div_ceil(tile.height), params.columns * batches]
    }

    fn arrays(&self) -> Vec<(&'static str, Storage)> {
        let weights = match self.weights {
            Weights::Packed | Weights::Points => Storage::F32,
            Weights::Keys(storage) | Weights::Values(storage) => storage,
        };
        let mut arrays = vec![("input", self.input), ("weights", weights)];
        if self.prologue != Prologue::Plain {
            arrays.push(("scales", Storage::F32));
        }
        if self.residual {
            arrays.push(("residual", self.output));
        }
        arrays.push(("output", self.output));
        arrays
    }

    pub(super) fn bindings(&self) -> Vec<Storage> {
        self.arrays().into_iter().map(|(_, storage)| storage).collect()
    }

    pub(super) fn wgsl(&self) -> String {
        let mut text = text::head(PARAMS, &self.arrays());
        text += &self.weight();
        text += &self.pixel();
        text += &self.write();
        text += &if self.tile == Tile::Plain { self.plain() } else { self.tiled() };
        text
    }

    /// A function that gives the weights of a lane of the input for four outputs, zero beyond the end.
    fn weight(&self) -> String {
        let index = "p.weight_first + batch * p.weight_batch + out * p.weight_out + inner * p.weight_in + lane";
        let inside = match self.weights {
            Weights::Packed | Weights::Points => "out < p.out_planes && inner < p.planes",
            Weights::Keys(_) => "inner < p.planes && out * 4u + lane < p.weight_pixels",
            Weights::Values(_) => "out < p.out_planes && inner * 4u + lane < p.weight_pixels",
        };
        format!(
            "fn weight(batch: u32, out: u32, inner: u32, lane: u32) -> vec4<f32> {{\n\
             \x20 if ({inside}) {{ return load_weights({index}); }}\n  return vec4<f32>();\n}}\n"
        )
    }

    /// A function that gives a pixel of the input with the prologue done, zero outside.
    fn pixel(&self) -> String {
        let prologue = text::prologue(self.prologue, "plane");
        format!(
            "fn pixel(batch: u32, plane: u32, row: i32, column: i32) -> vec4<f32> {{\n\
             \x20 if (plane >= p.planes || row < 0 || row >= i32(p.in_height) || column < 0 || column >= i32(p.in_width)) {{\n\
             \x20   return vec4<f32>();\n  }}\n\
             \x20 let first = p.in_first + batch * p.in_batch;\n\
             \x20 var x = load_input(first + plane * p.in_plane + u32(row) * p.in_width + u32(column));\n\
             \x20 {prologue}\n  return x;\n}}\n"
        )
    }

    /// A function that finishes an output and writes it.
    fn write(&self) -> String {
        let at = if self.upsample {
            "p.out_first + out * p.out_plane + (2u * row + batch / 2u) * p.out_row + 2u * column + batch % 2u"
        } else {
            "p.out_first + batch * p.out_batch + out * p.out_plane + row * p.out_row + column"
        };
        let mut finish = String::new();
        if self.weights == Weights::Packed {
            finish += "  x += load_weights(out);\n";
        }
        if self.residual {
            finish += "  x += load_residual(at);\n";
        }
        if self.relu {
            finish += "  x = max(x, vec4<f32>());\n";
        }
        format!(
            "fn write(batch: u32, out: u32, row: u32, column: u32, sum: vec4<f32>) {{\n\
             \x20 if (out >= p.out_planes || row >= p.rows_end || column >= p.out_width) {{ return; }}\n\
             \x20 let at = {at};\n  var x = sum;\n{finish}  store_output(at, x);\n}}\n"
        )
    }

    /// The four weights of a vector and a vector, multiplied.
    fn multiply(&self, weights: &str, vector: &str) -> String {
        match self.weights {
            // A pixel of the keys holds the inputs' lanes, else the outputs'.
            Weights::Keys(_) => format!("{vector} * {weights}"),
            _ => format!("{weights} * {vector}"),
        }
    }

    /// How far the input lies before the output's place, as two WGSL expressions: rows and columns.
    fn before(&self) -> [&'static str; 2] {
        if self.upsample { ["1 - i32(batch / 2u)", "1 - i32(batch % 2u)"] } else { ["i32(p.before)", "i32(p.before)"] }
    }

    fn plain(&self) -> String {
        let TileSize { width, height, .. } = self.tile_size();
        let (size, taps, stride) = (self.size, self.size * self.size, self.stride);
        let [above, left] = self.before();
        let product = self.multiply("w", "x");
        format!(
            "@compute @workgroup_size({width}, {height})\n\
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             \x20 let batch = id.z / p.columns;\n  let out = id.z % p.columns;\n\
             \x20 let row = p.row + id.y;\n  let column = id.x;\n\
             \x20 let top = i32(row * {stride}u) - ({above});\n  let start = i32(column * {stride}u) - ({left});\n\
             \x20 var sum = vec4<f32>();\n\
             \x20 for (var plane = 0u; plane < p.planes; plane++) {{\n\
             \x20   for (var tap = 0u; tap < {taps}u; tap++) {{\n\
             \x20     let x = pixel(batch, plane, top + i32(tap / {size}u), start + i32(tap % {size}u));\n\
             \x20     let lane = tap * 4u;\n\
             \x20     let w = mat4x4<f32>(weight(batch, out, plane, lane), weight(batch, out, plane, lane + 1u),\n\
             \x20       weight(batch, out, plane, lane + 2u), weight(batch, out, plane, lane + 3u));\n\
             \x20     sum += {product};\n    }}\n  }}\n\
             \x20 write(batch, out, row, column, sum);\n}}\n"
        )
    }

    fn tiled(&self) -> String {
        let TileSize { width, height, pixels, vectors, depth, .. } = self.tile_size();
        let (across, down) = self.staged();
        let (threads, planes) = (self.tile_size().threads(), self.tile_size().planes());
        let (size, taps, stride) = (self.size, self.size * self.size, self.stride);
        let (staged, lanes) = (across * down, taps * 4);
        let (all_pixels, all_weights) = (depth * staged, depth * planes * lanes);
        let [above, left] = self.before();
        let across_threads = width / pixels;
        // Pixels of a thread lie side by side where taps share them, else apart, so that threads side by side read and write
        // what lies side by side.
        let (apart, together) = if size == 1 { (across_threads, 1) } else { (1, pixels) };

        let mut sums = String::new();
        let mut writes = String::new();
        for (pixel, vector) in (0..pixels).flat_map(|pixel| (0..vectors).map(move |vector| (pixel, vector))) {
            sums += &format!("  var s{pixel}_{vector} = vec4<f32>();\n");
            writes +=
                &format!("  write(batch, out + {vector}u, row, column + {}u, s{pixel}_{vector});\n", pixel * apart);
        }
        let mut row = String::new();
        let columns = (0..(pixels - 1) * stride + size).filter(|column| size > 1 || column % stride == 0);
        for column in columns {
            row += &format!("        let x{column} = tile[near + {}u];\n", column * apart);
        }
        for tap in 0..size {
            for vector in 0..vectors {
                let at = format!("at + {}u", tap * planes * 4 + vector * 4);
                row += &format!(
                    "        let w{tap}_{vector} = mat4x4<f32>(taps[{at}], taps[{at} + 1u], taps[{at} + 2u], taps[{at} + 3u]);\n"
                );
                for pixel in 0..pixels {
                    let product = self.multiply(&format!("w{tap}_{vector}"), &format!("x{}", pixel * stride + tap));
                    row += &format!("        s{pixel}_{vector} += {product};\n");
                }
            }
        }
        format!(
            "var<workgroup> tile: array<vec4<f32>, {all_pixels}>;\n\
             var<workgroup> taps: array<vec4<f32>, {all_weights}>;\n\
             @compute @workgroup_size({threads})\n\
             fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {{\n\
             \x20 let batch = group.z / p.columns;\n  let first = group.z % p.columns * {planes}u;\n\
             \x20 let top = i32((p.row + group.y * {height}u) * {stride}u) - ({above});\n\
             \x20 let start = i32(group.x * {width}u * {stride}u) - ({left});\n\
             \x20 let dx = local % {across_threads}u * {together}u;\n\
             \x20 let dy = local / {across_threads}u % {height}u;\n\
             \x20 let dv = local / {across_threads}u / {height}u * {vectors}u;\n\
             {sums}\
             \x20 for (var plane = 0u; plane < p.planes; plane += {depth}u) {{\n\
             \x20   workgroupBarrier();\n\
             \x20   for (var i = local; i < {all_pixels}u; i += {threads}u) {{\n\
             \x20     let at = i % {staged}u;\n\
             \x20     tile[i] = pixel(batch, plane + i / {staged}u, top + i32(at / {across}u), start + i32(at % {across}u));\n\
             \x20   }}\n\
             \x20   for (var i = local; i < {all_weights}u; i += {threads}u) {{\n\
             \x20     let lane = i % {lanes}u;\n      let out = i / {lanes}u % {planes}u;\n      let d = i / {lanes}u / {planes}u;\n\
             \x20     taps[((d * {taps}u + lane / 4u) * {planes}u + out) * 4u + lane % 4u] = weight(batch, first + out, plane + d, lane);\n\
             \x20   }}\n\
             \x20   workgroupBarrier();\n\
             \x20   for (var d = 0u; d < {depth}u; d++) {{\n\
             \x20     for (var tap = 0u; tap < {size}u; tap++) {{\n\
             \x20       let near = d * {staged}u + (dy * {stride}u + tap) * {across}u + dx * {stride}u;\n\
             \x20       let at = ((d * {taps}u + tap * {size}u) * {planes}u + dv) * 4u;\n\
             {row}\
             \x20     }}\n    }}\n  }}\n\
             \x20 let out = first + dv;\n  let row = p.row + group.y * {height}u + dy;\n  let column = group.x * {width}u + dx;\n\
             {writes}}}\n"
        )
    }

    /// `grid` counts batches only: a twin computes all of the rows.
    pub(super) fn twin(&self, p: &ConvParams, arrays: &[&[f32]], out: &mut [f32]) {
        let mut arrays = arrays.iter().copied();
        let mut next = |is_there: bool| if is_there { arrays.next().unwrap_or_default() } else { &[] };
        let (input, weights) = (next(true), next(true));
        let (scales, residual) = (next(self.prologue != Prologue::Plain), next(self.residual));
        let weight = |batch: u32, to: usize, from: usize, tap: u32| {
            let at = |plane: usize, other: usize, lane: usize| {
                let (out, inner) = (plane as u32 * p.weight_out, other as u32 * p.weight_in);
                let vector = p.weight_first + batch * p.weight_batch + out + inner + lane as u32;
                vector as usize * LANES
            };
            let pixel = |pixel: usize| pixel < p.weight_pixels as usize;
            match self.weights {
                Weights::Packed | Weights::Points => {
                    weights[at(to / LANES, from / LANES, tap as usize * LANES + from % LANES) + to % LANES]
                }
                Weights::Keys(_) if pixel(to) => weights[at(to / LANES, from / LANES, to % LANES) + from % LANES],
                Weights::Values(_) if pixel(from) => weights[at(to / LANES, from / LANES, from % LANES) + to % LANES],
                Weights::Keys(_) | Weights::Values(_) => 0.0,
            }
        };
        let batches = if self.upsample { 4 } else { self.batches(p) };
        let outputs = (0..batches).flat_map(|batch| {
            let channels = 0..p.out_planes as usize * LANES;
            channels.flat_map(move |to| {
                (p.row..p.rows_end).flat_map(move |row| (0..p.out_width).map(move |column| (batch, to, row, column)))
            })
        });
        for (batch, to, row, column) in outputs {
            let (above, left) = if self.upsample { (1 - batch / 2, 1 - batch % 2) } else { (p.before, p.before) };
            let mut sum = 0.0;
            for tap in 0..self.size * self.size {
                let (y, x) = (row * self.stride + tap / self.size, column * self.stride + tap % self.size);
                let (Some(y), Some(x)) = (y.checked_sub(above), x.checked_sub(left)) else { continue };
                if y >= p.in_height || x >= p.in_width {
                    continue;
                }
                for from in 0..p.planes as usize * LANES {
                    let plane = (from / LANES) as u32 * p.in_plane;
                    let vector = p.in_first + batch * p.in_batch + plane + y * p.in_width + x;
                    let value = input[vector as usize * LANES + from % LANES];
                    let value = apply(self.prologue, scales, p.planes as usize, from, value);
                    sum += weight(batch, to, from, tap) * value;
                }
            }
            let plane = p.out_first + (to / LANES) as u32 * p.out_plane;
            let vector = if self.upsample {
                plane + (2 * row + batch / 2) * p.out_row + 2 * column + batch % 2
            } else {
                plane + batch * p.out_batch + row * p.out_row + column
            };
            let at = vector as usize * LANES + to % LANES;
            if self.weights == Weights::Packed {
                sum += weights[to];
            }
            if self.residual {
                sum += residual[at];
            }
            out[at] = self.output.round(if self.relu { sum.max(0.0) } else { sum });
        }
    }

    /// Winograd's batches are the 36 points of a tile.
    fn batches(&self, p: &ConvParams) -> u32 {
        if p.in_batch > 0 { 36 } else { 1 }
    }
}
