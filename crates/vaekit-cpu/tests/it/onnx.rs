//! Graphs by hand, as bytes of protobuf messages.

/// One node; its operands' constants are those of [`graph`].
#[derive(Clone)]
pub(crate) struct Node {
    operator: &'static str,
    inputs: Vec<String>,
    output: String,
    /// Attributes of integers.
    ints: Vec<(&'static str, Vec<u64>)>,
    /// Attributes of texts.
    texts: Vec<(&'static str, &'static str)>,
}

impl Node {
    pub(crate) fn new(operator: &'static str, inputs: &[&str], output: &str) -> Self {
        let inputs = inputs.iter().map(|&name| name.into()).collect();
        let mut node = Node { operator, inputs, output: output.into(), ints: Vec::new(), texts: Vec::new() };
        if operator == "Resize" {
            node.texts =
                vec![("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
        }
        node
    }

    /// A convolution from two channels to two, padded by half its size.
    pub(crate) fn conv(input: &str, output: &str, size: u64, stride: u64) -> Self {
        let weight = format!("weight{size}");
        let ints = vec![("strides", vec![stride; 2]), ("pads", vec![size / 2; 4])];
        Node { ints, ..Node::new("Conv", &[input, &weight], output) }
    }

    /// An image's positions: two channels by as many as there are.
    pub(crate) fn flat(input: &str, output: &str) -> Self {
        Node::new("Reshape", &[input, "flat"], output)
    }

    pub(crate) fn transpose(input: &str, output: &str) -> Self {
        Node { ints: vec![("perm", vec![0, 2, 1])], ..Node::new("Transpose", &[input], output) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.inputs.iter().flat_map(|name| field(1, name.as_bytes())).collect();
        bytes.extend([field(2, self.output.as_bytes()), field(4, self.operator.as_bytes())].concat());
        for (name, values) in &self.ints {
            let values: Vec<u8> = values.iter().flat_map(|&value| varint(8, value)).collect();
            bytes.extend(field(5, &[field(1, name.as_bytes()), values].concat()));
        }
        for (name, text) in &self.texts {
            bytes.extend(field(5, &[field(1, name.as_bytes()), field(4, text.as_bytes())].concat()));
        }
        bytes
    }
}

/// A model from `x`, of so many channels, to the output of the last node.
pub(crate) fn graph(channels: u64, nodes: &[Node]) -> Vec<u8> {
    let mut bytes: Vec<u8> = nodes.iter().flat_map(|node| field(1, &node.bytes())).collect();
    for size in [1, 3] {
        let values = vec![0.1; 4 * size * size];
        let [size, channels] = [size as u64, 2];
        bytes.extend(floats(&format!("weight{size}"), &[channels, channels, size, size], &values));
    }
    bytes.extend(floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]));
    let flat: Vec<u8> = [0, 2, -1i64].iter().flat_map(|value| value.to_le_bytes()).collect();
    bytes.extend(field(5, &[varint(1, 3), varint(2, 7), field(8, b"flat"), field(9, &flat)].concat()));
    bytes.extend(field(11, &image("x", channels)));
    bytes.extend(field(12, &image(&nodes[nodes.len() - 1].output, channels)));
    field(7, &bytes)
}

fn floats(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| varint(1, dim)).collect();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    field(5, &[dims, varint(2, 1), field(8, name.as_bytes()), field(9, &values)].concat())
}

fn image(name: &str, channels: u64) -> Vec<u8> {
    let open = field(1, &field(2, b"n"));
    let shape = [open.clone(), field(1, &varint(1, channels)), open.clone(), open].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &[varint(1, 1), field(2, &shape)].concat()))].concat()
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [vec![number << 3 | 2], number_bytes(value.len() as u64), value.to_vec()].concat()
}

fn varint(number: u8, value: u64) -> Vec<u8> {
    [vec![number << 3], number_bytes(value)].concat()
}

fn number_bytes(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
