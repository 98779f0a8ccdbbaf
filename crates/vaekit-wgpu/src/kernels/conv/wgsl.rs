//! A convolution's text.

use super::params::NAMES;
use super::{Conv, Tile, TileSize, Weights};
use crate::kernels::text;

impl Conv {
    pub(in crate::kernels) fn wgsl(&self) -> String {
        let mut text = text::head(NAMES, &self.arrays());
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
            finish += "  x = relu(x);\n";
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
}
