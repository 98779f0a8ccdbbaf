//! A graph under construction: nodes, constants, and the weights that will follow.

use vaekit::Half;

use crate::names;
use crate::precision::{ElementType, Precision};
use crate::proto::{
    Attribute, Dimension, DimensionValue, Graph, Node, Tensor, TensorShape, TensorType, Type, ValueInfo,
};

/// A value in the graph, by name.
pub(crate) type Value = String;

/// An initializer whose values are read when it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weight {
    /// The tensor's canonical name, and the initializer's.
    pub name: String,
    /// The shape inside the graph; the tensor's own may lack the ones in it.
    pub dims: Vec<usize>,
}

/// Appends nodes one after the other. A node's only output bears the node's name.
pub(crate) struct GraphBuilder {
    precision: Precision,
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    weights: Vec<Weight>,
}

impl GraphBuilder {
    pub(crate) fn new(precision: Precision) -> Self {
        GraphBuilder { precision, nodes: Vec::new(), constants: Vec::new(), weights: Vec::new() }
    }

    /// Whether values inside the graph are other than f32.
    pub(crate) fn is_fp16(&self) -> bool {
        self.precision == Precision::Fp16
    }

    pub(crate) fn node(&mut self, op: &str, name: impl Into<String>, inputs: &[&str]) -> Value {
        self.node_with(op, name, inputs, Vec::new())
    }

    pub(crate) fn node_with(
        &mut self,
        op: &str,
        name: impl Into<String>,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> Value {
        let name = name.into();
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.into()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.into(),
            attribute,
        });
        name
    }

    pub(crate) fn cast(&mut self, name: impl Into<String>, input: &str, to: ElementType) -> Value {
        self.node_with("Cast", name, &[input], vec![Attribute::int("to", i64::from(to.0))])
    }

    /// A weight under its canonical name.
    pub(crate) fn weight(&mut self, name: String, dims: &[usize]) -> Value {
        self.weights.push(Weight { name: name.clone(), dims: dims.into() });
        name
    }

    /// A scalar in the graph's precision.
    pub(crate) fn scalar(&mut self, name: String, value: f32) -> Value {
        let raw_data = match self.precision {
            Precision::Fp32 => value.to_le_bytes().to_vec(),
            Precision::Fp16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        };
        self.constant(name, &[], self.precision.element(), raw_data)
    }

    /// A vector of f32, whatever the precision.
    pub(crate) fn floats(&mut self, name: String, values: &[f32]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], ElementType::FLOAT, raw_data)
    }

    /// A vector of i64: a shape.
    pub(crate) fn ints(&mut self, name: String, values: &[i64]) -> Value {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, &[values.len()], ElementType::INT64, raw_data)
    }

    /// An initializer that is part of the graph's head; the same name means the same value.
    fn constant(&mut self, name: String, dims: &[usize], element: ElementType, raw_data: Vec<u8>) -> Value {
        if !self.constants.iter().any(|known| known.name == name) {
            let dims = dims.iter().map(|&dim| dim as i64).collect();
            self.constants.push(Tensor { dims, data_type: element.0, name: name.clone(), raw_data });
        }
        name
    }

    /// The graph without its weights, and the weights in the order of their use.
    pub(crate) fn finish(mut self, half: Half, input: Port, output: Port) -> (Graph, Vec<Weight>) {
        if let Some(last) = self.nodes.last_mut() {
            last.output = vec![output.name.into()];
        }
        let graph = Graph {
            node: self.nodes,
            name: format!("vae_{half}"),
            initializer: self.constants,
            doc_string: String::new(),
            input: vec![input.value_info()],
            output: vec![output.value_info()],
        };
        (graph, self.weights)
    }
}

/// An input or output: f32, `[batch, channels, height, width]`.
pub(crate) struct Port {
    pub name: &'static str,
    pub channels: usize,
    pub sides: [&'static str; 2],
    pub doc: &'static str,
}

impl Port {
    fn value_info(self) -> ValueInfo {
        let named = |name: &str| Dimension { value: Some(DimensionValue::Param(name.into())) };
        let dim = vec![
            named(names::BATCH),
            Dimension { value: Some(DimensionValue::Value(self.channels as i64)) },
            named(self.sides[0]),
            named(self.sides[1]),
        ];
        let tensor_type = TensorType { elem_type: ElementType::FLOAT.0, shape: Some(TensorShape { dim }) };
        ValueInfo {
            name: self.name.into(),
            r#type: Some(Type { tensor_type: Some(tensor_type) }),
            doc_string: self.doc.into(),
        }
    }
}
