//! What the kernels' texts have in common.

use super::Prologue;
use crate::layout::Storage;

/// What an array of a shader holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elements {
    /// Vectors, stored so.
    Vectors(Storage),
    /// Lanes one by one, in f32.
    Lanes,
}

/// The arrays of a shader by name; the last is written.
pub(super) type Arrays = Vec<(&'static str, Elements)>;

/// How arrays are stored.
pub(super) fn storages(arrays: &[(&str, Elements)]) -> Vec<Storage> {
    let storage = |&(_, elements): &(&str, Elements)| match elements {
        Elements::Vectors(storage) => storage,
        Elements::Lanes => Storage::F32,
    };
    arrays.iter().map(storage).collect()
}

/// The head of a shader: the uniform of these words, and the arrays, the last of which is written.
///
/// For an array `a` there are functions `load_a(index)` and, for the one that is written, `store_a(index, x)`, of vectors of
/// four f32, or of one where it holds lanes.
pub(super) fn head(params: &[&str], arrays: &[(&str, Elements)]) -> String {
    let written = arrays.len().checked_sub(1);
    declare(params, arrays, written)
}

/// The head of a shader that reads one image, whose sides are in the uniform; it binds what it writes by itself, behind the
/// image.
pub(crate) fn image_head(storage: Storage) -> String {
    declare(&["width", "height"], &[("image", Elements::Vectors(storage))], None)
}

fn declare(params: &[&str], arrays: &[(&str, Elements)], written: Option<usize>) -> String {
    let mut text = String::new();
    if arrays.iter().any(|(_, elements)| *elements == Elements::Vectors(Storage::F16)) {
        text += "enable f16;\n";
    }
    text += "struct Params {\n";
    params.iter().for_each(|name| text += &format!("  {name}: u32,\n"));
    text += "}\n@group(0) @binding(0) var<uniform> p: Params;\n";
    for (index, (name, elements)) in arrays.iter().enumerate() {
        let access = if written == Some(index) { "read_write" } else { "read" };
        let (value, element, load, store) = match elements {
            Elements::Lanes => ("f32", "f32", format!("{name}[i]"), "x"),
            Elements::Vectors(Storage::F32) => ("vec4<f32>", "vec4<f32>", format!("{name}[i]"), "x"),
            Elements::Vectors(Storage::F16) => {
                let store = "vec4<f16>(select(clamp(x, LEAST, MOST), x, is_nan(x)))";
                ("vec4<f32>", "vec4<f16>", format!("vec4<f32>({name}[i])"), store)
            }
            Elements::Vectors(Storage::PackedF16) => {
                let load = format!("vec4<f32>(unpack2x16float({name}[i].x), unpack2x16float({name}[i].y))");
                ("vec4<f32>", "vec2<u32>", load, "pack(x)")
            }
        };
        let binding = index + 1;
        text += &format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n");
        text += &format!("fn load_{name}(i: u32) -> {value} {{ return {load}; }}\n");
        if access == "read_write" {
            text += &format!("fn store_{name}(i: u32, x: {value}) {{ {name}[i] = {store}; }}\n");
        }
    }
    // What f16 cannot hold is indeterminate in WGSL. NaN is told by its bits, since clamp may make a number of it and a
    // compiler may assume that there is none; packed, its bits are set by integers alone.
    text += "const MOST = vec4<f32>(65504.0);\nconst LEAST = vec4<f32>(-65504.0);\n";
    text += "fn is_nan(x: vec4<f32>) -> vec4<bool> {\n";
    text += "  return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);\n}\n";
    text += "fn pack(x: vec4<f32>) -> vec2<u32> {\n  let y = clamp(x, LEAST, MOST);\n";
    text += "  let n = select(vec4<u32>(), vec4<u32>(0x7e00u, 0x7e000000u, 0x7e00u, 0x7e000000u), is_nan(x));\n";
    text += "  return vec2<u32>(pack2x16float(y.xy) | n.x | n.y, pack2x16float(y.zw) | n.z | n.w);\n}\n";
    // A device may take exp's overflow for anything.
    text += "fn silu(x: vec4<f32>) -> vec4<f32> { return x / (1.0 + exp(-max(x, vec4<f32>(-80.0)))); }\n";
    // Unlike max it keeps NaN.
    text += "fn relu(x: vec4<f32>) -> vec4<f32> { return select(x, vec4<f32>(), x < vec4<f32>()); }\n";
    text
}

/// Statements that do the prologue to a variable `x` of plane `plane`.
pub(super) fn prologue(prologue: Prologue, plane: &str) -> String {
    let affine = format!("x = x * load_scales({plane}) + load_scales(p.planes + {plane});");
    match prologue {
        Prologue::Plain => String::new(),
        Prologue::Affine => affine,
        Prologue::AffineSilu => format!("{affine} x = silu(x);"),
    }
}
