//! What is listed, of which folders.

use vaekit_library::{Kind, Library, ScanError, scan};

use crate::{Place, names};

#[track_caller]
fn check(files: &[&str], folder: &str, expected: &[&str]) {
    let place = Place::with(files);
    assert_eq!(names(&place.library(folder).entries), expected);
}

#[test]
fn checkpoints_of_a_folder_and_those_below_it_in_natural_order() {
    let files = [
        "v10.pt",
        "v2.CKPT",
        "put vae here.txt",
        "a/b/Anime.safetensors",
        ".hidden.pt",
        ".git/x.pt",
        "no_ending",
        "z.sft",
    ];
    check(&files, ".", &["a/b/Anime.safetensors", "v2.CKPT", "v10.pt", "z.sft"]);
}

#[test]
fn an_installation_of_the_web_ui() {
    let files = [
        "models/VAE/mse.safetensors",
        "models/VAE/sd1/anime.pt",
        "models/VAE-taesd/taesd_decoder.pth",
        "models/VAE-taesd/taesd_encoder.pth",
        "models/VAE-approx/model.pt",
        "models/Stable-diffusion/model.safetensors",
        "models/Stable-diffusion/model.vae.pt",
        "models/Lora/x.safetensors",
        "embeddings/easy.pt",
    ];
    let expected = ["model.vae.pt", "mse.safetensors", "sd1/anime.pt", "taesd"];
    check(&files, ".", &expected);
    check(&files, "models", &expected);
    check(&files, "models/VAE", &["mse.safetensors", "sd1/anime.pt"]);
    let inside: Vec<String> = files.iter().map(|file| format!("webui/{file}")).collect();
    check(&inside.iter().map(String::as_str).collect::<Vec<_>>(), ".", &expected);
}

#[test]
fn an_installation_of_comfyui() {
    let files = [
        "ComfyUI/models/vae/flux1/ae.safetensors",
        "ComfyUI/models/vae_approx/taef1_decoder.safetensors",
        "ComfyUI/models/vae_approx/taef1_encoder.safetensors",
        "ComfyUI/models/vae_approx/taesd3_decoder.pth",
        "ComfyUI/models/vae_approx/preview.pt",
        "ComfyUI/models/checkpoints/model.ckpt",
        "ComfyUI/models/checkpoints/sub/model.vae.safetensors",
    ];
    let expected = ["flux1/ae.safetensors", "sub/model.vae.safetensors", "taef1", "taesd3_decoder.pth"];
    check(&files, "ComfyUI", &expected);
    check(&files, ".", &expected);
}

#[test]
fn comfyuis_extra_paths() {
    let place = Place::with(&[
        "ComfyUI/models/vae/ae.safetensors",
        "webui/models/VAE/mse.safetensors",
        "webui/models/Stable-diffusion/model.safetensors",
        "webui/models/Stable-diffusion/model.vae.pt",
        "disk/anime.pt",
    ]);
    let yaml = "ComfyUI/extra_model_paths.yaml";
    let paths = "a111:\n  base_path: ../webui/\n  vae: models/VAE\n  checkpoints: models/Stable-diffusion\n  loras: x\n\
                 other:\n  vae: |\n    ../disk\n    models/vae\n    ../gone\n";
    place.put(yaml, paths.as_bytes());
    let library = place.library("ComfyUI");
    assert_eq!(names(&library.entries), ["ae.safetensors", "anime.pt", "model.vae.pt", "mse.safetensors"]);
    let [gone] = library.skipped.as_slice() else { panic!("{:?}", library.skipped) };
    assert!(gone.contains("gone, which") && gone.contains("extra_model_paths.yaml names"), "{gone}");
    // A folder of VAEs in it is that folder alone.
    assert_eq!(names(&place.library("ComfyUI/models/vae").entries), ["ae.safetensors"]);

    place.put(yaml, b"a:\n\tvae: x\n");
    let library = place.library("ComfyUI");
    assert_eq!(names(&library.entries), ["ae.safetensors"]);
    assert!(library.skipped[0].contains("extra_model_paths.yaml: line 2"), "{:?}", library.skipped);

    // All models may lie elsewhere.
    std::fs::remove_dir_all(place.path("ComfyUI/models")).unwrap();
    place.put(yaml, b"a:\n  vae: ../disk\n");
    assert_eq!(names(&place.library("ComfyUI").entries), ["anime.pt"]);
}

#[test]
fn folders_that_are_one_vae() {
    let place = Place::with(&[
        "sd-vae-ft-mse/config.json",
        "sd-vae-ft-mse/diffusion_pytorch_model.fp16.safetensors",
        "sd-vae-ft-mse/diffusion_pytorch_model.safetensors",
        "pipeline/model_index.json",
        "pipeline/unet/diffusion_pytorch_model.safetensors",
        "pipeline/text_encoder_2/model.safetensors",
        "pipeline/vae/diffusion_pytorch_model.bin",
        "mine/vaekit.json",
        "mine/vae_encoder/model.onnx",
        "mine/vae_decoder/model.onnx",
    ]);
    let entries = place.entries();
    assert_eq!(names(&entries), ["mine", "pipeline/vae", "sd-vae-ft-mse"]);
    assert_eq!(
        entries.iter().map(|entry| entry.kind).collect::<Vec<_>>(),
        [Kind::Model, Kind::Diffusers, Kind::Diffusers]
    );
    assert_eq!(entries[0].paths(), [place.path("mine")]);
    assert_eq!(entries[1].base_name(), "pipeline");
    assert_eq!(entries[2].paths(), [place.path("sd-vae-ft-mse/diffusion_pytorch_model.safetensors")]);
    // Each may be named itself.
    assert_eq!(names(&place.library("sd-vae-ft-mse").entries), ["sd-vae-ft-mse"]);
    assert_eq!(names(&place.library("mine").entries), ["mine"]);
}

#[test]
fn halves_are_one_vae_with_the_encoder_first() {
    let mut files = vec!["taesd_decoder.pth", "taesd_encoder.pth", "lone_encoder.pth", "_decoder.pt"];
    let place = Place::with(&files);
    let entries = place.entries();
    assert_eq!(names(&entries), ["_decoder.pt", "lone_encoder.pth", "taesd"]);
    assert_eq!(entries[2].kind, Kind::Halves);
    assert_eq!(entries[2].paths(), [place.path("taesd_encoder.pth"), place.path("taesd_decoder.pth")]);
    // In two formats they are one VAE still.
    files.extend(["taesd_decoder.safetensors", "taesd_encoder.safetensors"]);
    let place = Place::with(&files);
    let entries = place.entries();
    assert_eq!(names(&entries), ["_decoder.pt", "lone_encoder.pth", "taesd"]);
    assert_eq!(entries[2].paths(), [place.path("taesd_encoder.safetensors"), place.path("taesd_decoder.safetensors")]);
}

#[test]
fn a_folder_that_is_named_twice_is_listed_once() {
    let place = Place::with(&["a/x.pt", "b/y.pt"]);
    let library = scan(&[place.path("a"), place.path("b"), place.path("a")]).unwrap();
    assert_eq!(names(&library.entries), ["x.pt", "y.pt"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_circles_end() {
    let place = Place::with(&["here/x.pt", "there/y.pt"]);
    std::os::unix::fs::symlink(place.path("there"), place.path("here/linked")).unwrap();
    std::os::unix::fs::symlink(place.path("here"), place.path("here/circle")).unwrap();
    std::os::unix::fs::symlink(place.path("nowhere"), place.path("here/dangling.pt")).unwrap();
    assert_eq!(names(&place.library("here").entries), ["linked/y.pt", "x.pt"]);
}

#[test]
fn a_folder_that_is_named_must_be_there() {
    let place = Place::with(&[]);
    let Err(ScanError::Io { folder, .. }) = scan(&[place.path("nowhere")]) else { panic!() };
    assert_eq!(folder, place.path("nowhere"));
}

#[test]
fn the_default_is_an_installation_here_and_the_own_folder() {
    let place = Place::with(&["webui/models/VAE/x.pt", "plain/x.pt", "own/x.pt"]);
    let check = |working: &str, own: &str, expected: &[&str]| {
        let found = Library::default_folders(&place.path(working), &place.path(own));
        assert_eq!(found, expected.iter().map(|name| place.path(name)).collect::<Vec<_>>());
    };
    check("webui", "own", &["webui", "own"]);
    check("plain", "own", &["own"]);
    check("plain", "nowhere", &[]);
}

#[test]
fn ten_thousand_entries() {
    let place = Place::with(&[]);
    for i in 0..10_000 {
        std::fs::write(place.path(&format!("vae-{i}.safetensors")), b"").unwrap();
    }
    assert_eq!(place.entries().len(), 10_000);
}
