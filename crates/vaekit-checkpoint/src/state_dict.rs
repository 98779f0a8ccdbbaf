//! A checkpoint file as a state dict: tensors by name, whatever the format.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use crate::error::{OpenError, OpenReason, ReadError, ReadReason};
use crate::safetensors;
use crate::source::{ReadAt, Source, read_vec};
use crate::tensor::{MAX_ELEMENTS, Place, Storage, TensorInfo};
use crate::torch;
use crate::zip::Archive;

/// The format of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `torch.save` of PyTorch 1.6 and later.
    TorchZip,
    /// `torch.save` from before PyTorch 1.6.
    TorchLegacy,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::TorchZip => "torch zip pickle",
            Format::TorchLegacy => "torch legacy pickle",
        })
    }
}

/// The tensors of one file. Only its header is read; the tensors are when asked for.
pub struct StateDict {
    name: String,
    format: Format,
    data: Arc<dyn ReadAt>,
    archive: Option<Archive>,
    metadata: BTreeMap<String, String>,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    storages: Vec<Storage>,
    others: Vec<(String, String)>,
    pub(crate) config_json: Option<String>,
    pub(crate) sha256: Option<String>,
}

impl StateDict {
    /// Opens a file; its format is told by its contents.
    ///
    /// # Errors
    /// [`OpenError`] if it is no checkpoint, damaged, or hostile.
    pub fn open(source: Source) -> Result<Self, OpenError> {
        let name = source.name.clone();
        Self::read(source).map_err(|reason| OpenError { file: name, reason })
    }

    fn read(source: Source) -> Result<Self, OpenReason> {
        let Source { name, data, config_json, sha256 } = source;
        let mut state = StateDict {
            name,
            format: crate::sniff::format(&*data)?,
            data,
            archive: None,
            metadata: BTreeMap::new(),
            tensors: Vec::new(),
            by_name: HashMap::new(),
            storages: Vec::new(),
            others: Vec::new(),
            config_json,
            sha256,
        };
        let contents = match state.format {
            Format::Safetensors => {
                let header = safetensors::read_header(&*state.data)?;
                state.metadata = header.metadata;
                torch::Contents { tensors: header.tensors, storages: header.storages, others: Vec::new() }
            }
            Format::TorchZip => {
                let (contents, archive) = torch::read_zip(&state.data)?;
                state.archive = Some(archive);
                contents
            }
            Format::TorchLegacy => torch::read_legacy(&*state.data)?,
        };
        for (index, tensor) in contents.tensors.iter().enumerate() {
            if state.by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(OpenReason::Malformed(format!("it holds two tensors named `{}`", tensor.name)));
            }
        }
        state.tensors = contents.tensors;
        state.storages = contents.storages;
        state.others = contents.others;
        Ok(state)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file's format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The `__metadata__` of a safetensors file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All tensors, in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// A tensor by its name in the file.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|&index| &self.tensors[index])
    }

    /// Names of the entries that are no tensors, with what they are instead.
    pub fn others(&self) -> &[(String, String)] {
        &self.others
    }

    /// Whether a tensor can be read, without reading it: its type, its size, its storage's bounds.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn check(&self, name: &str) -> Result<(), ReadError> {
        let found = self.tensor(name).ok_or(ReadReason::NoTensor).and_then(|tensor| self.byte_range(tensor));
        found.map(drop).map_err(|reason| self.read_error(name, reason))
    }

    /// A tensor's elements in row-major order, widened or rounded to f32. Only its own bytes are read (of a view that is not
    /// contiguous, the run from its first element to its last).
    ///
    /// # Errors
    /// [`ReadError`] if there is no such tensor, it is no float, too large, or reaches beyond its storage.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, ReadError> {
        self.try_read(name).map_err(|reason| self.read_error(name, reason))
    }

    fn read_error(&self, name: &str, reason: ReadReason) -> ReadError {
        ReadError { name: name.into(), file: self.name.clone(), reason }
    }

    fn try_read(&self, name: &str) -> Result<Vec<f32>, ReadReason> {
        let tensor = self.tensor(name).ok_or(ReadReason::NoTensor)?;
        let (storage, start, len) = self.byte_range(tensor)?;
        let bytes = match (&storage.place, &self.archive) {
            (Place::At(at), _) => read_vec(&*self.data, at.saturating_add(start), len)?,
            (Place::Entry(entry), Some(archive)) => archive.read(entry, start, len)?,
            (Place::Entry(_), None) => return Err(ReadReason::NoTensor),
        };
        let window = tensor.dtype.to_f32(&bytes).ok_or_else(|| ReadReason::Dtype(tensor.dtype.to_string()))?;
        Ok(if tensor.is_contiguous() { window } else { tensor.gather(&window) })
    }

    /// The storage of a tensor and the bytes to read of it: position and length.
    fn byte_range(&self, tensor: &TensorInfo) -> Result<(&Storage, u64, u64), ReadReason> {
        let too_large = || ReadReason::TooLarge { shape: tensor.shape.clone() };
        let size = tensor.dtype.size().filter(|_| tensor.dtype.is_readable());
        let size = size.ok_or_else(|| ReadReason::Dtype(tensor.dtype.to_string()))?;
        tensor.elements().filter(|&n| n <= MAX_ELEMENTS).ok_or_else(too_large)?;
        let (first, span) = tensor.window().ok_or_else(too_large)?;
        let storage = self.storages.get(tensor.view.storage).ok_or(ReadReason::NoTensor)?;
        let needed = (u128::from(first) + u128::from(span)) * u128::from(size);
        if needed > u128::from(storage.bytes) {
            return Err(ReadReason::OutOfBounds { found: storage.bytes, needed });
        }
        if span > MAX_ELEMENTS {
            return Err(too_large());
        }
        Ok((storage, first * size, span * size))
    }
}

impl std::fmt::Debug for StateDict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {} tensors)", self.name, self.format, self.tensors.len())
    }
}
