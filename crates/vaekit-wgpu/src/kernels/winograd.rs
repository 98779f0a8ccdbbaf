//! 3x3 convolutions by Winograd's F(4, 3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016): a
//! tile of 4 by 4 outputs takes 36 products a channel instead of 144.
//!
//! Four kernels: [`Filters`] transforms the weights, [`Inputs`] a band of tiles, the products of the 36 points are
//! [`Conv`](super::Conv)s, and [`Outputs`] transforms back and finishes. All of what is transformed is f32. The points are 0,
//! ±5/8, ±3/2 and infinity, which lose least (as in `vaekit-kernels`).

use super::text::{self, Arrays, Elements};
use super::{Prologue, apply, relu};
use crate::layout::{LANES, Shape, Storage};

/// Threads of a workgroup.
const THREADS: u32 = 64;
/// Outputs along a tile's side.
pub const TILE: usize = 4;
/// Points along a tile's side.
const SIDE: usize = 6;
/// Points of a tile.
pub const POINTS: usize = SIDE * SIDE;
/// The finite ones.
const FINITE: [f64; 5] = [0.0, 0.625, -0.625, 1.5, -1.5];

/// The coefficients of the product of `x - point`, from the constant on.
fn polynomial(points: impl Iterator<Item = f64>) -> [f64; SIDE] {
    let mut product = [0.0; SIDE];
    product[0] = 1.0;
    for point in points {
        for i in (0..SIDE).rev() {
            product[i] = if i > 0 { product[i - 1] } else { 0.0 } - point * product[i];
        }
    }
    product
}

/// `B^T`: of an input tile's rows and columns.
fn input_matrix() -> [[f64; SIDE]; SIDE] {
    std::array::from_fn(|point| {
        let others = FINITE.iter().enumerate().filter(|&(i, _)| i != point);
        polynomial(others.map(|(_, &other)| other))
    })
}

/// `G`: of a filter's rows and columns.
fn filter_matrix() -> [[f64; 3]; SIDE] {
    std::array::from_fn(|point| {
        let Some(&x) = FINITE.get(point) else { return [0.0, 0.0, 1.0] };
        let others = FINITE.iter().enumerate().filter(|&(i, _)| i != point);
        let n: f64 = others.map(|(_, other)| x - other).product();
        [1.0 / n, x / n, x * x / n]
    })
}

/// `A^T`: of an output tile's rows and columns.
fn output_matrix() -> [[f64; SIDE]; TILE] {
    std::array::from_fn(|row| {
        std::array::from_fn(|point| match FINITE.get(point) {
            Some(x) => x.powi(row as i32),
            None => f64::from(u8::from(row + 1 == TILE)),
        })
    })
}

/// The sum of `factor * name(i)` over factors that are not 0, in WGSL.
fn sum(factors: &[f64], name: impl Fn(usize) -> String) -> String {
    let terms = factors.iter().enumerate().filter(|(_, factor)| **factor != 0.0).map(|(i, &factor)| match factor {
        1.0 => name(i),
        _ => format!("{:?} * {}", factor as f32, name(i)),
    });
    terms.collect::<Vec<String>>().join(" + ")
}

/// Packed weights of a 3x3 convolution to those of 36 points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Filters;

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct FiltersParams {
    /// The output's planes, which is how many vectors of biases come first.
    pub out_planes: u32,
    /// Vectors of a point: output planes by inputs' lanes.
    pub vectors: u32,
    /// Workgroups along the first axis of the grid, which is folded into two.
    pub across: u32,
}

impl FiltersParams {
    /// For so many planes in and out.
    pub fn new(planes: u32, out_planes: u32, max_groups: u32) -> Self {
        let vectors = planes * out_planes * LANES as u32;
        FiltersParams { out_planes, vectors, across: vectors.div_ceil(THREADS).min(max_groups) }
    }
}

impl Filters {
    /// Workgroups of a dispatch.
    pub fn grid(params: &FiltersParams) -> [u32; 3] {
        [params.across, params.vectors.div_ceil(THREADS).div_ceil(params.across.max(1)), 1]
    }

    pub(super) fn bindings(self) -> Vec<Storage> {
        vec![Storage::F32; 2]
    }

    pub(super) fn wgsl(self) -> String {
        let g = filter_matrix();
        let arrays = ["weights", "points"].map(|name| (name, Elements::Vectors(Storage::F32)));
        let mut text = text::head(&["out_planes", "vectors", "across"], &arrays);
        text += &format!(
            "@compute @workgroup_size({THREADS})\nfn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             \x20 let i = id.y * p.across * {THREADS}u + id.x;\n  if (i >= p.vectors) {{ return; }}\n\
             \x20 let first = p.out_planes + i / 4u * 36u + i % 4u;\n"
        );
        for tap in 0..9 {
            text += &format!("  let w{tap} = load_weights(first + {}u);\n", tap * LANES);
        }
        for (row, factors) in g.iter().enumerate() {
            for column in 0..3 {
                let column_sum = sum(factors, |tap| format!("w{}", tap * 3 + column));
                text += &format!("  let r{row}_{column} = {column_sum};\n");
            }
            for (column, factors) in g.iter().enumerate() {
                let point = row * SIDE + column;
                let both = sum(factors, |tap| format!("r{row}_{tap}"));
                text += &format!("  store_points({point}u * p.vectors + i, {both});\n");
            }
        }
        text + "}\n"
    }

    pub(super) fn twin(self, p: &FiltersParams, arrays: &[&[f32]], out: &mut [f32]) {
        let g = filter_matrix();
        for i in 0..p.vectors as usize * LANES {
            let (vector, lane) = (i / LANES, i % LANES);
            let first = p.out_planes as usize + vector / LANES * 36 + vector % LANES;
            let tap = |tap: usize| f64::from(arrays[0][(first + tap * LANES) * LANES + lane]);
            for point in 0..POINTS {
                let taps = (0..9).map(|t| g[point / SIDE][t / 3] * g[point % SIDE][t % 3] * tap(t));
                out[(point * p.vectors as usize + vector) * LANES + lane] = taps.sum::<f64>() as f32;
            }
        }
    }
}

/// Tiles of an image, and what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct TilesParams {
    /// Planes of the image.
    pub planes: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
    /// Tiles side by side.
    pub across: u32,
    /// The first row of tiles.
    pub row: u32,
    /// Tiles of the band.
    pub tiles: u32,
}

impl TilesParams {
    /// So many rows of tiles of an image, from `row` on.
    pub fn new(shape: Shape, row: u32, rows: u32) -> Self {
        let across = shape.width.div_ceil(TILE) as u32;
        let (width, height) = (shape.width as u32, shape.height as u32);
        TilesParams { planes: shape.planes() as u32, width, height, across, row, tiles: rows * across }
    }
}

const TILES_PARAMS: &[&str] = &["planes", "width", "height", "across", "row", "tiles"];

/// A band of tiles to their points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inputs {
    /// On the image as it is read.
    pub prologue: Prologue,
    /// Of the image.
    pub input: Storage,
}

impl Inputs {
    /// Workgroups of a dispatch: a thread for each lane of each tile.
    pub fn grid(params: &TilesParams) -> [u32; 3] {
        [(params.tiles * LANES as u32).div_ceil(THREADS), params.planes, 1]
    }

    fn arrays(self) -> Arrays {
        let mut arrays = vec![("input", Elements::Vectors(self.input))];
        if self.prologue != Prologue::Plain {
            arrays.push(("scales", Elements::Vectors(Storage::F32)));
        }
        arrays.push(("points", Elements::Lanes));
        arrays
    }

    pub(super) fn bindings(self) -> Vec<Storage> {
        text::storages(&self.arrays())
    }

    pub(super) fn wgsl(self) -> String {
        let b = input_matrix();
        let mut text = text::head(TILES_PARAMS, &self.arrays());
        let prologue = match self.prologue {
            Prologue::Plain => "",
            Prologue::Affine => "x = x * load_scales(plane)[lane] + load_scales(p.planes + plane)[lane];",
            Prologue::AffineSilu => {
                "x = x * load_scales(plane)[lane] + load_scales(p.planes + plane)[lane]; x = x / (1.0 + exp(-max(x, -80.0)));"
            }
        };
        text += &format!(
            "fn pixel(plane: u32, lane: u32, row: i32, column: i32) -> f32 {{\n\
             \x20 if (row < 0 || row >= i32(p.height) || column < 0 || column >= i32(p.width)) {{ return 0.0; }}\n\
             \x20 var x = load_input((plane * p.height + u32(row)) * p.width + u32(column))[lane];\n\
             \x20 {prologue}\n  return x;\n}}\n\
             @compute @workgroup_size({THREADS})\nfn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             \x20 let tile = id.x / 4u;\n  let lane = id.x % 4u;\n  let plane = id.y;\n\
             \x20 if (tile >= p.tiles) {{ return; }}\n\
             \x20 let top = i32((p.row + tile / p.across) * {TILE}u) - 1;\n\
             \x20 let left = i32(tile % p.across * {TILE}u) - 1;\n\
             \x20 let at = (plane * p.tiles + tile) * 4u + lane;\n  let next = p.planes * p.tiles * 4u;\n"
        );
        for column in 0..SIDE {
            for row in 0..SIDE {
                text += &format!("  let d{row}_{column} = pixel(plane, lane, top + {row}, left + {column});\n");
            }
            for (row, factors) in b.iter().enumerate() {
                text += &format!("  let t{row}_{column} = {};\n", sum(factors, |i| format!("d{i}_{column}")));
            }
        }
        for (row, column) in (0..POINTS).map(|point| (point / SIDE, point % SIDE)) {
            let both = sum(&b[column], |i| format!("t{row}_{i}"));
            text += &format!("  store_points(at + {}u * next, {both});\n", row * SIDE + column);
        }
        text + "}\n"
    }

    pub(super) fn twin(self, p: &TilesParams, arrays: &[&[f32]], out: &mut [f32]) {
        let b = input_matrix();
        let scales = if self.prologue == Prologue::Plain { &[] } else { arrays[1] };
        for (channel, tile) in (0..p.planes as usize * LANES).flat_map(|c| (0..p.tiles).map(move |tile| (c, tile))) {
            let pixel = |row: usize, column: usize| {
                let y = ((p.row + tile / p.across) as usize * TILE + row).checked_sub(1);
                let x = ((tile % p.across) as usize * TILE + column).checked_sub(1);
                let (Some(y), Some(x)) = (y, x) else { return 0.0 };
                if y >= p.height as usize || x >= p.width as usize {
                    return 0.0;
                }
                let at = (channel / LANES * p.height as usize + y) * p.width as usize + x;
                let value = arrays[0][at * LANES + channel % LANES];
                f64::from(apply(self.prologue, scales, p.planes as usize, channel, value))
            };
            for point in 0..POINTS {
                let terms = (0..POINTS).map(|i| {
                    let (row, column) = (i / SIDE, i % SIDE);
                    b[point / SIDE][row] * b[point % SIDE][column] * pixel(row, column)
                });
                let vector = (point * p.planes as usize + channel / LANES) * p.tiles as usize + tile as usize;
                out[vector * LANES + channel % LANES] = terms.sum::<f64>() as f32;
            }
        }
    }
}

/// Points of a band of tiles to outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Outputs {
    /// Whether an image of the output's shape is added.
    pub residual: bool,
    /// Whether negative values become 0 at the end.
    pub relu: bool,
    /// Of the output and what is added to it.
    pub output: Storage,
}

impl Outputs {
    /// Workgroups of a dispatch: a thread for each tile.
    pub fn grid(params: &TilesParams) -> [u32; 3] {
        [params.tiles.div_ceil(THREADS), params.planes, 1]
    }

    fn arrays(self) -> Arrays {
        let (points, image) = (Elements::Vectors(Storage::F32), Elements::Vectors(self.output));
        // Of the weights the biases are read.
        let mut arrays = vec![("points", points), ("weights", points)];
        if self.residual {
            arrays.push(("residual", image));
        }
        arrays.push(("output", image));
        arrays
    }

    pub(super) fn bindings(self) -> Vec<Storage> {
        text::storages(&self.arrays())
    }

    pub(super) fn wgsl(self) -> String {
        let a = output_matrix();
        let residual = if self.residual { "x += load_residual(at);" } else { "" };
        let relu = if self.relu { "x = relu(x);" } else { "" };
        let mut text = text::head(TILES_PARAMS, &self.arrays());
        text += &format!(
            "fn write(plane: u32, row: u32, column: u32, sum: vec4<f32>) {{\n\
             \x20 if (row >= p.height || column >= p.width) {{ return; }}\n\
             \x20 let at = (plane * p.height + row) * p.width + column;\n\
             \x20 var x = sum + load_weights(plane);\n  {residual}\n  {relu}\n  store_output(at, x);\n}}\n\
             @compute @workgroup_size({THREADS})\nfn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             \x20 let tile = id.x;\n  let plane = id.y;\n  if (tile >= p.tiles) {{ return; }}\n\
             \x20 let row = (p.row + tile / p.across) * {TILE}u;\n  let column = tile % p.across * {TILE}u;\n\
             \x20 let first = plane * p.tiles + tile;\n  let next = p.planes * p.tiles;\n"
        );
        for column in 0..SIDE {
            for row in 0..SIDE {
                let point = row * SIDE + column;
                text += &format!("  let m{row}_{column} = load_points(first + {point}u * next);\n");
            }
            for (row, factors) in a.iter().enumerate() {
                text += &format!("  let t{row}_{column} = {};\n", sum(factors, |i| format!("m{i}_{column}")));
            }
        }
        for (row, column) in (0..TILE * TILE).map(|i| (i / TILE, i % TILE)) {
            let both = sum(&a[column], |i| format!("t{row}_{i}"));
            text += &format!("  write(plane, row + {row}u, column + {column}u, {both});\n");
        }
        text + "}\n"
    }

    pub(super) fn twin(self, p: &TilesParams, arrays: &[&[f32]], out: &mut [f32]) {
        let a = output_matrix();
        for (channel, tile) in (0..p.planes as usize * LANES).flat_map(|c| (0..p.tiles).map(move |tile| (c, tile))) {
            let point = |point: usize| {
                let vector = (point * p.planes as usize + channel / LANES) * p.tiles as usize + tile as usize;
                f64::from(arrays[0][vector * LANES + channel % LANES])
            };
            for (row, column) in (0..TILE * TILE).map(|i| (i / TILE, i % TILE)) {
                let y = (p.row + tile / p.across) as usize * TILE + row;
                let x = (tile % p.across) as usize * TILE + column;
                if y >= p.height as usize || x >= p.width as usize {
                    continue;
                }
                let terms = (0..POINTS).map(|i| a[row][i / SIDE] * a[column][i % SIDE] * point(i));
                let at = ((channel / LANES * p.height as usize + y) * p.width as usize + x) * LANES + channel % LANES;
                let sum = terms.sum::<f64>() as f32 + arrays[1][channel];
                let sum = if self.residual { sum + arrays[2][at] } else { sum };
                out[at] = self.output.round(if self.relu { relu(sum) } else { sum });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrices_convolve() {
        let (b, g, a) = (input_matrix(), filter_matrix(), output_matrix());
        let input = [0.3, -1.2, 0.7, 2.0, -0.4, 0.9];
        let filter = [0.5, -0.25, 1.5];
        for (row, factors) in a.iter().enumerate() {
            let point = |i: usize| {
                let filter: f64 = (0..3).map(|j| g[i][j] * filter[j]).sum();
                filter * (0..SIDE).map(|j| b[i][j] * input[j]).sum::<f64>()
            };
            let found: f64 = (0..SIDE).map(|i| factors[i] * point(i)).sum();
            let expected: f64 = (0..3).map(|j| filter[j] * input[row + j]).sum();
            assert!((found - expected).abs() < 1e-12, "output {row}: {found}, expected {expected}");
        }
    }
}
