//! NumPy's `.npz`: a zip of `.npy` files, stored or deflated.

use std::{
    borrow::Cow,
    io::{Read, Write},
};

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipArchiveWriter, ZipSliceArchive};

use crate::{
    Format, Precision, Provenance, npy,
    read::{Found, ReadErrorKind, choose},
};

/// Where vaekit's metadata stands. `numpy.load` gives it as bytes.
const PROVENANCE: &str = "vaekit.json";

/// Name of the one array we write.
const VALUES: &str = "latents";

/// Most bytes that one deflated entry may become: 64 latents of 16 channels for images of 4096 by 4096. What is stored needs
/// no bound but the file's own length.
const MAX_INFLATED: u64 = 1 << 30;

struct Entry {
    name: String,
    method: CompressionMethod,
    wayfinder: ZipArchiveEntryWayfinder,
}

pub(crate) fn read<'a>(bytes: &'a [u8], wanted: Option<&str>) -> Result<Found<'a>, ReadErrorKind> {
    let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
    let entries = entries(&archive)?;
    let names = entries.iter().filter_map(|entry| entry.name.strip_suffix(".npy")).map(String::from).collect();
    let name = choose(Format::Npz, names, wanted)?;
    let find = |file_name: &str| entries.iter().find(|entry| entry.name == file_name);
    let values = find(&format!("{name}.npy")).expect("it was chosen from these names");
    let provenance = find(PROVENANCE).map(|entry| provenance(bytes, &archive, entry)).transpose()?;
    Ok(Found { array: npy::read(name, content(bytes, &archive, values)?)?, convention: None, provenance })
}

fn entries(archive: &ZipSliceArchive<&[u8]>) -> Result<Vec<Entry>, ReadErrorKind> {
    let mut entries = Vec::new();
    let mut records = archive.entries();
    while let Some(record) = records.next_entry().map_err(damaged)? {
        entries.push(Entry {
            name: String::from_utf8_lossy(record.file_path().as_ref()).into_owned(),
            method: record.compression_method(),
            wayfinder: record.wayfinder(),
        });
    }
    Ok(entries)
}

fn provenance(bytes: &[u8], archive: &ZipSliceArchive<&[u8]>, entry: &Entry) -> Result<Provenance, ReadErrorKind> {
    let json = content(bytes, archive, entry)?;
    serde_json::from_slice(&json).map_err(|error| ReadErrorKind::Metadata { reason: error.to_string() })
}

/// The bytes of an entry, checked against its size and CRC; borrowed from the file where they are stored as they are.
fn content<'a>(
    bytes: &'a [u8],
    archive: &ZipSliceArchive<&'a [u8]>,
    entry: &Entry,
) -> Result<Cow<'a, [u8]>, ReadErrorKind> {
    let located = archive.get_entry(entry.wayfinder).map_err(damaged)?;
    match entry.method {
        CompressionMethod::STORE => {
            std::io::copy(&mut located.verifying_reader(located.data()), &mut std::io::sink()).map_err(damaged)?;
            let (start, end) = located.compressed_data_range();
            Ok(Cow::Borrowed(&bytes[start as usize..end as usize]))
        }
        CompressionMethod::DEFLATE => {
            let declared = located.claim_verifier().uncompressed_size;
            if declared > MAX_INFLATED {
                let name = &entry.name;
                return Err(damaged(format!("`{name}` inflates to {declared} bytes, expected at most {MAX_INFLATED}")));
            }
            let mut inflated = Vec::new();
            // One byte more than declared is enough for the verifier to refuse.
            let deflated = DeflateDecoder::new(located.data()).take(declared + 1);
            located.verifying_reader(deflated).read_to_end(&mut inflated).map_err(damaged)?;
            Ok(Cow::Owned(inflated))
        }
        method => Err(damaged(format!(
            "`{}` is compressed with method {}, expected stored or deflated",
            entry.name,
            method.as_u16()
        ))),
    }
}

/// The file, with `values` as little-endian bytes.
pub(crate) fn write(shape: &[usize], values: &[u8], precision: Precision, provenance: &Provenance) -> Vec<u8> {
    let entries = [
        (format!("{VALUES}.npy"), npy::write(shape, values, precision)),
        (PROVENANCE.to_owned(), provenance.to_json().into_bytes()),
    ];
    store(&entries).expect("memory can be written, and these names and sizes fit a zip")
}

/// A zip of these files, without time stamps, so that the same input gives the same bytes.
fn store(entries: &[(String, Vec<u8>)]) -> Result<Vec<u8>, rawzip::Error> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, content) in entries {
        let (mut entry, config) = archive.new_file(name.as_str()).start()?;
        let mut writer = config.wrap(&mut entry);
        writer.write_all(content)?;
        let (_, descriptor) = writer.finish()?;
        entry.finish(descriptor)?;
    }
    archive.finish()
}

fn damaged(reason: impl ToString) -> ReadErrorKind {
    ReadErrorKind::Damaged { format: Format::Npz, reason: reason.to_string() }
}
