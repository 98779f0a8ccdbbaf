//! The same VAE under other names, in other formats, layouts and element types.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use vaekit_checkpoint::{Sameness, StateDict, WeightsHashes};
use vaekit_library::{Entry, Index, Stamped, source, weights};

use crate::Place;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

/// The tensors of a checkpoint as safetensors, cast, in another order.
fn cast(checkpoint: &Path, dtype: Dtype) -> Vec<u8> {
    let state = StateDict::open(source(checkpoint).unwrap()).unwrap();
    let bytes = |values: Vec<f32>| -> Vec<u8> {
        match dtype {
            Dtype::F16 => values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    };
    let readable = state.tensors().iter().filter(|tensor| tensor.dtype.is_readable());
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = readable
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone(), bytes(state.read_f32(&tensor.name).unwrap())))
        .collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_ckpt_its_safetensors_and_its_casts() {
    let ckpt = fixture("kl-ldm-ckpt/model.ckpt");
    let place = Place::with(&[]);
    place.put("a.ckpt", &fs::read(&ckpt).unwrap());
    place.put("b.safetensors", &cast(&ckpt, Dtype::F32));
    place.put("c.safetensors", &cast(&ckpt, Dtype::F16));
    place.put("d.safetensors", &cast(&ckpt, Dtype::BF16));
    place.put("e.safetensors", &fs::read(fixture("kl-ldm-f16/model.safetensors")).unwrap());
    let hashes: Vec<WeightsHashes> = place.entries().iter().map(|entry| weights(entry).unwrap()).collect();
    let with_ckpt: Vec<_> = hashes.iter().map(|other| other.sameness(&hashes[0])).collect();
    assert_eq!(
        with_ckpt,
        [Some(Sameness::Exact), Some(Sameness::Exact), Some(Sameness::F16), Some(Sameness::Bf16), None]
    );
    assert_eq!(hashes[2].sameness(&hashes[3]), None);
}

#[test]
fn hashes_are_kept_until_the_file_changes() {
    let place = Place::with(&["x.pt"]);
    let at = place.path("hashes.json");
    let stamped = || Stamped::new(&place.path("x.pt")).unwrap();
    let mut index = Index::open(&at);
    assert_eq!(index.known_sha256(&stamped()), None);
    let hash = index.sha256(&stamped()).unwrap();
    index.save().unwrap();
    assert_eq!(Index::open(&at).known_sha256(&stamped()), Some(hash.as_str()));
    place.put("x.pt", b"more than there was");
    assert_eq!(Index::open(&at).known_sha256(&stamped()), None);
}

#[test]
fn what_was_written_this_moment_is_not_believed_later() {
    let place = Place::with(&[]);
    fs::write(place.path("x.pt"), b"1").unwrap();
    let stamped = Stamped::new(&place.path("x.pt")).unwrap();
    let mut index = Index::open(place.path("hashes.json"));
    index.sha256(&stamped).unwrap();
    assert_eq!(index.known_sha256(&stamped), None);
}

#[test]
fn two_processes_add_to_one_index() {
    let place = Place::with(&["x.pt", "y.pt"]);
    let at = place.path("hashes.json");
    let (mut one, mut two) = (Index::open(&at), Index::open(&at));
    one.sha256(&Stamped::new(&place.path("x.pt")).unwrap()).unwrap();
    two.sha256(&Stamped::new(&place.path("y.pt")).unwrap()).unwrap();
    one.save().unwrap();
    two.save().unwrap();
    assert_eq!(Index::open(&at).n_files(), 2);
}

#[test]
fn a_damaged_index_is_an_empty_one() {
    let place = Place::with(&["x.pt"]);
    let at = place.path("hashes.json");
    let key = place.path("x.pt").display().to_string().replace('\\', "/");
    let Stamped { size, modified, .. } = Stamped::new(&place.path("x.pt")).unwrap();
    let short = format!(r#"{{"{key}": {{"stamp": [{size}, {modified}], "sha256": "ab"}}}}"#);
    for json in
        ["", "[]", "{\"format_version\": 9}", &format!(r#"{{"format_version": 1, "files": {short}, "vaes": {{}}}}"#)]
    {
        fs::write(&at, json).unwrap();
        let mut index = Index::open(&at);
        assert_eq!(index.n_files(), 0, "{json}");
        index.sha256(&Stamped::new(&place.path("x.pt")).unwrap()).unwrap();
        index.save().unwrap();
        assert_eq!(Index::open(&at).n_files(), 1);
    }
}

#[test]
fn weights_are_known_by_all_files_of_a_vae() {
    let place = Place::with(&[]);
    for half in ["taesd_encoder.pth", "taesd_decoder.pth"] {
        place.put(half, &fs::read(fixture("tae-original").join(half)).unwrap());
    }
    let entry = |place: &Place| -> Entry { place.entries().remove(0) };
    let mut index = Index::open(place.path("hashes.json"));
    let hashes = index.weights(&entry(&place)).unwrap();
    assert_eq!(index.known_weights(&entry(&place).files), Some(&hashes));
    place.put("taesd_decoder.pth", b"another");
    assert_eq!(index.known_weights(&entry(&place).files), None);
    let error = index.weights(&entry(&place)).unwrap_err().to_string();
    assert!(error.contains("taesd_decoder.pth"), "{error}");
}
