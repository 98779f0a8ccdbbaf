//! Entries of a zip archive, by name. Sizes and offsets come from the central directory; nothing is ever extracted to disk.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder};

use crate::error::OpenReason;
use crate::source::{ReadAt, read_vec};

const MAX_ENTRIES: usize = 1 << 18;

/// An archive, its central directory read.
pub(crate) struct Archive {
    archive: ZipArchive<Reader>,
    entries: HashMap<String, Entry>,
}

/// Where an entry lies.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    wayfinder: ZipArchiveEntryWayfinder,
    deflated: bool,
    /// Length, unpacked.
    pub(crate) bytes: u64,
}

struct Reader(Arc<dyn ReadAt>);

impl ReaderAt for Reader {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let there = self.0.len().saturating_sub(offset).min(buf.len() as u64) as usize;
        self.0.read_at(offset, &mut buf[..there])?;
        Ok(there)
    }
}

impl Archive {
    pub(crate) fn open(data: Arc<dyn ReadAt>) -> Result<Self, OpenReason> {
        let len = data.len();
        let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
        let archive = rawzip::ZipLocator::new()
            .locate_in_reader(Reader(data), &mut buffer, len)
            .map_err(|(_, error)| OpenReason::Malformed(broken(&error)))?;
        let mut entries = HashMap::new();
        let mut directory = archive.entries(&mut buffer);
        while let Some(record) = directory.next_entry().map_err(|error| OpenReason::Malformed(broken(&error)))? {
            // Entries that cannot be asked for (other packings, names that are no text) need not be known.
            let deflated = match record.compression_method() {
                CompressionMethod::STORE => false,
                CompressionMethod::DEFLATE => true,
                _ => continue,
            };
            let Ok(name) = std::str::from_utf8(record.file_path().as_bytes()).map(str::to_owned) else { continue };
            let entry = Entry { wayfinder: record.wayfinder(), deflated, bytes: record.uncompressed_size_hint() };
            if entries.len() == MAX_ENTRIES {
                return Err(OpenReason::Malformed(format!("its zip directory has more than {MAX_ENTRIES} entries")));
            }
            if let Some(_twice) = entries.insert(name.clone(), entry) {
                return Err(OpenReason::Malformed(format!("its zip directory has two entries named `{name}`")));
            }
        }
        Ok(Archive { archive, entries })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// `len` bytes from `start` on of the unpacked entry.
    pub(crate) fn read(&self, entry: &Entry, start: u64, len: u64) -> io::Result<Vec<u8>> {
        if start.checked_add(len).is_none_or(|end| end > entry.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found = self.archive.get_entry(entry.wayfinder).map_err(io::Error::other)?;
        let (from, to) = found.compressed_data_range();
        if !entry.deflated {
            if start + len > to.saturating_sub(from) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return read_vec(&self.archive.get_ref().0, from.saturating_add(start), len);
        }
        let mut unpacked = DeflateDecoder::new(found.reader());
        io::copy(&mut unpacked.by_ref().take(start), &mut io::sink())?;
        // The length is the directory's claim, so the memory grows with what is really there.
        let mut bytes = Vec::new();
        unpacked.take(len).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == len { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

fn broken(error: &rawzip::Error) -> String {
    match error.kind() {
        rawzip::ErrorKind::MissingEndOfCentralDirectory => {
            "it starts as a zip archive but has no directory at its end; it is truncated, fetch it again".into()
        }
        _ => format!("its zip directory is broken: {}", error.to_string().to_lowercase()),
    }
}
