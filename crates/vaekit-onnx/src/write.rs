//! A graph to bytes, one tensor in memory at a time.
//!
//! Protobuf lets a repeated field continue after others, so the graph's head (nodes, ends, small constants) is one message
//! and the weights follow it as more initializers. Shapes and precision give every length before any value is read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use vaekit::arch::layers;
use vaekit::{Half, VaeConfig, Weights, WeightsError};

use crate::digest::Sha256;
use crate::folding::{Folding, RangeError, Ranges, power_of_two};
use crate::graph::Weight;
use crate::manifest::{FORMAT_VERSION, Facts, Hints, OPSET, Source};
use crate::network;
use crate::precision::Precision;
use crate::proto::{self, ModelHead, OperatorSetId, StringStringEntry};

/// ONNX IR version 8, the one that came with opset 17 (ONNX 1.12).
const IR_VERSION: i64 = 8;
/// `producer_version` of every graph. It counts changes of the graphs themselves, not vaekit's releases, so that a release
/// that writes the same graphs writes the same bytes.
const GRAPH_REVISION: &str = "1";
/// Protobuf's limit on a message; every ONNX reader has it.
const MAX_MODEL_BYTES: u64 = i32::MAX as u64;
/// Key of the metadata entry that holds [`Facts`] as JSON.
pub const METADATA_KEY: &str = "vaekit";

/// A VAE to be written.
pub struct Export<'a> {
    config: &'a VaeConfig,
    weights: &'a dyn Weights,
    facts: Facts,
}

impl<'a> Export<'a> {
    /// A VAE to be written in fp32.
    pub fn fp32(config: &'a VaeConfig, weights: &'a dyn Weights, source: Source) -> Self {
        Self::with(config, weights, source, Precision::Fp32, Vec::new())
    }

    /// A VAE to be written in fp16, with powers of two folded into the weights where `ranges` asks for it.
    ///
    /// # Errors
    /// [`RangeError`] if a value leaves fp16's range and cannot be folded.
    pub fn fp16(
        config: &'a VaeConfig,
        weights: &'a dyn Weights,
        source: Source,
        ranges: &Ranges,
    ) -> Result<Self, RangeError> {
        let mut folded = Vec::new();
        for half in Half::BOTH.into_iter().filter(|&half| config.has(half)) {
            folded.push(Folding::plan(config, half, ranges)?);
        }
        Ok(Self::with(config, weights, source, Precision::Fp16, folded))
    }

    /// A VAE to be written in any precision with given foldings. In fp32 they change no result, which is how to test them.
    pub fn with(
        config: &'a VaeConfig,
        weights: &'a dyn Weights,
        source: Source,
        precision: Precision,
        folded: Vec<Folding>,
    ) -> Self {
        let facts = Facts {
            format_version: FORMAT_VERSION,
            name: None,
            family: config.class_name().into(),
            config: config.clone(),
            source,
            precision,
            opset: OPSET,
            folded: folded.into_iter().filter(|folding| !folding.is_none()).collect(),
            hints: Hints::new(config, precision),
            other: serde_json::Map::new(),
        };
        Export { config, weights, facts }
    }

    /// What the manifest and the graphs' metadata say.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The same under a name, which outputs of the VAE then carry.
    pub fn named(mut self, name: Option<String>) -> Self {
        self.facts.name = name;
        self
    }

    /// The config.
    pub fn config(&self) -> &VaeConfig {
        self.config
    }
}

/// How far a model's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which half is being written.
    pub half: Half,
    /// Bytes written.
    pub written: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A model's file, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// In bytes.
    pub size: u64,
    /// In hex.
    pub sha256: String,
}

/// Why a model was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The config lacks this half.
    #[error("the checkpoint has no {half}, so there is no {half} to write")]
    NoHalf {
        /// The half.
        half: Half,
    },
    /// Protobuf cannot hold it.
    #[error(
        "the {half} would take {size} bytes in {precision}, and an ONNX file holds at most {MAX_MODEL_BYTES} (protobuf's limit){}", too_large_advice(*.precision)
    )]
    TooLarge {
        /// The half.
        half: Half,
        /// Its size in bytes.
        size: u64,
        /// Its precision.
        precision: Precision,
    },
    /// A tensor cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor has another number of values than its shape says.
    #[error("tensor `{name}` holds {found} values, expected {expected} for {shape:?}")]
    Length {
        /// Canonical name.
        name: String,
        /// Values found.
        found: usize,
        /// Values expected.
        expected: usize,
        /// The shape expected.
        shape: Vec<usize>,
    },
    /// A weight is no number.
    #[error("tensor `{name}` holds {value} at {index}, expected numbers; the checkpoint is broken")]
    NotFinite {
        /// Canonical name.
        name: String,
        /// The value.
        value: f32,
        /// Where, in row-major order.
        index: usize,
    },
    /// A weight leaves fp16's range.
    #[error("tensor `{name}` holds {value} at {index}, expected at most 65504 in fp16; use fp32")]
    Overflow {
        /// Canonical name.
        name: String,
        /// The value, folded.
        value: f32,
        /// Where, in row-major order.
        index: usize,
    },
    /// The output failed.
    #[error("could not write the {half}: {source}")]
    Io {
        /// The half.
        half: Half,
        /// Why.
        source: io::Error,
    },
}

fn too_large_advice(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "; fp16 halves it",
        Precision::Fp16 => "",
    }
}

/// Writes one half as an ONNX file. Equal exports give equal bytes on every platform.
///
/// # Errors
/// [`WriteError`]. What has been written to `out` by then is not a model.
pub fn write_model(
    export: &Export<'_>,
    half: Half,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<Written, WriteError> {
    let plan = Plan::new(export, half)?;
    let mut sink = Sink { out, hash: Sha256::new(), at: Progress { half, written: 0, total: plan.size }, progress };
    sink.write(&plan.head)?;
    for tensor in &plan.tensors {
        sink.write(&tensor.head)?;
        write_values(export, tensor, &mut sink)?;
    }
    debug_assert_eq!(sink.at.written, plan.size);
    Ok(Written { size: plan.size, sha256: sink.hash.hex() })
}

/// All of a file but the weights' values.
struct Plan {
    head: Vec<u8>,
    tensors: Vec<TensorPlan>,
    size: u64,
}

/// A weight's place in the file.
struct TensorPlan {
    name: String,
    dims: Vec<usize>,
    /// The tensor is written times 2^-k.
    k: u32,
    /// What precedes the values.
    head: Vec<u8>,
    values_len: u64,
}

impl Plan {
    fn new(export: &Export<'_>, half: Half) -> Result<Self, WriteError> {
        let facts = &export.facts;
        if !export.config.has(half) {
            return Err(WriteError::NoHalf { half });
        }
        let mut layers = layers(export.config, half);
        let exponents = match facts.folded.iter().find(|folding| folding.half == half) {
            Some(folding) => folding.apply(&mut layers),
            None => BTreeMap::new(),
        };
        let (graph, weights) = network::graph(export.config, half, &layers, facts.precision);
        let graph = graph.encode_to_vec();
        let too_large = |size| WriteError::TooLarge { half, size, precision: facts.precision };

        let mut graph_len = graph.len() as u64;
        let mut tensors = Vec::with_capacity(weights.len());
        for weight in weights {
            let k = exponents.get(&weight.name).copied().unwrap_or(0);
            let tensor = TensorPlan::new(weight, k, facts.precision).ok_or_else(|| too_large(u64::MAX))?;
            graph_len = graph_len.saturating_add(tensor.head.len() as u64).saturating_add(tensor.values_len);
            tensors.push(tensor);
        }

        let mut head = model_head(facts, half).encode_to_vec();
        encode_key(proto::MODEL_GRAPH, WireType::LengthDelimited, &mut head);
        encode_varint(graph_len, &mut head);
        let size = graph_len.saturating_add(head.len() as u64);
        if size > MAX_MODEL_BYTES {
            return Err(too_large(size));
        }
        head.extend(graph);
        Ok(Plan { head, tensors, size })
    }
}

impl TensorPlan {
    /// `None` if the lengths leave u64.
    fn new(weight: Weight, k: u32, precision: Precision) -> Option<Self> {
        let Weight { name, dims } = weight;
        let n_values = dims.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim as u64))?;
        let values_len = n_values.checked_mul(precision.bytes() as u64)?;
        let tensor = proto::Tensor {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: precision.element().0,
            name: name.clone(),
            raw_data: Vec::new(),
        };
        let raw_data_len = (key_len(proto::TENSOR_RAW_DATA) + encoded_len_varint(values_len)) as u64;
        let tensor_len = (tensor.encoded_len() as u64 + raw_data_len).checked_add(values_len)?;

        let mut head = Vec::new();
        encode_key(proto::GRAPH_INITIALIZER, WireType::LengthDelimited, &mut head);
        encode_varint(tensor_len, &mut head);
        tensor.encode_raw(&mut head);
        encode_key(proto::TENSOR_RAW_DATA, WireType::LengthDelimited, &mut head);
        encode_varint(values_len, &mut head);
        Some(TensorPlan { name, dims, k, head, values_len })
    }
}

fn model_head(facts: &Facts, half: Half) -> ModelHead {
    let entry = |key: &str, value: String| StringStringEntry { key: key.into(), value };
    ModelHead {
        ir_version: IR_VERSION,
        producer_name: "vaekit".into(),
        producer_version: GRAPH_REVISION.into(),
        opset_import: vec![OperatorSetId { domain: String::new(), version: OPSET }],
        metadata_props: vec![
            entry("family", facts.family.clone()),
            entry("half", half.name().into()),
            entry("precision", facts.precision.to_string()),
            entry("weights_sha256", facts.source.weights_sha256.clone()),
            entry(METADATA_KEY, facts.to_json()),
        ],
    }
}

fn write_values(export: &Export<'_>, tensor: &TensorPlan, sink: &mut Sink<'_>) -> Result<(), WriteError> {
    let precision = export.facts.precision;
    let values = export.weights.read_f32(&tensor.name)?;
    let expected = tensor.values_len / precision.bytes() as u64;
    if values.len() as u64 != expected {
        return Err(WriteError::Length {
            name: tensor.name.clone(),
            found: values.len(),
            expected: expected as usize,
            shape: tensor.dims.clone(),
        });
    }
    let factor = power_of_two(tensor.k);
    for (chunk, start) in values.chunks(crate::CHUNK).zip((0..).step_by(crate::CHUNK)) {
        let folded: Vec<f32> = chunk.iter().map(|value| value * factor).collect();
        let bytes = encode(&folded, precision).map_err(|at| bad_value(tensor, folded[at], start + at))?;
        sink.write(&bytes)?;
    }
    Ok(())
}

/// The values as they stand in the file, or the index of the first that the precision does not have.
fn encode(values: &[f32], precision: Precision) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(values.len() * precision.bytes());
    for (at, &value) in values.iter().enumerate() {
        let is_finite = match precision {
            Precision::Fp32 => {
                bytes.extend(value.to_le_bytes());
                value.is_finite()
            }
            Precision::Fp16 => {
                let value = half::f16::from_f32(value);
                bytes.extend(value.to_le_bytes());
                value.is_finite()
            }
        };
        if !is_finite {
            return Err(at);
        }
    }
    Ok(bytes)
}

fn bad_value(tensor: &TensorPlan, value: f32, index: usize) -> WriteError {
    let name = tensor.name.clone();
    if value.is_finite() {
        WriteError::Overflow { name, value, index }
    } else {
        WriteError::NotFinite { name, value, index }
    }
}

/// The output, with its hash and progress.
struct Sink<'a> {
    out: &'a mut dyn Write,
    hash: Sha256,
    at: Progress,
    progress: &'a mut dyn FnMut(Progress),
}

impl Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(|source| WriteError::Io { half: self.at.half, source })?;
        self.hash.update(bytes);
        self.at.written += bytes.len() as u64;
        (self.progress)(self.at);
        Ok(())
    }
}
