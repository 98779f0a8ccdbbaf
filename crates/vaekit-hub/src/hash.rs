//! The sha256 of a file's content.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A sha256, written as 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash(String);

/// A text that is no sha256.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no sha256, expected 64 hexadecimal digits in lower case")]
pub struct NotAHash(String);

impl ContentHash {
    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes a file from beginning to end; `progress` is told the bytes read so far.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_file(path: &Path, progress: &mut dyn FnMut(u64)) -> io::Result<ContentHash> {
        let mut hasher = Hasher::default();
        hasher.read(&mut File::open(path)?, progress)?;
        Ok(hasher.finish())
    }
}

impl FromStr for ContentHash {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == 64 { Ok(ContentHash(text.to_owned())) } else { Err(NotAHash(text.to_owned())) }
    }
}

impl TryFrom<String> for ContentHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> String {
        hash.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A hash in the making, and how many bytes went into it.
#[derive(Default)]
pub(crate) struct Hasher {
    sha256: Sha256,
    bytes: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Takes in everything that `reader` gives.
    pub(crate) fn read(&mut self, reader: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => self.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            progress(self.bytes);
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn finish(self) -> ContentHash {
        ContentHash(self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_fips_180_does() {
        let mut hasher = Hasher::default();
        hasher.read(&mut &b"abc"[..], &mut |_| {}).unwrap();
        assert_eq!(hasher.bytes(), 3);
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hasher.finish(), expected.parse().unwrap());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "ba7816", &"A".repeat(64), &"g".repeat(64), &"0".repeat(65)] {
            assert!(text.parse::<ContentHash>().is_err(), "{text}");
        }
    }
}
