//! What an ONNX file holds, without reading its weights.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use crate::precision::ElementType;
use crate::walk::{InspectError, MAX_DEPTH, MAX_METADATA, MAX_NAME, Reason, Walk};
use crate::wire::{FieldValue, Span};

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

impl ModelInfo {
    /// Walks an ONNX file, seeking over the weights' values.
    ///
    /// # Errors
    /// [`InspectError`] if the file cannot be read, is no ONNX model, keeps tensors in other files, or is beyond limits that
    /// no VAE reaches. No bytes make it panic or take memory beyond those limits.
    pub fn read(reader: impl Read + Seek) -> Result<Self, InspectError> {
        let walk = Walk::new(reader)?;
        let mut walker = Walker { walk, info: Self::default(), names: BTreeSet::new(), graphs: 0 };
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
    walk: Walk<R>,
    info: ModelInfo,
    /// Of the graph's initializers.
    names: BTreeSet<String>,
    graphs: usize,
}

impl<R: Read + Seek> Walker<R> {
    fn model(&mut self) -> Result<(), Reason> {
        let model = self.walk.all();
        while let Some(field) = self.walk.next(model, "ModelProto")? {
            match field.number() {
                1 => self.info.ir_version = field.int()?,
                2 => self.info.producer = self.walk.text(field.bytes()?, MAX_NAME)?,
                3 => self.info.producer_version = self.walk.text(field.bytes()?, MAX_NAME)?,
                7 => {
                    self.graphs += 1;
                    self.graph(field.bytes()?, 0)?;
                }
                8 => self.opset(field.bytes()?)?,
                14 => self.metadata(field.bytes()?)?,
                25 => self.function(field.bytes()?)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    fn opset(&mut self, message: Span) -> Result<(), Reason> {
        self.walk.count("operator sets")?;
        let (mut domain, mut version) = (String::new(), 0);
        while let Some(field) = self.walk.next(message, "OperatorSetIdProto")? {
            match field.number() {
                1 => domain = self.walk.text(field.bytes()?, MAX_NAME)?,
                2 => version = field.int()?,
                _ => self.walk.skip(field)?,
            }
        }
        self.info.opsets.insert(domain, version);
        Ok(())
    }

    fn metadata(&mut self, message: Span) -> Result<(), Reason> {
        self.walk.count("metadata entries")?;
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(field) = self.walk.next(message, "StringStringEntryProto")? {
            match field.number() {
                1 => key = self.walk.text(field.bytes()?, MAX_NAME)?,
                2 => value = self.walk.text(field.bytes()?, MAX_METADATA)?,
                _ => self.walk.skip(field)?,
            }
        }
        self.info.metadata.insert(key, value);
        Ok(())
    }

    fn function(&mut self, message: Span) -> Result<(), Reason> {
        self.walk.count("functions")?;
        while let Some(field) = self.walk.next(message, "FunctionProto")? {
            match field.number() {
                7 => self.node(field.bytes()?, 1)?,
                11 => self.attribute(field.bytes()?, 1)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    fn graph(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        while let Some(field) = self.walk.next(message, "GraphProto")? {
            match (field.number(), depth) {
                (1, _) => self.node(field.bytes()?, depth)?,
                (5, 0) => self.initializer(field.bytes()?)?,
                (5, _) => {
                    self.tensor(field.bytes()?)?;
                }
                (11, 0) => {
                    let input = value_info(&mut self.walk, field.bytes()?)?;
                    self.info.inputs.push(input);
                }
                (12, 0) => {
                    let output = value_info(&mut self.walk, field.bytes()?)?;
                    self.info.outputs.push(output);
                }
                (15, _) => self.sparse_tensor(field.bytes()?)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        self.walk.count("nodes")?;
        while let Some(field) = self.walk.next(message, "NodeProto")? {
            match field.number() {
                4 => {
                    let operator = self.walk.text(field.bytes()?, MAX_NAME)?;
                    *self.info.operators.entry(operator).or_default() += 1;
                }
                5 => self.attribute(field.bytes()?, depth)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    /// Looks for tensors in other files, however deep.
    fn attribute(&mut self, message: Span, depth: usize) -> Result<(), Reason> {
        while let Some(field) = self.walk.next(message, "AttributeProto")? {
            match field.number() {
                5 | 10 => {
                    self.tensor(field.bytes()?)?;
                }
                6 | 11 => self.graph(field.bytes()?, depth + 1)?,
                22 | 23 => self.sparse_tensor(field.bytes()?)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    fn sparse_tensor(&mut self, message: Span) -> Result<(), Reason> {
        self.walk.count("sparse tensors")?;
        while let Some(field) = self.walk.next(message, "SparseTensorProto")? {
            match field.number() {
                1 | 2 => {
                    self.tensor(field.bytes()?)?;
                }
                _ => self.walk.skip(field)?,
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
        self.walk.count("tensors")?;
        let mut tensor = TensorInfo { name: String::new(), element: ElementType(0), bytes: 0 };
        let mut location: Option<String> = None;
        while let Some(field) = self.walk.next(message, "TensorProto")? {
            match field.number() {
                2 => tensor.element = ElementType(field.int()? as i32),
                8 => tensor.name = self.walk.text(field.bytes()?, MAX_NAME)?,
                4..=7 | 9..=11 => {
                    if let FieldValue::Bytes(span) = field.value() {
                        tensor.bytes = tensor.bytes.saturating_add(span.len);
                    }
                    self.walk.skip(field)?;
                }
                13 => {
                    let known = location.get_or_insert_default();
                    if let Some(found) = self.external_location(field.bytes()?)? {
                        *known = found;
                    }
                }
                14 if field.int()? == 1 => drop(location.get_or_insert_default()),
                _ => self.walk.skip(field)?,
            }
        }
        match location {
            Some(location) => Err(Reason::External { tensor: tensor.name, location }),
            None => Ok(tensor),
        }
    }

    fn external_location(&mut self, message: Span) -> Result<Option<String>, Reason> {
        let (mut key, mut value) = (String::new(), String::new());
        while let Some(field) = self.walk.next(message, "StringStringEntryProto")? {
            match field.number() {
                1 => key = self.walk.text(field.bytes()?, MAX_NAME)?,
                2 => value = self.walk.text(field.bytes()?, MAX_NAME)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok((key == "location").then_some(value))
    }
}

/// An input or output.
pub(crate) fn value_info<R: Read + Seek>(walk: &mut Walk<R>, message: Span) -> Result<ValueInfo, Reason> {
    walk.count("inputs and outputs")?;
    let mut info = ValueInfo::default();
    while let Some(field) = walk.next(message, "ValueInfoProto")? {
        match field.number() {
            1 => info.name = walk.text(field.bytes()?, MAX_NAME)?,
            2 => value_type(walk, field.bytes()?, &mut info)?,
            _ => walk.skip(field)?,
        }
    }
    Ok(info)
}

fn value_type<R: Read + Seek>(walk: &mut Walk<R>, message: Span, info: &mut ValueInfo) -> Result<(), Reason> {
    while let Some(field) = walk.next(message, "TypeProto")? {
        match field.number() {
            1 => tensor_type(walk, field.bytes()?, info)?,
            _ => walk.skip(field)?,
        }
    }
    Ok(())
}

fn tensor_type<R: Read + Seek>(walk: &mut Walk<R>, message: Span, info: &mut ValueInfo) -> Result<(), Reason> {
    while let Some(field) = walk.next(message, "TypeProto.Tensor")? {
        match field.number() {
            1 => info.element = Some(ElementType(field.int()? as i32)),
            2 => {
                let dims = shape(walk, field.bytes()?)?;
                info.dims = Some(dims);
            }
            _ => walk.skip(field)?,
        }
    }
    Ok(())
}

fn shape<R: Read + Seek>(walk: &mut Walk<R>, message: Span) -> Result<Vec<Dim>, Reason> {
    let mut dims = Vec::new();
    while let Some(field) = walk.next(message, "TensorShapeProto")? {
        match field.number() {
            1 => {
                walk.count("axes")?;
                dims.push(dim(walk, field.bytes()?)?);
            }
            _ => walk.skip(field)?,
        }
    }
    Ok(dims)
}

fn dim<R: Read + Seek>(walk: &mut Walk<R>, message: Span) -> Result<Dim, Reason> {
    let mut dim = Dim::Unknown;
    while let Some(field) = walk.next(message, "TensorShapeProto.Dimension")? {
        match field.number() {
            1 => dim = Dim::Fixed(field.int()?),
            2 => dim = Dim::Named(walk.text(field.bytes()?, MAX_NAME)?),
            _ => walk.skip(field)?,
        }
    }
    Ok(dim)
}

/// A tensor's head.
struct TensorInfo {
    name: String,
    element: ElementType,
    bytes: u64,
}
