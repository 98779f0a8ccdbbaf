//! A function of each value, for the few places where no convolution does it.

use vaekit_onnx::ops::Function;

use super::text::{self, Arrays, Elements};
use super::{Prologue, apply, relu};
use crate::layout::{LANES, Storage};

/// Threads of a workgroup.
const THREADS: u32 = 64;

/// `function(prologue(x)) + residual`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// The function.
    pub function: Function,
    /// On the input as it is read.
    pub prologue: Prologue,
    /// Whether an image of the same shape is added.
    pub residual: bool,
    /// Of every image.
    pub storage: Storage,
}

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct MapParams {
    /// Pixels of a plane.
    pub pixels: u32,
    /// Planes.
    pub planes: u32,
    /// Workgroups along the first axis of the grid, which is folded into two.
    pub across: u32,
}

impl MapParams {
    /// For an image of this size where a grid has at most `max_groups` workgroups along an axis.
    pub fn new(pixels: u32, planes: u32, max_groups: u32) -> Self {
        MapParams { pixels, planes, across: pixels.div_ceil(THREADS).min(max_groups) }
    }
}

impl Map {
    /// Workgroups of a dispatch.
    pub fn grid(params: &MapParams) -> [u32; 3] {
        [params.across, params.pixels.div_ceil(THREADS).div_ceil(params.across.max(1)), params.planes]
    }

    fn arrays(&self) -> Arrays {
        let image = Elements::Vectors(self.storage);
        let mut arrays = vec![("input", image)];
        if self.prologue != Prologue::Plain {
            arrays.push(("scales", Elements::Vectors(Storage::F32)));
        }
        if self.residual {
            arrays.push(("residual", image));
        }
        arrays.push(("output", image));
        arrays
    }

    pub(super) fn bindings(&self) -> Vec<Storage> {
        text::storages(&self.arrays())
    }

    pub(super) fn wgsl(&self) -> String {
        let prologue = text::prologue(self.prologue, "id.z");
        let function = match self.function {
            Function::Identity => "",
            Function::Relu => "x = relu(x);",
            // Beyond 10 it is 1 in f32, and some devices overflow.
            Function::Tanh => "x = select(tanh(clamp(x, vec4<f32>(-10.0), vec4<f32>(10.0))), x, is_nan(x));",
        };
        let residual = if self.residual { "x += load_residual(at);" } else { "" };
        text::head(&["pixels", "planes", "across"], &self.arrays())
            + &format!(
                "@compute @workgroup_size({THREADS})\n\
                 fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
                 \x20 let pixel = id.y * p.across * {THREADS}u + id.x;\n\
                 \x20 if (pixel >= p.pixels) {{ return; }}\n\
                 \x20 let at = id.z * p.pixels + pixel;\n  var x = load_input(at);\n\
                 \x20 {prologue}\n  {function}\n  {residual}\n  store_output(at, x);\n}}\n"
            )
    }

    pub(super) fn twin(&self, p: &MapParams, arrays: &[&[f32]], out: &mut [f32]) {
        let scales = if self.prologue == Prologue::Plain { &[] } else { arrays[1] };
        let residual = if self.residual { arrays.last().copied() } else { None };
        for (i, &x) in arrays[0][..(p.pixels * p.planes) as usize * LANES].iter().enumerate() {
            let channel = i / LANES / p.pixels as usize * LANES + i % LANES;
            let x = apply(self.prologue, scales, p.planes as usize, channel, x);
            let y = match self.function {
                Function::Identity => x,
                Function::Relu => relu(x),
                Function::Tanh => x.tanh(),
            };
            out[i] = self.storage.round(y + residual.map_or(0.0, |residual| residual[i]));
        }
    }
}
