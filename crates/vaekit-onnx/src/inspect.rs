//! What an ONNX file holds, without reading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

use crate::precision::ElementType;
use crate::wire::{Field, FieldValue, Span, Wire, WireError};

/// Limits on a stranger's file; vaekit's and Optimum's stay far below.
const MAX_NAME: u64 = 4096;
const MAX_METADATA: u64 = 4 << 20;
const MAX_TEXT: u64 = 16 << 20;
const MAX_ITEMS: usize = 1 << 16;
const MAX_DEPTH: usize = 8;

/// What an ONNX file holds, its weights' values apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelInfo {
    /// Version of ONNX' file format.
    pub ir_version: i64,
    /// Operator sets by domain; ONNX' own has the empty name.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote it.
    pub producer: String,
    /// The program's version.
    pub producer_version: String,
    /// `metadata_props`.
    pub metadata: BTreeMap<String, String>,
    /// The graph's inputs, without those that are initializers.
    pub inputs: Vec<ValueInfo>,
    /// The graph's outputs.
    pub outputs: Vec<ValueInfo>,
    /// How many nodes of each operator, subgraphs included.
    pub operators: BTreeMap<String, usize>,
    /// How many initializers, and how many bytes of values, for each element type.
    pub initializers: BTreeMap<ElementType, Initializers>,
}

/// A graph's initializers of one element type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Initializers {
    /// How many.
    pub n: usize,
    /// Bytes of values, as they stand in the file.
    pub bytes: u64,
}

/// An input or output of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name.
    pub name: String,
    /// The elements' type, if it is a tensor.
    pub element: Option<ElementType>,
    /// The axes, if the rank is known.
    pub dims: Option<Vec<Dim>>,
}

/// An axis of an input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this long.
    Fixed(i64),
    /// Any length, under a name.
    Named(String),
    /// Any length.
    Unknown,
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Named(name) => f.write_str(name),
            Dim::Unknown => f.write_str("?"),
        }
    }
}

impl std::fmt::Display for ValueInfo {
    /// `sample: float [batch, 3, height, width]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(element) = self.element {
            write!(f, ": {element}")?;
        }
        if let Some(dims) = &self.dims {
            let dims: Vec<String> = dims.iter().map(Dim::to_string).collect();
            write!(f, " [{}]", dims.join(", "))?;
        }
        Ok(())
    }
}

/// A file that is no ONNX model, or one that vaekit does not take from a stranger.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InspectError(#[from] Reason);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(
        "tensor `{tensor}` lies in another file (`{location}`), which vaekit does not open on a model's word; save the model in one file"
    )]
    External { tensor: String, location: String },
    #[error("the model has more than {MAX_ITEMS} {what}")]
    TooMany { what: &'static str },
    #[error("names and metadata of the model take more than {MAX_TEXT} bytes")]
    TooMuchText,
    #[error("graphs are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("field {field} of {message} is {found}, expected {expected}; the file is no ONNX model")]
    Kind { message: &'static str, field: u64, found: &'static str, expected: &'static str },
    #[error("the file holds no graph; it is no ONNX model")]
    NoGraph,
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> Self {
        InspectError(Reason::Wire(WireError::Io(error)))
    }
}

impl ModelInfo {
    /// Walks an ONNX file, seeking over the weights' values.
    ///
    /// # Errors
    /// [`InspectError`] if the file cannot be read, is no ONNX model, keeps tensors in other files, or is beyond limits that
    /// no VAE reaches. No bytes make it panic or take memory beyond those limits.
    pub fn read(reader: impl Read + Seek) -> Result<Self, InspectError> {
        let mut walker = Walker {
            wire: Wire::new(reader)?,
            info: Self::default(),
            names: BTreeSet::new(),
            n_items: 0,
            text: 0,
            graphs: 0,
        };
        walker.model()?;
        let Walker { mut info, names, graphs, .. } = walker;
        if graphs == 0 {
            return Err(Reason::NoGraph.into());
        }
        // Until IR version 3, initializers were inputs as well.
        info.inputs.retain(|input| !names.contains(&input.name));
        Ok(info)
    }

    /// Bytes of all weights, as they stand in the file.
    pub fn weight_bytes(&self) -> u64 {
        self.initializers.values().map(|of_type| of_type.bytes).sum()
    }
}

/// Reads messages into a [`ModelInfo`]. One method per message, numbers as in `onnx.proto3`.
struct Walker<R> {
    wire: Wire<R>,
    info: ModelInfo,
    /// Of the graph's initializers.
    names: BTreeSet<String>,
    n_items: usize,
    /// Bytes of names and metadata so far.
    text: u64,
    graphs: usize,
}

impl<R: Read + Seek> Walker<R> {
    fn model(&mut self) -> Result<(), Reason> {
        let model = self.wire.all();
        while let Some(field) = self.wire.next(model)? {
            let field = Checked { message: "ModelProto", field };
            match field.number() {
                1 => self.info.ir_version = field.int()?,
                2 => self.info.producer = self.text(field.bytes()?, MAX_NAME)?,
                3 => self.info.producer_version = self.text(field.bytes()?, MAX_NAME)?,
                7 => {
                    self.graphs += 1;
                    self.graph(field.bytes()?, 0)?;
                }
                8 => self.opset(field.bytes()?)?,
                14 => self.metadata(field.bytes()?)?,
                25 => self.function(field.bytes()?)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn opset(&mut self, message: Span) -> Result<(), Reason> {
        self.count("operator sets")?;
        let (mut domain, mut version) = (String::new(), 0);
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "OperatorSetIdProto", field };
            match field.number() {
                1 => domain = self.text(field.bytes()?, MAX_NAME)?,
                2 => version = field.int()?,
                _ => self.skip(field)?,
            }
        }
        self.info.opsets.insert(domain, version);
        Ok(())
    }

    fn metadata(&mut self, message: Span) -> Result<(), Reason> {
        self.count("metadata entries")?;
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "StringStringEntryProto", field };
            match field.number() {
                1 => key = self.text(field.bytes()?, MAX_NAME)?,
                2 => value = self.text(field.bytes()?, MAX_METADATA)?,
                _ => self.skip(field)?,
            }
        }
        self.info.metadata.insert(key, value);
        Ok(())
    }

    fn function(&mut self, message: Span) -> Result<(), Reason> {
        self.count("functions")?;
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "FunctionProto", field };
            match field.number() {
                7 => self.node(field.bytes()?, 1)?,
                11 => self.attribute(field.bytes()?, 1)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn graph(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "GraphProto", field };
            match (field.number(), depth) {
                (1, _) => self.node(field.bytes()?, depth)?,
                (5, 0) => self.initializer(field.bytes()?)?,
                (5, _) => {
                    self.tensor(field.bytes()?)?;
                }
                (11, 0) => {
                    let input = self.value_info(field.bytes()?)?;
                    self.info.inputs.push(input);
                }
                (12, 0) => {
                    let output = self.value_info(field.bytes()?)?;
                    self.info.outputs.push(output);
                }
                (15, _) => self.sparse_tensor(field.bytes()?)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        self.count("nodes")?;
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "NodeProto", field };
            match field.number() {
                4 => {
                    let operator = self.text(field.bytes()?, MAX_NAME)?;
                    *self.info.operators.entry(operator).or_default() += 1;
                }
                5 => self.attribute(field.bytes()?, depth)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    /// Looks for tensors in other files, however deep.
    fn attribute(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "AttributeProto", field };
            match field.number() {
                5 | 10 => {
                    self.tensor(field.bytes()?)?;
                }
                6 | 11 => self.graph(field.bytes()?, depth + 1)?,
                22 | 23 => self.sparse_tensor(field.bytes()?)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn sparse_tensor(&mut self, message: Span) -> Result<(), Reason> {
        self.count("sparse tensors")?;
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "SparseTensorProto", field };
            match field.number() {
                1 | 2 => {
                    self.tensor(field.bytes()?)?;
                }
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn initializer(&mut self, message: Span) -> Result<(), Reason> {
        let tensor = self.tensor(message)?;
        let of_type = self.info.initializers.entry(tensor.element).or_default();
        of_type.n += 1;
        of_type.bytes = of_type.bytes.saturating_add(tensor.bytes);
        self.names.insert(tensor.name);
        Ok(())
    }

    fn tensor(&mut self, message: Span) -> Result<TensorInfo, Reason> {
        self.count("tensors")?;
        let mut tensor = TensorInfo { name: String::new(), element: ElementType(0), bytes: 0 };
        let mut location: Option<String> = None;
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "TensorProto", field };
            match field.number() {
                2 => tensor.element = ElementType(field.int()? as i32),
                8 => tensor.name = self.text(field.bytes()?, MAX_NAME)?,
                4..=7 | 9..=11 => {
                    if let FieldValue::Bytes(span) = field.field.value {
                        tensor.bytes = tensor.bytes.saturating_add(span.len);
                    }
                    self.skip(field)?;
                }
                13 => {
                    let known = location.get_or_insert_default();
                    if let Some(found) = self.external_location(field.bytes()?)? {
                        *known = found;
                    }
                }
                14 if field.int()? == 1 => drop(location.get_or_insert_default()),
                _ => self.skip(field)?,
            }
        }
        match location {
            Some(location) => Err(Reason::External { tensor: tensor.name, location }),
            None => Ok(tensor),
        }
    }

    fn external_location(&mut self, message: Span) -> Result<Option<String>, Reason> {
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "StringStringEntryProto", field };
            match field.number() {
                1 => key = self.text(field.bytes()?, MAX_NAME)?,
                2 => value = self.text(field.bytes()?, MAX_NAME)?,
                _ => self.skip(field)?,
            }
        }
        Ok((key == "location").then_some(value))
    }

    fn value_info(&mut self, message: Span) -> Result<ValueInfo, Reason> {
        self.count("inputs and outputs")?;
        let mut info = ValueInfo::default();
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "ValueInfoProto", field };
            match field.number() {
                1 => info.name = self.text(field.bytes()?, MAX_NAME)?,
                2 => self.value_type(field.bytes()?, &mut info)?,
                _ => self.skip(field)?,
            }
        }
        Ok(info)
    }

    fn value_type(&mut self, message: Span, info: &mut ValueInfo) -> Result<(), Reason> {
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "TypeProto", field };
            match field.number() {
                1 => self.tensor_type(field.bytes()?, info)?,
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn tensor_type(&mut self, message: Span, info: &mut ValueInfo) -> Result<(), Reason> {
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "TypeProto.Tensor", field };
            match field.number() {
                1 => info.element = Some(ElementType(field.int()? as i32)),
                2 => {
                    let dims = self.shape(field.bytes()?)?;
                    info.dims = Some(dims);
                }
                _ => self.skip(field)?,
            }
        }
        Ok(())
    }

    fn shape(&mut self, message: Span) -> Result<Vec<Dim>, Reason> {
        let mut dims = Vec::new();
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "TensorShapeProto", field };
            match field.number() {
                1 => {
                    self.count("axes")?;
                    dims.push(self.dim(field.bytes()?)?);
                }
                _ => self.skip(field)?,
            }
        }
        Ok(dims)
    }

    fn dim(&mut self, message: Span) -> Result<Dim, Reason> {
        let mut dim = Dim::Unknown;
        while let Some(field) = self.wire.next(message)? {
            let field = Checked { message: "TensorShapeProto.Dimension", field };
            match field.number() {
                1 => dim = Dim::Fixed(field.int()?),
                2 => dim = Dim::Named(self.text(field.bytes()?, MAX_NAME)?),
                _ => self.skip(field)?,
            }
        }
        Ok(dim)
    }

    fn text(&mut self, span: Span, limit: u64) -> Result<String, Reason> {
        self.text += span.len;
        if self.text > MAX_TEXT {
            return Err(Reason::TooMuchText);
        }
        Ok(self.wire.text(span, limit)?)
    }

    fn skip(&mut self, field: Checked) -> Result<(), Reason> {
        if let FieldValue::Bytes(span) = field.field.value {
            self.wire.skip(span)?;
        }
        Ok(())
    }

    fn count(&mut self, what: &'static str) -> Result<(), Reason> {
        self.n_items += 1;
        if self.n_items > MAX_ITEMS { Err(Reason::TooMany { what }) } else { Ok(()) }
    }
}

/// A tensor's head.
struct TensorInfo {
    name: String,
    element: ElementType,
    bytes: u64,
}

/// A field that knows which message it is of.
#[derive(Clone, Copy)]
struct Checked {
    message: &'static str,
    field: Field,
}

impl Checked {
    fn number(self) -> u64 {
        self.field.number
    }

    fn int(self) -> Result<i64, Reason> {
        match self.field.value {
            FieldValue::Varint(value) => Ok(value as i64),
            FieldValue::Fixed => Err(self.kind("fixed", "a varint")),
            FieldValue::Bytes(_) => Err(self.kind("bytes", "a varint")),
        }
    }

    fn bytes(self) -> Result<Span, Reason> {
        match self.field.value {
            FieldValue::Bytes(span) => Ok(span),
            FieldValue::Varint(_) => Err(self.kind("a varint", "bytes")),
            FieldValue::Fixed => Err(self.kind("fixed", "bytes")),
        }
    }

    fn kind(self, found: &'static str, expected: &'static str) -> Reason {
        Reason::Kind { message: self.message, field: self.field.number, found, expected }
    }
}
