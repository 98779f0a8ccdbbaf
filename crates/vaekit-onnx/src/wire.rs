//! Protobuf's wire format over a file, without reading what nobody asks for.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub number: u64,
    pub value: FieldValue,
}

/// A field's value, or where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue {
    Varint(u64),
    /// Four or eight bytes, little endian.
    Fixed(u64),
    /// A string, bytes, packed numbers or a message, from the reader's position on.
    Bytes(Span),
}

/// A length-delimited value in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub end: u64,
    pub len: u64,
}

/// Bytes that are no protobuf message, or none of a sensible size.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "the value at byte {at} ends at {end}, behind its message's end at {limit}; the file is truncated or no ONNX model"
    )]
    Overrun { at: u64, end: u64, limit: u64 },
    #[error("the byte {at} starts no protobuf field; the file is no ONNX model")]
    NoField { at: u64 },
    #[error("the text at byte {at} has {len} bytes, expected at most {limit}")]
    LongText { at: u64, len: u64, limit: u64 },
    #[error("the text at byte {at} is no UTF-8")]
    NotUtf8 { at: u64 },
}

/// Reads fields one after the other; positions are absolute.
pub(crate) struct Wire<R> {
    reader: BufReader<R>,
    at: u64,
    len: u64,
}

impl<R: Read + Seek> Wire<R> {
    pub(crate) fn new(mut reader: R) -> io::Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        reader.seek(SeekFrom::Start(0))?;
        Ok(Wire { reader: BufReader::new(reader), at: 0, len })
    }

    /// The whole file, as a message.
    pub(crate) fn all(&self) -> Span {
        Span { end: self.len, len: self.len }
    }

    /// The next field of the message that ends at `message.end`. The caller reads a value that it wants, and
    /// [skips](Self::skip) the others.
    pub(crate) fn next(&mut self, message: Span) -> Result<Option<Field>, WireError> {
        if self.at >= message.end {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint(message)?;
        let number = key >> 3;
        let value = match (number, key & 7) {
            (1.., 0) => FieldValue::Varint(self.varint(message)?),
            (1.., 1) => self.fixed(8, message)?,
            (1.., 2) => {
                let len = self.varint(message)?;
                FieldValue::Bytes(self.span(len, message)?)
            }
            (1.., 5) => self.fixed(4, message)?,
            // Groups (3 and 4) are older than ONNX.
            _ => return Err(WireError::NoField { at: start }),
        };
        Ok(Some(Field { number, value }))
    }

    pub(crate) fn skip(&mut self, span: Span) -> Result<(), WireError> {
        let rest = span.end - self.at;
        self.reader.seek_relative(rest as i64)?; // below the file's length, so below i64's maximum
        self.at = span.end;
        Ok(())
    }

    pub(crate) fn text(&mut self, span: Span, limit: u64) -> Result<String, WireError> {
        let at = self.at;
        if span.len > limit {
            return Err(WireError::LongText { at, len: span.len, limit });
        }
        let mut bytes = vec![0; span.len as usize];
        self.reader.read_exact(&mut bytes)?;
        self.at = span.end;
        String::from_utf8(bytes).map_err(|_| WireError::NotUtf8 { at })
    }

    fn varint(&mut self, message: Span) -> Result<u64, WireError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            self.span(1, message)?;
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::NoField { at: start })
    }

    /// Fills `bytes`, which are no longer than what is left of the value being read.
    pub(crate) fn bytes(&mut self, bytes: &mut [u8]) -> Result<(), WireError> {
        self.reader.read_exact(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// The next of a value's packed varints; nothing at its end.
    pub(crate) fn packed(&mut self, span: Span) -> Result<Option<u64>, WireError> {
        if self.at < span.end { self.varint(span).map(Some) } else { Ok(None) }
    }

    fn fixed(&mut self, len: u64, message: Span) -> Result<FieldValue, WireError> {
        self.span(len, message)?;
        let mut bytes = [0; 8];
        self.bytes(&mut bytes[..len as usize])?;
        Ok(FieldValue::Fixed(u64::from_le_bytes(bytes)))
    }

    fn span(&self, len: u64, message: Span) -> Result<Span, WireError> {
        let end = self.at.saturating_add(len);
        if end > message.end {
            return Err(WireError::Overrun { at: self.at, end, limit: message.end });
        }
        Ok(Span { end, len })
    }
}
