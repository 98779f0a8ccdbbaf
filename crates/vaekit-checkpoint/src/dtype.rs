//! Element types, and their bytes as f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The type of a tensor's elements, little-endian in every format.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// IEEE half.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
    /// Any other (float8, complex ...), under the name the file has for it.
    Other(String),
}

impl Dtype {
    /// The type that a safetensors header calls `name`.
    pub fn from_safetensors(name: &str) -> Self {
        match name {
            "F64" => Dtype::F64,
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            "I64" => Dtype::I64,
            "I32" => Dtype::I32,
            "I16" => Dtype::I16,
            "I8" => Dtype::I8,
            "U8" => Dtype::U8,
            "BOOL" => Dtype::Bool,
            other => Dtype::Other(other.into()),
        }
    }

    /// The type that is `torch.NAME`.
    pub(crate) fn from_torch(name: &str) -> Self {
        match name {
            "float64" | "double" => Dtype::F64,
            "float32" | "float" => Dtype::F32,
            "float16" | "half" => Dtype::F16,
            "bfloat16" => Dtype::Bf16,
            "int64" | "long" => Dtype::I64,
            "int32" | "int" => Dtype::I32,
            "int16" | "short" => Dtype::I16,
            "int8" => Dtype::I8,
            "uint8" => Dtype::U8,
            "bool" => Dtype::Bool,
            other => Dtype::Other(other.into()),
        }
    }

    /// Bytes of an element, where it is known.
    pub fn size(&self) -> Option<u64> {
        Some(match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::Other(_) => return None,
        })
    }

    /// Whether [`to_f32`](Self::to_f32) takes it: the floating-point types that VAEs are kept in.
    pub fn is_readable(&self) -> bool {
        matches!(self, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::Bf16)
    }

    /// The elements as f32: F16 and BF16 widened, F64 rounded to nearest. `None` if the type is not readable.
    pub fn to_f32(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        Some(match self {
            Dtype::F64 => elements(bytes, f64::from_le_bytes).map(|x| x as f32).collect(),
            Dtype::F32 => elements(bytes, f32::from_le_bytes).collect(),
            Dtype::F16 => elements(bytes, f16::from_le_bytes).collect::<Vec<_>>().to_f32_vec(),
            Dtype::Bf16 => elements(bytes, bf16::from_le_bytes).map(bf16::to_f32).collect(),
            _ => return None,
        })
    }
}

fn elements<'a, const N: usize, T>(bytes: &'a [u8], read: fn([u8; N]) -> T) -> impl Iterator<Item = T> + 'a
where
    T: 'a,
{
    bytes.as_chunks::<N>().0.iter().map(move |&element| read(element))
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F64 => "F64",
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::I64 => "I64",
            Dtype::I32 => "I32",
            Dtype::I16 => "I16",
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            Dtype::Bool => "BOOL",
            Dtype::Other(name) => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_widened_or_rounded() {
        let check = |dtype: Dtype, bytes: &[u8]| assert_eq!(dtype.to_f32(bytes).unwrap(), [1.5, -2.0], "{dtype}");
        check(Dtype::F64, &[1.5f64.to_le_bytes(), (-2f64).to_le_bytes()].concat());
        check(Dtype::F32, &[1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat());
        check(Dtype::F16, &[0x00, 0x3e, 0x00, 0xc0]);
        check(Dtype::Bf16, &[0xc0, 0x3f, 0x00, 0xc0]);
        assert_eq!(Dtype::I64.to_f32(&[0; 8]), None);
    }
}
