//! Walking an ONNX file's messages within limits.

use std::io::{self, Read, Seek};

use crate::wire::{Field, FieldValue, Span, Wire, WireError};

/// Limits on a stranger's file; vaekit's and Optimum's stay far below.
pub(crate) const MAX_NAME: u64 = 4096;
pub(crate) const MAX_METADATA: u64 = 4 << 20;
const MAX_TEXT: u64 = 16 << 20;
const MAX_ITEMS: usize = 1 << 16;
pub(crate) const MAX_DEPTH: usize = 8;

/// A file that is no ONNX model, or one that vaekit does not take from a stranger.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct InspectError(#[from] pub(crate) Reason);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
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

/// Reads one message after the other; the limits are over the whole file.
pub(crate) struct Walk<R> {
    wire: Wire<R>,
    n_items: usize,
    /// Bytes of names and metadata so far.
    text: u64,
}

impl<R: Read + Seek> Walk<R> {
    pub(crate) fn new(reader: R) -> Result<Self, Reason> {
        let wire = Wire::new(reader).map_err(WireError::Io)?;
        Ok(Walk { wire, n_items: 0, text: 0 })
    }

    /// The whole file, as a message.
    pub(crate) fn all(&self) -> Span {
        self.wire.all()
    }

    /// The next field of `span`, a message of the type `message`.
    pub(crate) fn next(&mut self, span: Span, message: &'static str) -> Result<Option<Checked>, Reason> {
        Ok(self.wire.next(span)?.map(|field| Checked { message, field }))
    }

    pub(crate) fn text(&mut self, span: Span, limit: u64) -> Result<String, Reason> {
        self.text += span.len;
        if self.text > MAX_TEXT {
            return Err(Reason::TooMuchText);
        }
        Ok(self.wire.text(span, limit)?)
    }

    /// Fills `bytes`, which are no longer than what is left of the value being read.
    pub(crate) fn bytes(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        Ok(self.wire.bytes(bytes)?)
    }

    /// The next of a value's packed numbers; nothing at its end.
    pub(crate) fn packed(&mut self, span: Span) -> Result<Option<u64>, Reason> {
        Ok(self.wire.packed(span)?)
    }

    /// Goes to the end of a value.
    pub(crate) fn skip_rest(&mut self, span: Span) -> Result<(), Reason> {
        Ok(self.wire.skip(span)?)
    }

    pub(crate) fn skip(&mut self, field: Checked) -> Result<(), Reason> {
        if let FieldValue::Bytes(span) = field.field.value {
            self.wire.skip(span)?;
        }
        Ok(())
    }

    pub(crate) fn count(&mut self, what: &'static str) -> Result<(), Reason> {
        self.n_items += 1;
        if self.n_items > MAX_ITEMS { Err(Reason::TooMany { what }) } else { Ok(()) }
    }
}

/// A field that knows which message it is of.
#[derive(Clone, Copy)]
pub(crate) struct Checked {
    message: &'static str,
    field: Field,
}

impl Checked {
    pub(crate) fn number(self) -> u64 {
        self.field.number
    }

    pub(crate) fn int(self) -> Result<i64, Reason> {
        match self.field.value {
            FieldValue::Varint(value) => Ok(value as i64),
            FieldValue::Fixed(_) => Err(self.kind("fixed", "a varint")),
            FieldValue::Bytes(_) => Err(self.kind("bytes", "a varint")),
        }
    }

    pub(crate) fn bytes(self) -> Result<Span, Reason> {
        match self.field.value {
            FieldValue::Bytes(span) => Ok(span),
            FieldValue::Varint(_) => Err(self.kind("a varint", "bytes")),
            FieldValue::Fixed(_) => Err(self.kind("fixed", "bytes")),
        }
    }

    pub(crate) fn value(self) -> FieldValue {
        self.field.value
    }

    fn kind(self, found: &'static str, expected: &'static str) -> Reason {
        Reason::Kind { message: self.message, field: self.field.number, found, expected }
    }
}
