//! What the kernels' texts have in common.

use super::Prologue;
use crate::layout::Storage;

/// The head of a shader: the uniform of these words, and the arrays of `names`, the last of which is written.
///
/// For an array `a` there are functions `load_a(index) -> vec4<f32>` and, for the one that is written, `store_a`.
pub(super) fn head(params: &[&str], arrays: &[(&str, Storage)]) -> String {
    let mut text = String::new();
    if arrays.iter().any(|(_, storage)| *storage == Storage::F16) {
        text += "enable f16;\n";
    }
    text += "struct Params {\n";
    params.iter().for_each(|name| text += &format!("  {name}: u32,\n"));
    text += "}\n@group(0) @binding(0) var<uniform> p: Params;\n";
    for (index, (name, storage)) in arrays.iter().enumerate() {
        let access = if index + 1 == arrays.len() { "read_write" } else { "read" };
        let (element, load, store) = match storage {
            Storage::F32 => ("vec4<f32>", format!("{name}[i]"), "x".to_owned()),
            Storage::F16 => {
                ("vec4<f16>", format!("vec4<f32>({name}[i])"), "vec4<f16>(clamp(x, LEAST, MOST))".to_owned())
            }
            Storage::PackedF16 => (
                "vec2<u32>",
                format!("vec4<f32>(unpack2x16float({name}[i].x), unpack2x16float({name}[i].y))"),
                "pack(x)".to_owned(),
            ),
        };
        let binding = index + 1;
        text += &format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n");
        text += &format!("fn load_{name}(i: u32) -> vec4<f32> {{ return {load}; }}\n");
        if access == "read_write" {
            text += &format!("fn store_{name}(i: u32, x: vec4<f32>) {{ {name}[i] = {store}; }}\n");
        }
    }
    // What f16 cannot hold is indeterminate in WGSL.
    text += "const MOST = vec4<f32>(65504.0);\nconst LEAST = vec4<f32>(-65504.0);\n";
    text += "fn pack(x: vec4<f32>) -> vec2<u32> {\n  let y = clamp(x, LEAST, MOST);\n";
    text += "  return vec2<u32>(pack2x16float(y.xy), pack2x16float(y.zw));\n}\n";
    // A device may take exp's overflow for anything.
    text += "fn silu(x: vec4<f32>) -> vec4<f32> { return x / (1.0 + exp(-max(x, vec4<f32>(-80.0)))); }\n";
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

/// The head of a shader that reads one image, whose sides are in the uniform.
pub(crate) fn image_head(storage: Storage) -> String {
    // What is written is bound by the shader itself, behind the image.
    head(&["width", "height"], &[("image", storage), ("unused", Storage::F32)])
        .lines()
        .filter(|line| !line.contains("unused"))
        .fold(String::new(), |text, line| text + line + "\n")
}
