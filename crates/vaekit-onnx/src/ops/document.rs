//! Nodes and tensors of a graph as they stand in the file.

use std::collections::HashMap;
use std::io::{Read, Seek};

use half::f16;

use super::OpsError;
use crate::precision::ElementType;
use crate::walk::{MAX_NAME, Reason, Walk};
use crate::wire::{FieldValue, Span};
use crate::{CHUNK, inspect};

/// A graph.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) nodes: Vec<Node>,
    pub(crate) tensors: HashMap<String, Tensor>,
    pub(crate) inputs: Vec<inspect::ValueInfo>,
    pub(crate) outputs: Vec<inspect::ValueInfo>,
    /// How long the file is.
    pub(crate) bytes: u64,
}

/// A node.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) attributes: HashMap<String, Attribute>,
}

/// An attribute, of whichever kind it is.
#[derive(Default)]
pub(crate) struct Attribute {
    pub(crate) float: Option<f32>,
    pub(crate) int: Option<i64>,
    pub(crate) text: Option<String>,
    pub(crate) ints: Vec<i64>,
    pub(crate) tensor: Option<Tensor>,
}

/// A constant.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<usize>,
    pub(crate) values: Values,
}

impl Tensor {
    /// Bytes that it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Float(values) => size_of_val(&values[..]),
            Values::Int(values) => size_of_val(&values[..]),
            Values::Other(_) => 0,
        };
        size_of_val(&self.dims[..]) + values
    }
}

/// A constant's values: f16 is widened, other types are refused when they are used.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    Float(Vec<f32>),
    Int(Vec<i64>),
    Other(ElementType),
}

/// Reads a model file.
pub(crate) fn read(reader: impl Read + Seek) -> Result<Document, OpsError> {
    let mut reader = Reader { walk: Walk::new(reader)?, document: Document::default() };
    let mut graphs = 0;
    let model = reader.walk.all();
    reader.document.bytes = model.len;
    while let Some(field) = reader.walk.next(model, "ModelProto")? {
        match field.number() {
            7 => {
                graphs += 1;
                reader.graph(field.bytes()?)?;
            }
            _ => reader.walk.skip(field)?,
        }
    }
    if graphs == 0 {
        return Err(Reason::NoGraph.into());
    }
    let Document { inputs, tensors, .. } = &mut reader.document;
    // Until IR version 3, initializers were inputs as well.
    inputs.retain(|input| !tensors.contains_key(&input.name));
    Ok(reader.document)
}

/// One method per message, numbers as in `onnx.proto3`.
struct Reader<R> {
    walk: Walk<R>,
    document: Document,
}

impl<R: Read + Seek> Reader<R> {
    fn graph(&mut self, message: Span) -> Result<(), OpsError> {
        while let Some(field) = self.walk.next(message, "GraphProto")? {
            match field.number() {
                1 => {
                    let node = self.node(field.bytes()?)?;
                    self.document.nodes.push(node);
                }
                5 => {
                    let (name, tensor) = self.tensor(field.bytes()?)?;
                    self.document.tensors.insert(name, tensor);
                }
                11 => {
                    let input = inspect::value_info(&mut self.walk, field.bytes()?)?;
                    self.document.inputs.push(input);
                }
                12 => {
                    let output = inspect::value_info(&mut self.walk, field.bytes()?)?;
                    self.document.outputs.push(output);
                }
                _ => self.walk.skip(field)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, message: Span) -> Result<Node, OpsError> {
        self.walk.count("nodes")?;
        let mut node = Node::default();
        while let Some(field) = self.walk.next(message, "NodeProto")? {
            match field.number() {
                1..=2 => {
                    self.walk.count("operands")?;
                    let name = self.walk.text(field.bytes()?, MAX_NAME)?;
                    let names = if field.number() == 1 { &mut node.inputs } else { &mut node.outputs };
                    names.push(name);
                }
                3 => node.name = self.walk.text(field.bytes()?, MAX_NAME)?,
                4 => node.operator = self.walk.text(field.bytes()?, MAX_NAME)?,
                5 => {
                    let (name, attribute) = self.attribute(field.bytes()?)?;
                    node.attributes.insert(name, attribute);
                }
                7 => node.domain = self.walk.text(field.bytes()?, MAX_NAME)?,
                _ => self.walk.skip(field)?,
            }
        }
        Ok(node)
    }

    fn attribute(&mut self, message: Span) -> Result<(String, Attribute), OpsError> {
        self.walk.count("attributes")?;
        let (mut name, mut attribute) = (String::new(), Attribute::default());
        while let Some(field) = self.walk.next(message, "AttributeProto")? {
            match (field.number(), field.value()) {
                (1, _) => name = self.walk.text(field.bytes()?, MAX_NAME)?,
                (2, FieldValue::Fixed(bits)) => attribute.float = Some(f32::from_bits(bits as u32)),
                (3, _) => attribute.int = Some(field.int()?),
                (4, _) => attribute.text = Some(self.walk.text(field.bytes()?, MAX_NAME)?),
                (5, _) => attribute.tensor = Some(self.tensor(field.bytes()?)?.1),
                (8, FieldValue::Varint(value)) => self.number(&mut attribute.ints, value as i64)?,
                (8, FieldValue::Bytes(span)) => {
                    while let Some(value) = self.walk.packed(span)? {
                        self.number(&mut attribute.ints, value as i64)?;
                    }
                }
                _ => self.walk.skip(field)?,
            }
        }
        Ok((name, attribute))
    }

    fn number<T>(&mut self, numbers: &mut Vec<T>, number: T) -> Result<(), OpsError> {
        self.walk.count("numbers")?;
        numbers.push(number);
        Ok(())
    }

    /// Exporters write `raw_data`, some of them `int64_data` for shapes.
    fn tensor(&mut self, message: Span) -> Result<(String, Tensor), OpsError> {
        self.walk.count("tensors")?;
        let (mut name, mut dims, mut element) = (String::new(), Vec::new(), ElementType(0));
        let (mut floats, mut ints, mut raw) = (Vec::new(), Vec::new(), Raw::default());
        let (mut external, mut unread) = (false, false);
        while let Some(field) = self.walk.next(message, "TensorProto")? {
            match (field.number(), field.value()) {
                (1, FieldValue::Varint(dim)) => self.number(&mut dims, dim)?,
                (1, FieldValue::Bytes(span)) => {
                    while let Some(dim) = self.walk.packed(span)? {
                        self.number(&mut dims, dim)?;
                    }
                }
                (2, _) => element = ElementType(field.int()? as i32),
                (4, FieldValue::Bytes(span)) => floats = self.floats(span)?,
                (7, FieldValue::Varint(value)) => self.number(&mut ints, value as i64)?,
                (7, FieldValue::Bytes(span)) => {
                    while let Some(value) = self.walk.packed(span)? {
                        self.number(&mut ints, value as i64)?;
                    }
                }
                (8, _) => name = self.walk.text(field.bytes()?, MAX_NAME)?,
                (9, FieldValue::Bytes(span)) => raw = self.raw(element, span)?,
                // Floats one by one, and f16 as `int32_data`.
                (4 | 5, _) => {
                    unread = true;
                    self.walk.skip(field)?;
                }
                (13, _) => {
                    external = true;
                    self.walk.skip(field)?;
                }
                (14, FieldValue::Varint(1)) => external = true,
                _ => self.walk.skip(field)?,
            }
        }
        if external {
            return Err(Reason::External { tensor: name, location: "see the model".into() }.into());
        }
        let unknown = |reason: &str| OpsError::Storage { tensor: name.clone(), reason: reason.to_owned() };
        if raw.before_type {
            return Err(unknown("has its bytes before its element type"));
        }
        let values = match element {
            ElementType::FLOAT if floats.is_empty() => Values::Float(raw.floats),
            ElementType::FLOAT => Values::Float(floats),
            ElementType::FLOAT16 => Values::Float(raw.floats),
            ElementType::INT64 if ints.is_empty() => Values::Int(raw.ints),
            ElementType::INT64 => Values::Int(ints),
            other => Values::Other(other),
        };
        let found = match &values {
            Values::Float(values) => Some(values.len()),
            Values::Int(values) => Some(values.len()),
            Values::Other(_) => None,
        };
        let needed = dims.iter().try_fold(1usize, |n, &dim| n.checked_mul(usize::try_from(dim).ok()?));
        match (found, needed) {
            (Some(0), needed) if unread && needed != Some(0) => Err(unknown("has its values one by one")),
            (Some(found), needed) if Some(found) != needed => {
                Err(OpsError::Tensor { tensor: name, reason: format!("has {found} values, its shape is {dims:?}") })
            }
            _ => Ok((name, Tensor { dims: dims.iter().map(|&dim| dim as usize).collect(), values })),
        }
    }

    /// Packed floats.
    fn floats(&mut self, span: Span) -> Result<Vec<f32>, OpsError> {
        Ok(self.raw(ElementType::FLOAT, span)?.floats)
    }

    /// `raw_data`, which the format lets stand anywhere but which every writer puts behind the element's type.
    fn raw(&mut self, element: ElementType, span: Span) -> Result<Raw, OpsError> {
        let mut raw = Raw { before_type: element == ElementType(0), ..Raw::default() };
        let size = match element {
            ElementType::FLOAT => 4,
            ElementType::FLOAT16 => 2,
            ElementType::INT64 => 8,
            _ => {
                self.walk.skip_rest(span)?;
                return Ok(raw);
            }
        };
        match size {
            8 => raw.ints.reserve_exact(span.len as usize / 8),
            size => raw.floats.reserve_exact(span.len as usize / size),
        }
        let mut bytes = vec![0; CHUNK.min(span.len as usize)];
        let mut left = span.len as usize;
        // An odd rest of bytes is no value, so that the count will not fit the shape.
        while left > 0 {
            let bytes = &mut bytes[..left.min(CHUNK)];
            self.walk.bytes(bytes)?;
            left -= bytes.len();
            match size {
                2 => raw.floats.extend(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
                4 => raw.floats.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
                _ => raw.ints.extend(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b))),
            }
        }
        Ok(raw)
    }
}

/// The values in `raw_data`.
#[derive(Default)]
struct Raw {
    floats: Vec<f32>,
    ints: Vec<i64>,
    before_type: bool,
}
