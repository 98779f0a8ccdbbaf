//! Small writers: safetensors, pickles as torch.save makes them, zip archives; and tensors for a config.

use std::collections::BTreeMap;
use std::io::Write;

use safetensors::tensor::{Dtype, TensorView};
use vaekit::{Half, VaeConfig, arch};
use vaekit_checkpoint::{CanonicalVae, CheckpointError, Options, Source};

/// Name, shape and values of tensors in a file.
pub(crate) type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// All tensors of a config under their canonical names, each with values of its own.
pub(crate) fn tensors(config: &VaeConfig) -> Tensors {
    let all = Half::BOTH.iter().flat_map(|&half| arch::tensors(config, half)).enumerate();
    all.map(|(i, (name, shape))| {
        let n: usize = shape.iter().product();
        (name, shape, (0..n).map(|j| (i * 31 + j) as f32 % 97.0 / 8.0).collect())
    })
    .collect()
}

/// The same tensors under other names; `None` leaves one out.
pub(crate) fn rename(tensors: Tensors, new: impl Fn(&str) -> Option<String>) -> Tensors {
    tensors.into_iter().filter_map(|(name, shape, values)| Some((new(&name)?, shape, values))).collect()
}

pub(crate) fn safetensors(tensors: &Tensors, metadata: &[(&str, &str)]) -> Vec<u8> {
    let bytes: Vec<_> = tensors.iter().map(|(_, _, values)| le_bytes(values)).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    let metadata = metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    safetensors::serialize(views, Some(metadata)).unwrap()
}

pub(crate) fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn open(name: &str, bytes: Vec<u8>) -> Result<CanonicalVae, CheckpointError> {
    CanonicalVae::open(vec![Source::new(name, bytes)], &Options::default())
}

/// A tensor of a pickled state dict: a view of the storage `key`.
pub(crate) struct Pickled {
    pub(crate) name: String,
    pub(crate) key: &'static str,
    pub(crate) class: &'static str,
    pub(crate) offset: u32,
    pub(crate) shape: Vec<u32>,
    pub(crate) strides: Vec<u32>,
}

impl Pickled {
    pub(crate) fn new(name: &str, key: &'static str, offset: u32, shape: &[u32], strides: &[u32]) -> Self {
        let (shape, strides) = (shape.into(), strides.into());
        Pickled { name: name.into(), key, class: "FloatStorage", offset, shape, strides }
    }
}

/// A pickle, opcode by opcode.
#[derive(Default)]
pub(crate) struct PickleWriter(pub(crate) Vec<u8>);

impl PickleWriter {
    pub(crate) fn new() -> Self {
        PickleWriter(b"\x80\x02".into())
    }

    pub(crate) fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub(crate) fn int(&mut self, n: u32) -> &mut Self {
        self.op(b"J").op(&n.to_le_bytes())
    }

    fn ints(&mut self, ns: &[u32]) -> &mut Self {
        self.op(b"(");
        for &n in ns {
            self.int(n);
        }
        self.op(b"t")
    }

    /// `_rebuild_tensor_v2` of a storage; `view` is the sixth item of a legacy persistent id.
    pub(crate) fn tensor(&mut self, tensor: &Pickled, view: Option<(&str, u32, u32)>, legacy: bool) -> &mut Self {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage");
        self.op(format!("ctorch\n{}\n", tensor.class).as_bytes()).text(tensor.key).text("cpu").int(1000);
        match view {
            Some((key, offset, size)) => {
                self.op(b"(").text(key).int(offset).int(size).op(b"t");
            }
            None if legacy => {
                self.op(b"N");
            }
            None => {}
        }
        self.op(b"tQ").int(tensor.offset).ints(&tensor.shape).ints(&tensor.strides);
        self.op(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    pub(crate) fn state_dict(tensors: &[Pickled]) -> Vec<u8> {
        let mut pickle = Self::new();
        pickle.op(b"}(");
        for tensor in tensors {
            pickle.text(&tensor.name).tensor(tensor, None, false);
        }
        pickle.op(b"u.");
        pickle.0
    }
}

/// A zip archive of these entries, stored or deflated.
pub(crate) fn zip(entries: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, data) in entries {
        let method = if deflate { rawzip::CompressionMethod::DEFLATE } else { rawzip::CompressionMethod::STORE };
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if deflate {
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::fast());
            let mut writer = config.wrap(encoder);
            writer.write_all(data).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            descriptor
        } else {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(data).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap();
    bytes
}

/// A `torch.save` file of these tensors, each in a storage of its own.
pub(crate) fn torch_zip(tensors: &Tensors, deflate: bool) -> Vec<u8> {
    let mut pickle = PickleWriter::new();
    pickle.op(b"}").text("state_dict").op(b"}(");
    let mut entries = BTreeMap::new();
    for (i, (name, shape, values)) in tensors.iter().enumerate() {
        let key: &'static str = Box::leak(i.to_string().into_boxed_str());
        let shape: Vec<u32> = shape.iter().map(|&dim| dim as u32).collect();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        pickle.text(name).tensor(&Pickled::new(name, key, 0, &shape, &strides), None, false);
        entries.insert(format!("archive/data/{i}"), le_bytes(values));
    }
    pickle.op(b"us.");
    let mut all: Vec<(&str, &[u8])> = vec![("archive/data.pkl", &pickle.0), ("archive/byteorder", b"little")];
    all.extend(entries.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
    zip(&all, deflate)
}
