//! The header of a .safetensors file.
//!
//! The safetensors crate wants the whole file in memory and offsets that fit a `usize`; a 7 GB checkpoint opened lazily, or
//! in a browser's 32-bit memory, has neither. The header is JSON, so serde reads it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::dtype::Dtype;
use crate::error::OpenReason;
use crate::source::{ReadAt, read_vec};
use crate::tensor::{Place, Storage, TensorInfo, View, contiguous};

/// The limit of the safetensors crate.
const MAX_HEADER: u64 = 100_000_000;

/// What a header says.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) storages: Vec<Storage>,
}

/// Whether these first bytes of a file are a header's length and the start of its JSON.
pub(crate) fn is_safetensors(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{')
}

/// Reads the header; each tensor is a storage of its own.
pub(crate) fn read_header(data: &dyn ReadAt) -> Result<Header, OpenReason> {
    let header_len = read_vec(data, 0, 8)?;
    let header_len = header_len.as_chunks::<8>().0.first().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if header_len > MAX_HEADER {
        return Err(OpenReason::HeaderTooLong { found: header_len, limit: MAX_HEADER });
    }
    let data_start = 8 + header_len;
    if data_start > data.len() {
        return Err(OpenReason::Truncated { found: data.len(), expected: data_start });
    }
    let raw: RawHeader = serde_json::from_slice(&read_vec(data, 8, header_len)?)
        .map_err(|error| OpenReason::Malformed(format!("its header is no safetensors header: {error}")))?;

    let mut header = Header { metadata: raw.metadata, ..Header::default() };
    let mut data_end = data_start;
    for (name, entry) in raw.tensors {
        let (place, bytes) = entry.range(data_start).ok_or_else(|| entry.nonsense(&name))?;
        data_end = data_end.max(place + bytes);
        let dtype = Dtype::from_safetensors(&entry.dtype);
        let strides = contiguous(&entry.shape).ok_or_else(|| entry.nonsense(&name))?;
        if let Some(size) = dtype.size() {
            let elements = entry.shape.iter().try_fold(size, |n, &dim| n.checked_mul(dim as u64));
            if elements != Some(bytes) {
                return Err(entry.nonsense(&name));
            }
        }
        let view = View { storage: header.storages.len(), offset: 0, strides };
        header.storages.push(Storage { place: Place::At(place), bytes });
        header.tensors.push(TensorInfo { name, dtype, shape: entry.shape, view });
    }
    if data_end > data.len() {
        return Err(OpenReason::Truncated { found: data.len(), expected: data_end });
    }
    Ok(header)
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl RawTensor {
    /// Position in the file and length.
    fn range(&self, data_start: u64) -> Option<(u64, u64)> {
        let [start, end] = self.data_offsets;
        let bytes = end.checked_sub(start)?;
        data_start.checked_add(end)?;
        Some((data_start + start, bytes))
    }

    fn nonsense(&self, name: &str) -> OpenReason {
        let RawTensor { dtype, shape, data_offsets: [start, end] } = self;
        OpenReason::Malformed(format!(
            "tensor `{name}` is {dtype} {shape:?}, which does not fill bytes {start} to {end}"
        ))
    }
}

/// A JSON object in its own order, in which a name may stand once.
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, RawTensor)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader { metadata: BTreeMap::new(), tensors: Vec::new() };
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                header.metadata = map.next_value()?;
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}
