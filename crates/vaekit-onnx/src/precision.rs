//! The number formats of a graph's interior.

use serde::{Deserialize, Serialize};

/// What a graph's weights and activations are. Inputs and outputs are f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    Fp32,
    /// IEEE half precision, with group normalisations in f32.
    Fp16,
}

impl Precision {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Precision::Fp32 => 4,
            Precision::Fp16 => 2,
        }
    }

    /// ONNX' `TensorProto.DataType`.
    pub(crate) fn element(self) -> ElementType {
        match self {
            Precision::Fp32 => ElementType::FLOAT,
            Precision::Fp16 => ElementType::FLOAT16,
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
        })
    }
}

/// ONNX' `TensorProto.DataType`, by number; an unknown one is kept as it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementType(pub i32);

impl ElementType {
    /// f32.
    pub const FLOAT: ElementType = ElementType(1);
    /// i64.
    pub const INT64: ElementType = ElementType(7);
    /// f16.
    pub const FLOAT16: ElementType = ElementType(10);
}

impl std::fmt::Display for ElementType {
    /// The name in `onnx.proto3`, in lower case.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 17] = [
            "undefined",
            "float",
            "uint8",
            "int8",
            "uint16",
            "int16",
            "int32",
            "int64",
            "string",
            "bool",
            "float16",
            "double",
            "uint32",
            "uint64",
            "complex64",
            "complex128",
            "bfloat16",
        ];
        match usize::try_from(self.0).ok().and_then(|number| NAMES.get(number)) {
            Some(name) => f.write_str(name),
            None => write!(f, "data type {}", self.0),
        }
    }
}

impl std::fmt::Debug for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
