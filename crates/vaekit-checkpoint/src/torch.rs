//! What `torch.save` writes: the zip archive of PyTorch 1.6 and later, and the stream from before it.
//!
//! Source: `torch/serialization.py` (`_save`, `_legacy_save`, `_load`, `_legacy_load`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::error::OpenReason;
use crate::pickle::{Object, Pickle, TensorRef, Value};
use crate::source::{ReadAt, read_vec};
use crate::tensor::{Place, Storage, TensorInfo, View};
use crate::zip::Archive;

/// A checkpoint's tensors, and the names of what is no tensor.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) tensors: Vec<TensorInfo>,
    pub(crate) storages: Vec<Storage>,
    /// Name and description of entries beside the tensors.
    pub(crate) others: Vec<(String, String)>,
}

/// `_legacy_save` writes its magic number, 0x1950a86a20f9469cfc6c, as a pickle of its own.
pub(crate) const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// A pickle that must be in memory because it is packed.
const MAX_PACKED_PICKLE: u64 = 64 << 20;
/// `state_dict` in `state_dict` ...
const MAX_NESTING: usize = 16;

pub(crate) fn read_zip(data: &Arc<dyn ReadAt>) -> Result<(Contents, Archive), OpenReason> {
    let archive = Archive::open(data.clone())?;
    let folder = folder(&archive)?;
    let text = |name: &str| -> Result<Option<Vec<u8>>, OpenReason> {
        let Some(entry) = archive.entry(&format!("{folder}/{name}")) else { return Ok(None) };
        Ok(Some(archive.read(entry, 0, entry.bytes.min(16))?))
    };
    if text("byteorder")?.is_some_and(|order| order != b"little") {
        let found =
            "its storages are big-endian, expected little-endian; save it again on a little-endian machine".into();
        return Err(OpenReason::Format { found });
    }
    let Some(entry) = archive.entry(&format!("{folder}/data.pkl")) else {
        return Err(OpenReason::Malformed("its zip archive lost data.pkl".into()));
    };
    if entry.bytes > MAX_PACKED_PICKLE {
        let found = format!("its data.pkl claims {} bytes, at most {MAX_PACKED_PICKLE} are accepted", entry.bytes);
        return Err(OpenReason::Malformed(found));
    }
    let pickle = Pickle::read(&archive.read(entry, 0, entry.bytes)?, 0)?;
    let mut builder = Builder::default();
    builder.fill(&pickle, |key| {
        let entry = archive
            .entry(&format!("{folder}/data/{key}"))
            .ok_or_else(|| OpenReason::Malformed(format!("its zip archive has no entry `{folder}/data/{key}`")))?;
        Ok(Storage { bytes: entry.bytes, place: Place::Entry(entry.clone()) })
    })?;
    Ok((builder.contents, archive))
}

/// The one top folder with a `data.pkl`.
fn folder(archive: &Archive) -> Result<String, OpenReason> {
    let has = |suffix: &str| archive.names().any(|name| name.ends_with(suffix));
    let mut folders = archive.names().filter_map(|name| {
        let folder = name.strip_suffix("/data.pkl")?;
        (!folder.is_empty() && !folder.contains('/')).then(|| folder.to_owned())
    });
    let found = match (folders.next(), folders.next()) {
        (Some(_), None) if has("/constants.pkl") => {
            "a TorchScript archive, expected a state dict; save module.state_dict() instead"
        }
        (Some(folder), None) => return Ok(folder),
        (Some(_), Some(_)) => "a zip archive with several data.pkl, which torch.save never writes; refused",
        (None, _) if has(".npy") => "a NumPy .npz archive, expected a checkpoint",
        (None, _) => {
            "a zip archive without a data.pkl, so no PyTorch checkpoint; if a checkpoint is packed in it, unpack it"
        }
    };
    Err(OpenReason::Format { found: found.into() })
}

pub(crate) fn read_legacy(data: &dyn ReadAt) -> Result<Contents, OpenReason> {
    let mut at = LEGACY_MAGIC.len() as u64;
    let mut next = || -> Result<Pickle, OpenReason> {
        let pickle = Pickle::read(data, at)?;
        at += pickle.len;
        Ok(pickle)
    };
    let version = next()?;
    if !matches!(version.root, Value::Int(1001)) {
        return Err(OpenReason::Malformed("its legacy protocol version is not 1001".into()));
    }
    let system = next()?;
    let pairs = system.dict(&system.root).unwrap_or_default();
    let big_endian = pairs.iter().any(|(key, value)| {
        key.text().is_some_and(|key| &**key == "little_endian") && matches!(value, Value::Bool(false))
    });
    if big_endian {
        let found =
            "its storages are big-endian, expected little-endian; save it again on a little-endian machine".into();
        return Err(OpenReason::Format { found });
    }
    let pickle = next()?;
    let keys = next()?;
    let storages = legacy_storages(data, at, &pickle, &keys)?;
    let mut builder = Builder::default();
    builder.fill(&pickle, |key| {
        storages.get(key).cloned().ok_or_else(|| OpenReason::Malformed(format!("its list of storages lacks `{key}`")))
    })?;
    Ok(builder.contents)
}

/// The storages lie behind the pickles in the order of `keys`, each after its count of elements as i64.
fn legacy_storages(
    data: &dyn ReadAt,
    mut at: u64,
    pickle: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<String, Storage>, OpenReason> {
    let mut sizes = HashMap::new();
    for object in &pickle.objects {
        if let Object::Storage(storage) = object {
            sizes.insert(storage.key.to_string(), storage.dtype.as_ref().map_or(Some(1), |dtype| dtype.size()));
        }
    }
    let Some(Object::List(keys)) = keys.object(&keys.root) else {
        return Err(OpenReason::Malformed("it has no list of storages".into()));
    };
    let mut storages = HashMap::new();
    for key in keys {
        let key = key.text().ok_or_else(|| OpenReason::Malformed("a storage's key is no text".into()))?;
        let size = sizes.get(&**key).copied().flatten().ok_or_else(|| {
            OpenReason::Malformed(format!(
                "storage `{key}` is of a type whose size is not known, so the rest cannot be found"
            ))
        })?;
        let count = read_vec(data, at, 8).map_err(|_| OpenReason::Truncated { found: data.len(), expected: at + 8 })?;
        let count = count.as_chunks::<8>().0.first().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        at += 8;
        let end = count.checked_mul(size).and_then(|bytes| at.checked_add(bytes));
        let end = end.ok_or_else(|| OpenReason::Malformed(format!("storage `{key}` claims {count} elements")))?;
        if end > data.len() {
            return Err(OpenReason::Truncated { found: data.len(), expected: end });
        }
        storages.insert(key.to_string(), Storage { place: Place::At(at), bytes: end - at });
        at = end;
    }
    Ok(storages)
}

/// Turns a pickled state dict into tensors; each storage is looked up once.
#[derive(Default)]
struct Builder {
    contents: Contents,
    storages: HashMap<String, usize>,
}

impl Builder {
    fn fill(
        &mut self,
        pickle: &Pickle,
        mut find: impl FnMut(&str) -> Result<Storage, OpenReason>,
    ) -> Result<(), OpenReason> {
        // A name that is set twice has its last value, as in Python.
        let mut tensors: BTreeMap<usize, (String, &TensorRef)> = BTreeMap::new();
        let mut order = HashMap::new();
        for (key, value) in self.unwrap(pickle)? {
            let name = match key.text() {
                Some(name) => name.to_string(),
                None => {
                    self.contents.others.push((format!("({})", pickle.describe(key)), pickle.describe(value)));
                    continue;
                }
            };
            match pickle.object(value) {
                Some(Object::Tensor(tensor)) => {
                    let next = order.len();
                    let position = *order.entry(name.clone()).or_insert(next);
                    tensors.insert(position, (name, tensor));
                }
                _ => self.contents.others.push((name, pickle.describe(value))),
            }
        }
        for (name, tensor) in tensors.into_values() {
            let storage = match self.storages.get(&*tensor.storage.key) {
                Some(&storage) => storage,
                None => {
                    let found = find(&tensor.storage.key)?;
                    self.contents.storages.push(found);
                    self.storages.insert(tensor.storage.key.to_string(), self.contents.storages.len() - 1);
                    self.contents.storages.len() - 1
                }
            };
            let offset = tensor
                .offset
                .checked_add(tensor.storage.base)
                .ok_or_else(|| OpenReason::Malformed(format!("tensor `{name}` starts beyond any file")))?;
            let view = View { storage, offset, strides: tensor.strides.clone() };
            let (dtype, shape) = (tensor.dtype.clone(), tensor.shape.clone());
            self.contents.tensors.push(TensorInfo { name, dtype, shape, view });
        }
        Ok(())
    }

    /// The innermost state dict: through `state_dict` keys, and through a dict whose only tensors lie in one inner dict.
    fn unwrap<'p>(&mut self, pickle: &'p Pickle) -> Result<&'p [(Value, Value)], OpenReason> {
        let mut value = &pickle.root;
        for _ in 0..MAX_NESTING {
            let Some(pairs) = pickle.dict(value) else {
                let found = format!("its pickle holds {}, expected a state dict", pickle.describe(value));
                return Err(OpenReason::Format { found });
            };
            let Some(inner) = inner_dict(pickle, pairs) else { return Ok(pairs) };
            for (key, value) in pairs {
                if !std::ptr::eq(value, inner) {
                    let name =
                        key.text().map_or_else(|| format!("({})", pickle.describe(key)), |name| name.to_string());
                    self.contents.others.push((name, pickle.describe(value)));
                }
            }
            value = inner;
        }
        Err(OpenReason::Malformed(format!("its state dict is nested more than {MAX_NESTING} deep")))
    }
}

fn inner_dict<'p>(pickle: &'p Pickle, pairs: &'p [(Value, Value)]) -> Option<&'p Value> {
    let is_tensor = |value: &Value| matches!(pickle.object(value), Some(Object::Tensor(_)));
    let named = pairs
        .iter()
        .rev()
        .find(|(key, value)| key.text().is_some_and(|key| &**key == "state_dict") && pickle.dict(value).is_some());
    if let Some((_, value)) = named {
        return Some(value);
    }
    if pairs.iter().any(|(_, value)| is_tensor(value)) {
        return None;
    }
    let mut inner = pairs.iter().map(|(_, value)| value).filter(|value| {
        pickle.dict(value).is_some_and(|inner| {
            pairs.len() == 1 || inner.iter().any(|(key, value)| key.text().is_some() && is_tensor(value))
        })
    });
    match (inner.next(), inner.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}
