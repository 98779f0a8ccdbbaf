//! Files in a browser: read in slices, written in pieces, never whole in the module's memory.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use js_sys::{Array, Uint8Array};
use send_wrapper::SendWrapper;
use vaekit_checkpoint::ReadAt;
use wasm_bindgen::JsValue;
use web_sys::{Blob, FileReaderSync};

/// Bytes that are read ahead.
const WINDOW: u64 = 1 << 20;
/// Most bytes that are asked of the browser at once: so many lie in JavaScript's memory besides.
const SLICE: usize = 16 << 20;

/// A `Blob` or `File`, read by position.
#[derive(Clone)]
pub(crate) struct BlobFile(SendWrapper<Rc<Inner>>);

struct Inner {
    blob: Blob,
    len: u64,
    window: RefCell<Window>,
}

/// The bytes from `start` on.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl BlobFile {
    pub(crate) fn new(blob: Blob) -> Self {
        let len = blob.size() as u64;
        BlobFile(SendWrapper::new(Rc::new(Inner { blob, len, window: RefCell::default() })))
    }

    pub(crate) fn blob(&self) -> &Blob {
        &self.0.blob
    }

    /// The checksum that a zip file has.
    pub(crate) fn crc32(&self) -> io::Result<u32> {
        let mut crc = flate2::Crc::new();
        let mut buffer = vec![0; SLICE.min(self.0.len as usize)];
        let mut cursor = self.cursor();
        loop {
            match cursor.read(&mut buffer)? {
                0 => return Ok(crc.sum()),
                n => crc.update(&buffer[..n]),
            }
        }
    }

    /// A reader of its own, at the start.
    pub(crate) fn cursor(&self) -> BlobCursor {
        BlobCursor { file: self.clone(), position: 0 }
    }
}

impl Inner {
    /// Asks the browser for the bytes from `offset` on.
    fn fetch(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut offset = offset;
        for part in buffer.chunks_mut(SLICE) {
            let end = offset + part.len() as u64;
            let bytes = self.slice(offset, end).map_err(|reason| io::Error::other(describe(&reason)))?;
            if bytes.length() as usize != part.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.copy_to(part);
            offset = end;
        }
        Ok(())
    }

    fn slice(&self, start: u64, end: u64) -> Result<Uint8Array, JsValue> {
        let slice = self.blob.slice_with_f64_and_f64(start as f64, end as f64)?;
        let buffer: JsValue = FileReaderSync::new()?.read_as_array_buffer(&slice)?.into();
        Ok(Uint8Array::new(&buffer))
    }
}

/// A file that was moved or removed since it was picked gives an exception.
fn describe(reason: &JsValue) -> String {
    js_sys::Reflect::get(reason, &"message".into()).ok().and_then(|message| message.as_string()).unwrap_or_default()
}

impl ReadAt for BlobFile {
    fn len(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|&end| end <= self.0.len);
        let Some(end) = end else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if buffer.len() as u64 >= WINDOW {
            return self.0.fetch(offset, buffer);
        }
        let mut window = self.0.window.borrow_mut();
        if offset < window.start || end > window.start + window.bytes.len() as u64 {
            let len = WINDOW.min(self.0.len - offset) as usize;
            window.bytes.resize(len, 0);
            window.start = offset;
            if let Err(error) = self.0.fetch(offset, &mut window.bytes) {
                window.bytes.clear();
                return Err(error);
            }
        }
        let from = (offset - window.start) as usize;
        buffer.copy_from_slice(&window.bytes[from..][..buffer.len()]);
        Ok(())
    }
}

/// A `Blob` as a stream.
pub(crate) struct BlobCursor {
    file: BlobFile,
    position: u64,
}

impl Read for BlobCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.len().saturating_sub(self.position);
        let len = left.min(buffer.len() as u64) as usize;
        self.file.read_at(self.position, &mut buffer[..len])?;
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for BlobCursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.file.len().checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// A `Blob` in the making: pieces go to the browser as they are full.
#[derive(Default)]
pub(crate) struct BlobWriter {
    pieces: Array,
    buffer: Vec<u8>,
}

impl BlobWriter {
    const PIECE: usize = 4 << 20;

    /// What was written.
    pub(crate) fn finish(mut self) -> io::Result<Blob> {
        self.flush()?;
        blob(&self.pieces)
    }
}

/// A `Blob` of other `Blob`s and arrays.
fn blob(parts: &Array) -> io::Result<Blob> {
    Blob::new_with_u8_array_sequence(parts).map_err(|reason| io::Error::other(describe(&reason)))
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= Self::PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            // A blob, which the browser may keep on disk, rather than the array.
            let bytes: JsValue = Uint8Array::from(self.buffer.as_slice()).into();
            self.pieces.push(&blob(&Array::of1(&bytes))?.into());
            self.buffer.clear();
        }
        Ok(())
    }
}

/// A reader that tells how far it has come.
pub(crate) struct Watched<R> {
    pub(crate) inner: R,
    pub(crate) tell: Box<dyn FnMut(u64)>,
}

impl<R: Read + Seek> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let position = self.inner.stream_position()?;
        (self.tell)(position);
        Ok(n)
    }
}

impl<R: Seek> Seek for Watched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}
