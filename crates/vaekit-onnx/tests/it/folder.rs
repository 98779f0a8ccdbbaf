//! Model folders on disk.

use std::fs;
use std::path::Path;

use expect_test::{Expect, expect};
use vaekit::{Half, VaeConfig, to_config_json};
use vaekit_onnx::{Export, FolderWriter, Manifest, ModelFolder, Precision, Verification};

use crate::model::{model, source};
use crate::vaes::{families, kl, tiny};
use crate::weights::Seeded;

fn write_folder(target: &Path, config: &VaeConfig) -> Manifest {
    let weights = Seeded::new(config);
    let export = Export::fp32(config, &weights, source());
    let mut writer = FolderWriter::create(target, &export).unwrap();
    for half in Half::BOTH.into_iter().filter(|&half| config.has(half)) {
        let path = writer.write_half(half, &mut |_| {}).unwrap();
        assert!(path.starts_with(writer.path()));
    }
    writer.finish(vec![verification()]).unwrap()
}

fn verification() -> Verification {
    Verification {
        half: Half::Decoder,
        engine: "ort 1.22 on cpu".into(),
        reference: "direct evaluation in f64".into(),
        input_shape: vec![1, 4, 8, 8],
        seed: 7,
        max_abs_error: 1e-6,
        mean_abs_error: 1e-7,
        psnr: Some(120.5),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn check_open_error(path: &Path, expected: Expect) {
    let error = ModelFolder::open(path).unwrap_err();
    let root = path.ancestors().find(|folder| folder.join(".root").exists()).unwrap();
    expected.assert_eq(&error.to_string().replace(&format!("{}/", root.display()), "").replace('\\', "/"));
}

/// A temporary folder that [`check_open_error`] leaves out of messages.
fn temporary() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".root"), "").unwrap();
    folder
}

#[test]
fn what_is_written_is_read_back() {
    let folder = temporary();
    for (name, config) in families() {
        let target = folder.path().join("models").join(name);
        let manifest = write_folder(&target, &config);
        assert_eq!(names(&target), ["vae_decoder", "vae_encoder", "vaekit.json"]);
        assert_eq!(names(&target.join("vae_decoder")), ["config.json", "model.onnx"]);

        let opened = ModelFolder::open(&target).unwrap();
        assert_eq!(opened.config(), &config, "{name}");
        assert_eq!(opened.manifest(), Some(&manifest), "{name}");
        assert_eq!(opened.manifest().unwrap().verified, [verification()]);
        assert_eq!(opened.verify_hashes().unwrap(), 2);
        assert_eq!(opened.model(Half::Encoder).unwrap().size, manifest.file("vae_encoder/model.onnx").unwrap().size);
    }
    assert_eq!(names(&folder.path().join("models")).len(), families().len());
}

#[test]
fn a_folder_under_construction_can_be_opened_and_goes_away() {
    let folder = temporary();
    let config = kl(4, |_| {});
    let weights = Seeded::new(&config);
    let export = Export::fp32(&config, &weights, source());
    let mut writer = FolderWriter::create(folder.path().join("vae"), &export).unwrap();
    writer.write_half(Half::Decoder, &mut |_| {}).unwrap();
    let opened = ModelFolder::open(writer.path()).unwrap();
    assert!(opened.config().has(Half::Decoder) && !opened.config().has(Half::Encoder));
    assert_eq!(opened.facts(), Some(export.facts()));
    assert_eq!(opened.verify_hashes().unwrap(), 0);
    drop(writer);
    assert_eq!(names(folder.path()), [".root"]);
}

#[test]
fn an_older_model_folder_is_replaced() {
    let folder = temporary();
    let target = folder.path().join("vae");
    fs::create_dir(&target).unwrap();
    write_folder(&target, &kl(4, |_| {}));
    write_folder(&target, &kl(4, |kl| kl.encoder = None));
    assert_eq!(names(&target), ["vae_decoder", "vaekit.json"]);
    assert_eq!(names(folder.path()), [".root", "vae"]);
}

#[test]
fn what_is_the_users_is_not_replaced() {
    let folder = temporary();
    let target = folder.path().join("vae");
    let config = kl(4, |_| {});
    let weights = Seeded::new(&config);
    let export = Export::fp32(&config, &weights, source());
    let check = |expected: Expect| {
        let error = FolderWriter::create(&target, &export).err().unwrap().to_string();
        expected.assert_eq(&error.replace(&target.display().to_string(), "vae").replace('\\', "/"));
    };
    fs::write(&target, "a file").unwrap();
    check(expect!["vae is there and is no model folder of vaekit: it is a file; remove it or choose another name"]);
    fs::remove_file(&target).unwrap();

    fs::create_dir(&target).unwrap();
    fs::write(target.join("holiday.png"), "").unwrap();
    check(expect![
        "vae is there and is no model folder of vaekit: it holds no vaekit.json; remove it or choose another name"
    ]);
    fs::remove_file(target.join("holiday.png")).unwrap();

    write_folder(&target, &config);
    fs::write(target.join("vae_decoder/notes.txt"), "").unwrap();
    check(expect![
        "vae is there and is no model folder of vaekit: it holds vae_decoder/notes.txt; remove it or choose another name"
    ]);
}

#[test]
fn leftovers_of_killed_writers_go_and_folders_they_took_come_back() {
    let folder = temporary();
    let target = folder.path().join("vae");
    write_folder(&target, &kl(4, |_| {}));
    // Killed between the two renames.
    let hidden = folder.path().join(".vae.tmp-1-0");
    fs::create_dir(&hidden).unwrap();
    fs::write(hidden.join("lock"), "").unwrap();
    fs::rename(&target, hidden.join("replaced")).unwrap();
    // Of a living writer, and of another folder.
    let config = tiny(4, false, None);
    let weights = Seeded::new(&config);
    let export = Export::fp32(&config, &weights, source());
    let living = FolderWriter::create(folder.path().join("vae"), &export).unwrap();
    fs::create_dir(folder.path().join(".other.tmp-1-0")).unwrap();
    assert!(!hidden.exists());
    assert!(target.join("vaekit.json").exists());

    write_folder(&target, &kl(4, |_| {}));
    assert!(living.path().exists());
    drop(living);
    assert_eq!(names(folder.path()), [".other.tmp-1-0", ".root", "vae"]);
}

#[test]
fn optimums_folders_open() {
    let folder = temporary();
    let config = kl(4, |_| {});
    write_optimum(folder.path(), &config, &config);
    let opened = ModelFolder::open(folder.path()).unwrap();
    assert_eq!(opened.config(), &config);
    assert!(opened.manifest().is_none() && opened.facts().is_none());

    let decoder = ModelFolder::open(folder.path().join("vae_decoder")).unwrap();
    assert!(decoder.model(Half::Encoder).is_none() && !decoder.config().has(Half::Encoder));
}

/// As Optimum exports: no manifest, no metadata.
fn write_optimum(folder: &Path, encoder: &VaeConfig, decoder: &VaeConfig) {
    for (half, config) in [(Half::Encoder, encoder), (Half::Decoder, decoder)] {
        let folder = folder.join(format!("vae_{half}"));
        fs::create_dir_all(&folder).unwrap();
        let bytes = model(config, half, Precision::Fp32);
        fs::write(folder.join("model.onnx"), without_metadata(bytes)).unwrap();
        fs::write(folder.join("config.json"), to_config_json(config, Some(half)).to_string()).unwrap();
    }
}

/// The key of the entry that holds the facts, by another name of the same length.
fn without_metadata(mut bytes: Vec<u8>) -> Vec<u8> {
    let key = [&[10, 6], b"vaekit".as_slice(), &[18]].concat();
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at + 2..at + 8].copy_from_slice(b"tiakev");
    bytes
}

#[test]
fn halves_of_different_vaes_are_refused() {
    let folder = temporary();
    write_optimum(folder.path(), &kl(4, |_| {}), &kl(16, |_| {}));
    check_open_error(
        folder.path(),
        expect![
            "vae_decoder/model.onnx: encoder and decoder have different latents, expected the halves of one VAE; convert or export both from one checkpoint"
        ],
    );
    fs::copy(folder.path().join("vae_decoder/config.json"), folder.path().join("vae_encoder/config.json")).unwrap();
    check_open_error(
        folder.path(),
        expect![
            "vae_encoder/model.onnx: the encoder's output is latent_parameters: float [batch, 8, latent_height, latent_width], expected latent_parameters: float [batch, 32, height, width]"
        ],
    );
}

#[test]
fn lone_models_open() {
    let folder = temporary();
    for half in Half::BOTH {
        let path = folder.path().join(format!("{half}.onnx"));
        let bytes = model(&kl(4, |_| {}), half, Precision::Fp32);
        fs::write(&path, &bytes).unwrap();
        let opened = ModelFolder::open(&path).unwrap();
        assert_eq!(opened.models().len(), 1);
        assert!(opened.model(half).is_some() && opened.config().has(half));
        fs::write(&path, without_metadata(bytes)).unwrap();
    }
    check_open_error(
        &folder.path().join("decoder.onnx"),
        expect![
            "decoder.onnx: says nothing about the VAE it is of; put diffusers' config.json beside it, or convert the checkpoint with vaekit"
        ],
    );
}

#[test]
fn what_holds_no_model_is_refused() {
    let folder = temporary();
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    check_open_error(
        &models,
        expect![
            "models: holds no model; expected vae_decoder/model.onnx or vae_encoder/model.onnx in it (a folder of vaekit or of Optimum), or a model.onnx"
        ],
    );
    fs::write(models.join("model.onnx"), "not a model").unwrap();
    check_open_error(
        &models,
        expect!["models/model.onnx: the byte 0 starts no protobuf field; the file is no ONNX model"],
    );
}

#[test]
fn changed_files_are_found() {
    let folder = temporary();
    let target = folder.path().join("vae");
    write_folder(&target, &kl(4, |_| {}));
    let path = target.join("vae_decoder/model.onnx");
    let mut bytes = fs::read(&path).unwrap();

    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(ModelFolder::open(&target).unwrap().verify_hashes().unwrap_err().to_string().contains("has sha256 "));

    bytes.extend([0xf8, 0x3f, 0]); // a field that nobody knows
    fs::write(&path, &bytes).unwrap();
    check_open_error(
        &target,
        expect![
            "vae/vae_decoder/model.onnx: has size 60393, vaekit.json says 60390; the file is incomplete or was changed, convert the checkpoint again"
        ],
    );

    fs::write(&path, model(&tiny(4, false, None), Half::Decoder, Precision::Fp32)).unwrap();
    fs::remove_file(target.join("vaekit.json")).unwrap();
    check_open_error(
        &target,
        expect![
            "vae/vae_decoder/model.onnx: encoder and decoder have different networks or latents, expected the halves of one VAE; convert or export both from one checkpoint"
        ],
    );
    fs::write(target.join("vaekit.json"), "{").unwrap();
    check_open_error(
        &target,
        expect!["vae/vaekit.json: the manifest is not one of vaekit's: EOF while parsing an object at line 1 column 1"],
    );
}
