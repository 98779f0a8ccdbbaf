//! Automatic, None, a name; and what is remembered.

use vaekit_library::{Choice, Remembered, own_vae};

use crate::Place;

#[test]
fn choices() {
    let check = |text: &str, expected: Choice| assert_eq!(text.parse(), Ok(expected));
    check("Automatic", Choice::Automatic);
    check("auto", Choice::Automatic);
    check("NONE", Choice::None);
    check("none.pt", Choice::Named("none.pt".into()));
}

/// `checkpoint`'s own VAE, if `vaes` is a folder of VAEs.
#[track_caller]
fn check(files: &[&str], checkpoint: &str, expected: Result<Option<&str>, &str>) {
    let place = Place::with(files);
    let entries = if place.path("vaes").exists() { place.library("vaes").entries } else { Vec::new() };
    let found = own_vae(&place.path(checkpoint), &entries);
    let found = found.map_err(|error| error.to_string().replace(&place.path("").display().to_string(), ""));
    assert_eq!(found, expected.map(|path| path.map(|path| place.path(path))).map_err(str::to_owned));
}

#[test]
fn beside_the_checkpoint() {
    check(&["m.ckpt", "m.vae.pt"], "m.ckpt", Ok(Some("m.vae.pt")));
    check(&["m.v2.ckpt", "m.v2.vae.ckpt", "m.vae.pt"], "m.v2.ckpt", Ok(Some("m.v2.vae.ckpt")));
    check(&["m.ckpt", "m.vae.pt", "m.vae.ckpt", "m.vae.safetensors"], "m.ckpt", Ok(Some("m.vae.safetensors")));
    check(&["m.ckpt", "m-2.vae.pt", "vae.pt"], "m.ckpt", Ok(None));
}

#[test]
fn in_the_folders_of_vaes() {
    check(&["m.ckpt", "vaes/m.vae.pt", "vaes/m.pt"], "m.ckpt", Ok(Some("vaes/m.vae.pt")));
    check(&["m.ckpt", "vaes/m.pt"], "m.ckpt", Ok(Some("vaes/m.pt")));
    check(&["m.ckpt", "m.vae.pt", "vaes/m.vae.pt"], "m.ckpt", Ok(Some("m.vae.pt")));
    check(&["vaes/m.ckpt"], "vaes/m.ckpt", Ok(None));
    check(
        &["m.ckpt", "vaes/a/m.vae.pt", "vaes/b/m.vae.pt"],
        "m.ckpt",
        Err("`m` may be any of `vaes/a/m.vae.pt`, `vaes/b/m.vae.pt`; write more of the name, or the hash"),
    );
}

#[test]
fn what_is_remembered_comes_back_and_is_forgotten() {
    let place = Place::with(&["damaged.json"]);
    let file = place.path("home/default.json");
    assert_eq!(Remembered::load(&file).unwrap(), None);
    let remembered = Remembered { vae: "mse".into(), paths: vec![place.path("mse.pt")] };
    remembered.save(&file).unwrap();
    assert_eq!(Remembered::load(&file).unwrap(), Some(remembered));
    Remembered::forget(&file).unwrap();
    Remembered::forget(&file).unwrap();
    assert_eq!(Remembered::load(&file).unwrap(), None);
    let error = Remembered::load(&place.path("damaged.json")).unwrap_err().to_string();
    assert!(error.contains("damaged.json"), "{error}");
}
