//! Where a checkpoint's bytes come from.

use std::io;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Bytes that are read piece by piece: a memory map, a file in a browser, a vector.
pub trait ReadAt: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// The reader's own, and [`io::ErrorKind::UnexpectedEof`] if there are not so many bytes.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Anything in memory as a [`ReadAt`]: a memory map, an `Arc<[u8]>`, a slice.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<T>(pub T);

impl<T: AsRef<[u8]> + Send + Sync> ReadAt for Bytes<T> {
    fn len(&self) -> u64 {
        self.0.as_ref().len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.as_ref();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| bytes.get(start..start.checked_add(buf.len())?))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        Bytes(self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        Bytes(self).read_at(offset, buf)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Arc<R> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

/// One checkpoint file, and what the caller knows about it.
#[derive(Clone)]
pub struct Source {
    /// The file's name, without its folder: for messages, and weak evidence of the scaling.
    pub name: String,
    /// Its bytes.
    pub data: Arc<dyn ReadAt>,
    /// The text of the `config.json` beside it.
    pub config_json: Option<String>,
    /// The file's sha256 in lower-case hexadecimal, if the caller has computed it ([`sha256`]): evidence of the scaling.
    pub sha256: Option<String>,
}

impl Source {
    /// A file about which nothing else is known.
    pub fn new(name: impl Into<String>, data: impl ReadAt + 'static) -> Self {
        Source { name: name.into(), data: Arc::new(data), config_json: None, sha256: None }
    }

    /// The same with the text of the `config.json` beside it.
    pub fn with_config(self, config_json: impl Into<String>) -> Self {
        Source { config_json: Some(config_json.into()), ..self }
    }

    /// The same with its sha256.
    pub fn with_sha256(self, sha256: impl Into<String>) -> Self {
        Source { sha256: Some(sha256.into()), ..self }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.data.len())
    }
}

/// The sha256 of all bytes, in lower-case hexadecimal; they are read in pieces of a megabyte.
///
/// # Errors
/// The reader's.
pub fn sha256(data: &dyn ReadAt) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < data.len() {
        let piece = (data.len() - offset).min(buf.len() as u64) as usize;
        data.read_at(offset, &mut buf[..piece])?;
        hash.update(&buf[..piece]);
        offset += piece as u64;
    }
    Ok(hex(&hash.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `len` bytes from `offset` on. The range is checked before anything is allocated.
pub(crate) fn read_vec(data: &dyn ReadAt, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    if offset.checked_add(len).is_none_or(|end| end > data.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?];
    data.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_past_the_end() {
        let data = vec![1, 2, 3];
        assert_eq!(read_vec(&data, 1, 2).unwrap(), [2, 3]);
        assert!(read_vec(&data, 1, 3).is_err());
        assert!(read_vec(&data, u64::MAX, 2).is_err());
        assert!(Bytes(&data[..]).read_at(u64::MAX, &mut [0]).is_err());
    }

    #[test]
    fn sha256_of_abc() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&b"abc".to_vec()).unwrap(), expected);
    }
}
