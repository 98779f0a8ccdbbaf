//! Stored numbers to f32.

use std::borrow::Cow;

use half::{bf16, f16};

/// What a stored number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
    F64,
}

/// An array as a file holds it. [`Stored::new`] is the one place where sizes are checked against bytes.
#[derive(Debug)]
pub(crate) struct Stored<'a> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) column_major: bool,
    element: Element,
    big_endian: bool,
    bytes: Cow<'a, [u8]>,
}

/// The layout that a header declares.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) shape: Vec<usize>,
    pub(crate) element: Element,
    pub(crate) big_endian: bool,
    pub(crate) column_major: bool,
}

impl Element {
    fn size(self) -> usize {
        match self {
            Element::F16 | Element::Bf16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

impl<'a> Stored<'a> {
    /// An array whose bytes are exactly those that its shape needs.
    pub(crate) fn new(name: String, layout: Layout, bytes: Cow<'a, [u8]>) -> Result<Self, String> {
        let Layout { shape, element, big_endian, column_major } = layout;
        let n_bytes = shape.iter().try_fold(element.size(), |n, &side| n.checked_mul(side));
        if n_bytes != Some(bytes.len()) {
            let needed = n_bytes.map_or("more than can be addressed".into(), |n| n.to_string());
            return Err(format!("array `{name}` has {} bytes, its shape {shape:?} needs {needed}", bytes.len()));
        }
        Ok(Stored { name, shape, column_major, element, big_endian, bytes })
    }

    /// The values in the order of the file.
    pub(crate) fn values(&self) -> Vec<f32> {
        match self.element {
            Element::F16 => self.decode(|b| f16::from_le_bytes(b).to_f32()),
            Element::Bf16 => self.decode(|b| bf16::from_le_bytes(b).to_f32()),
            Element::F32 => self.decode(f32::from_le_bytes),
            Element::F64 => self.decode(|b| f64::from_le_bytes(b) as f32),
        }
    }

    fn decode<const SIZE: usize>(&self, from_le_bytes: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        let (elements, _) = self.bytes.as_chunks::<SIZE>();
        let value = |mut element: [u8; SIZE]| {
            if self.big_endian {
                element.reverse();
            }
            from_le_bytes(element)
        };
        elements.iter().copied().map(value).collect()
    }
}
