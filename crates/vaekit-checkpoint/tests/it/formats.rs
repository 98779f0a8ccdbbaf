//! Formats that the fixtures lack: legacy streams, packed archives, other dtypes, views.

use std::sync::atomic::{AtomicU64, Ordering};

use vaekit_checkpoint::{Format, ReadAt, Source, StateDict};

use crate::write::{PickleWriter, Pickled, le_bytes, torch_zip, zip};

const STORAGE: [f32; 6] = [0., 1., 2., 3., 4., 5.];

fn state_dict(bytes: Vec<u8>) -> StateDict {
    StateDict::open(Source::new("file.pt", bytes)).unwrap()
}

fn check_error(bytes: Vec<u8>, expected: &str) {
    assert_eq!(StateDict::open(Source::new("file.pt", bytes)).unwrap_err().to_string(), format!("file.pt: {expected}"));
}

fn check_read_error(state: &StateDict, name: &str, expected: &str) {
    assert_eq!(state.check(name).unwrap_err().to_string(), expected);
    assert_eq!(state.read_f32(name).unwrap_err().to_string(), expected);
}

#[test]
fn views_of_one_storage() {
    let views = [
        Pickled::new("plain", "0", 0, &[2, 3], &[3, 1]),
        Pickled::new("transposed", "0", 0, &[3, 2], &[1, 3]),
        Pickled::new("expanded", "0", 4, &[2, 2], &[0, 1]),
        Pickled::new("slice", "0", 1, &[2, 2], &[3, 1]),
        Pickled::new("scalar", "0", 5, &[], &[]),
        Pickled::new("beyond", "0", 1, &[2, 3], &[3, 1]),
        Pickled::new("vast", "0", 0, &[1 << 20, 1 << 20], &[0, 0]),
        Pickled { class: "LongStorage", ..Pickled::new("whole", "0", 0, &[3], &[1]) },
    ];
    for deflate in [false, true] {
        let (pickle, bytes) = (PickleWriter::state_dict(&views), le_bytes(&STORAGE));
        let state = state_dict(zip(&[("model/data.pkl", &pickle), ("model/data/0", &bytes)], deflate));
        assert_eq!(state.format(), Format::TorchZip);
        let check = |name: &str, expected: &[f32]| assert_eq!(state.read_f32(name).unwrap(), expected, "{name}");
        check("plain", &STORAGE);
        check("transposed", &[0., 3., 1., 4., 2., 5.]);
        check("expanded", &[4., 5., 4., 5.]);
        check("slice", &[1., 2., 4., 5.]);
        check("scalar", &[5.]);
        let beyond = "tensor `beyond` in file.pt reaches to byte 28 of its storage, which has 24; the file is truncated or damaged";
        check_read_error(&state, "beyond", beyond);
        let vast = "tensor `vast` in file.pt is [1048576, 1048576], more than the 134217728 elements that are accepted";
        check_read_error(&state, "vast", vast);
        check_read_error(&state, "whole", "tensor `whole` in file.pt is I64, expected F64, F32, F16 or BF16");
        check_read_error(&state, "none", "tensor `none` in file.pt does not exist");
    }
}

#[test]
fn dtypes() {
    let pickle = PickleWriter::state_dict(&[
        Pickled { class: "BFloat16Storage", ..Pickled::new("bf16", "0", 0, &[2], &[1]) },
        Pickled { class: "HalfStorage", ..Pickled::new("f16", "1", 0, &[2], &[1]) },
        Pickled { class: "DoubleStorage", ..Pickled::new("f64", "2", 0, &[2], &[1]) },
        Pickled { class: "ComplexFloatStorage", ..Pickled::new("c64", "2", 0, &[2], &[1]) },
    ]);
    let doubles = [1.5f64.to_le_bytes(), (-2f64).to_le_bytes()].concat();
    let state = state_dict(zip(
        &[
            ("m/data.pkl", &pickle[..]),
            ("m/data/0", &[0xc0, 0x3f, 0x00, 0xc0]),
            ("m/data/1", &[0x00, 0x3e, 0x00, 0xc0]),
            ("m/data/2", &doubles),
        ],
        false,
    ));
    for name in ["bf16", "f16", "f64"] {
        assert_eq!(state.read_f32(name).unwrap(), [1.5, -2.0], "{name}");
    }
    check_read_error(&state, "c64", "tensor `c64` in file.pt is complexfloat, expected F64, F32, F16 or BF16");
}

#[test]
fn rebuild_v3_and_parameters() {
    let mut pickle = PickleWriter::new();
    pickle.op(b"}(").text("v3").op(b"ctorch._utils\n_rebuild_tensor_v3\n((").text("storage");
    pickle.op(b"ctorch.storage\nUntypedStorage\n").text("0").text("cpu").int(24).op(b"tQ").int(1);
    pickle.op(b"K\x02\x85K\x01\x85\x89N").op(b"ctorch\nfloat32\ntR");
    pickle.text("parameter").op(b"ctorch._utils\n_rebuild_parameter\n");
    pickle.tensor(&Pickled::new("", "0", 0, &[1], &[1]), None, false).op(b"\x88N\x87R");
    pickle.text("epoch").int(7).text("net").op(b"cmy.models\nNet\n)\x81").op(b"u.");
    let state = state_dict(zip(&[("m/data.pkl", &pickle.0), ("m/data/0", &le_bytes(&STORAGE))], false));
    assert_eq!(state.read_f32("v3").unwrap(), [1., 2.]);
    assert_eq!(state.read_f32("parameter").unwrap(), [0.]);
    let others = [("epoch", "a number"), ("net", "an object made by `my.models.Net`")];
    assert_eq!(state.others(), others.map(|(name, what)| (name.to_owned(), what.to_owned())));
}

#[test]
fn legacy_stream_with_a_view() {
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    let mut system = PickleWriter::new();
    system.op(b"}").text("little_endian").op(b"\x88s.");
    file.extend(system.0);
    let mut state = PickleWriter::new();
    state.op(b"ccollections\nOrderedDict\n)R(");
    state.text("b").tensor(&Pickled::new("b", "200", 0, &[2], &[1]), None, true);
    state.text("a").tensor(&Pickled::new("a", "100", 1, &[2], &[1]), Some(("101", 2, 4)), true);
    state.op(b"u.");
    file.extend(state.0);
    let mut keys = PickleWriter::new();
    keys.op(b"](").text("100").text("200").op(b"e.");
    file.extend(keys.0);
    for values in [&STORAGE[..], &[8., 9.]] {
        file.extend((values.len() as u64).to_le_bytes());
        file.extend(le_bytes(values));
    }
    let short = file[..file.len() - 1].to_vec();
    let state = state_dict(file);
    assert_eq!(state.format(), Format::TorchLegacy);
    assert_eq!(state.read_f32("a").unwrap(), [3., 4.]);
    assert_eq!(state.read_f32("b").unwrap(), [8., 9.]);
    let n = short.len();
    check_error(short, &format!("the file is truncated: it has {n} bytes, its header needs {}; fetch it again", n + 1));
}

#[test]
fn zip_archives_that_are_no_checkpoints() {
    check_error(zip(&[("a.npy", b"")], false), "a NumPy .npz archive, expected a checkpoint");
    check_error(
        zip(&[("m/data.pkl", b""), ("m/constants.pkl", b"")], false),
        "a TorchScript archive, expected a state dict; save module.state_dict() instead",
    );
    check_error(
        zip(&[("m/data.pkl", b"\x80\x02}."), ("m/byteorder", b"big")], false),
        "its storages are big-endian, expected little-endian; save it again on a little-endian machine",
    );
    check_error(
        zip(&[("m/data.pkl", b"\x80\x02}."), ("m/data.pkl", b"\x80\x02}.")], false),
        "its zip directory has two entries named `m/data.pkl`",
    );
    check_error(zip(&[("m/data.pkl", b"\x80\x02].")], false), "its pickle holds a list, expected a state dict");
    let mut truncated = zip(&[("m/data.pkl", b"\x80\x02}.")], false);
    truncated.truncate(40);
    check_error(
        truncated,
        "it starts as a zip archive but has no directory at its end; it is truncated, fetch it again",
    );
}

#[test]
fn safetensors_headers_that_lie() {
    let file = |header: &str, data: usize| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    };
    check_error(
        file(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        "tensor `a` is F32 [3], which does not fill bytes 0 to 8",
    );
    check_error(
        file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
        "tensor `a` is F32 [2], which does not fill bytes 8 to 0",
    );
    let twice =
        r#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#;
    check_error(file(twice, 1), "it holds two tensors named `a`");
    let state =
        state_dict(file(r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#, 2));
    assert_eq!(state.metadata()["k"], "v");
    check_read_error(&state, "a", "tensor `a` in file.pt is F8_E4M3, expected F64, F32, F16 or BF16");
}

/// Counts what is read.
struct Counting(Vec<u8>, &'static AtomicU64);

impl ReadAt for Counting {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(offset, buf)
    }
}

#[test]
fn only_what_is_wanted_is_read() {
    static READ: AtomicU64 = AtomicU64::new(0);
    let tensors = vec![
        ("wanted".to_owned(), vec![10], vec![1.0; 10]),
        ("unwanted".to_owned(), vec![1000, 1000], vec![0.0; 1_000_000]),
    ];
    for bytes in [torch_zip(&tensors, false), crate::write::safetensors(&tensors, &[])] {
        READ.store(0, Ordering::Relaxed);
        let state = StateDict::open(Source::new("file.pt", Counting(bytes, &READ))).unwrap();
        assert_eq!(state.read_f32("wanted").unwrap(), [1.0; 10]);
        assert!(READ.load(Ordering::Relaxed) < 200_000, "{READ:?} of 4000000 bytes read");
    }
}
