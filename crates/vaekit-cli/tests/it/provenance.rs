//! What files say about the VAE that made them, and what that is good for.

use std::fs::{self, File};
use std::process::Command;

use serde_json::Value;

use crate::Place;

/// `vae.safetensors`, made by `models/VAE/anime.ckpt`. The cache is the place's own: a conversion that another test left would
/// be found.
fn place() -> Place {
    let place = Place::new();
    place.picture("in.png");
    place.put("kl-ldm-ckpt/model.ckpt", "models/VAE/anime.ckpt");
    json(&place, &["encode", "--engine", "tract", "--vae", "anime", "in.png", "-o", "made.safetensors"]);
    place
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("VAEKIT_CACHE", place.path(".cache"));
    command
}

#[track_caller]
fn json(place: &Place, arguments: &[&str]) -> Value {
    let output = command(place, arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn fails(place: &Place, arguments: &[&str], code: i32, words: &[&str]) {
    let output = command(place, arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "`{word}` is not in `{said}`"));
}

const DECODE: [&str; 6] = ["decode", "--engine", "tract", "made.safetensors", "-o", "out.png"];

#[test]
fn decode_takes_the_vae_that_made_the_latents_whatever_it_is_called_now() {
    let place = place();
    assert_eq!(json(&place, &DECODE)["vae"], "anime");
    fs::rename(place.path("models/VAE/anime.ckpt"), place.path("models/VAE/renamed.ckpt")).unwrap();
    json(&place, &["cache", "clear"]);
    // Nothing is known of a file that was never read, and it has another name.
    fails(&place, &DECODE, 3, &["`anime`", "vaekit vae list --hash", "--vae"]);
    json(&place, &["vae", "list", "--hash"]);
    let decoded = json(&place, &DECODE);
    assert_eq!(decoded["vae"], "renamed");
    assert!(decoded["chosen"].as_str().unwrap().contains("weights"));
}

#[test]
fn a_kept_conversion_will_do() {
    let place = place();
    fs::remove_file(place.path("models/VAE/anime.ckpt")).unwrap();
    assert_eq!(json(&place, &DECODE)["vae"], "anime");
    json(&place, &["cache", "clear"]);
    fails(&place, &DECODE, 3, &["`anime`", "not installed", "`starter`"]);
    assert!(
        !place.path(".cache/converted").exists() || fs::read_dir(place.path(".cache/converted")).unwrap().count() == 0
    );
}

#[test]
fn a_kept_conversion_will_do_in_the_precision_that_is_asked_for() {
    let place = place();
    fs::remove_file(place.path("models/VAE/anime.ckpt")).unwrap();
    let half = [&DECODE[..], &["--precision", "fp16"]].concat();
    fails(&place, &half, 3, &["`anime`", "not installed", "its conversion to fp32 is kept: --precision fp32"]);

    place.put("kl-ldm-ckpt/model.ckpt", "models/VAE/anime.ckpt");
    let encode = ["encode", "--engine", "tract", "--vae", "anime", "in.png", "-o", "half.safetensors"];
    json(&place, &[&encode[..], &["--precision", "fp16"]].concat());
    fs::remove_file(place.path("models/VAE/anime.ckpt")).unwrap();
    for (arguments, precision) in [(&half[..], "fp16"), (&DECODE[..], "fp32")] {
        let folder = json(&place, arguments)["folder"].as_str().unwrap().to_owned();
        assert!(folder.ends_with(&format!("-{precision}")), "{folder}");
    }
}

#[test]
fn a_namesake_with_the_same_latents_will_do_and_is_told() {
    let place = place();
    json(&place, &["cache", "clear"]);
    place.put("kl-ldm-f16/model.safetensors", "models/VAE/anime.ckpt");
    let output = command(&place, &DECODE).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("other weights"), "{said}");
}

#[test]
fn a_default_with_the_same_latents_will_do_and_one_with_others_will_not() {
    let place = place();
    fs::remove_file(place.path("models/VAE/anime.ckpt")).unwrap();
    json(&place, &["cache", "clear"]);
    place.put("kl-ldm-f16/model.safetensors", "elsewhere/anime-too.safetensors");
    json(&place, &["vae", "use", "elsewhere/anime-too.safetensors"]);
    let decoded = json(&place, &DECODE);
    assert_eq!(decoded["vae"], "anime-too");
    assert!(decoded["chosen"].as_str().unwrap().contains("`anime`"));
    json(&place, &["vae", "use", "starter"]);
    fails(&place, &DECODE, 3, &["`anime`", "`starter` has other latents"]);
}

#[test]
fn latents_that_say_nothing_or_different_things_need_a_vae() {
    let place = place();
    json(&place, &["encode", "--engine", "tract", "--vae", "anime", "in.png", "-o", "made.npy"]);
    fails(
        &place,
        &["decode", "--latents", "raw", "made.npy", "-o", "out.png"],
        2,
        &["made.npy", "--vae", "vaekit vae use"],
    );
    json(&place, &["encode", "--engine", "tract", "in.png", "-o", "starter.safetensors"]);
    let both = ["decode", "made.safetensors", "starter.safetensors", "-o", "out"];
    fails(&place, &both, 2, &["`anime`", "`starter`", "one by one"]);
}

#[test]
fn inspect_shows_what_made_a_picture_or_latents() {
    let place = place();
    json(&place, &DECODE);
    let (picture, latents) = (json(&place, &["inspect", "out.png"]), json(&place, &["inspect", "made.safetensors"]));
    assert_eq!((&picture["format"], &latents["format"]), (&"png".into(), &"safetensors".into()));
    assert_eq!((&picture["domain"], &latents["domain"]), (&Value::Null, &"raw".into()));
    assert_eq!(latents["shape"], serde_json::json!([1, 4, 4, 4]));
    for made in [&picture, &latents] {
        assert_eq!(made["provenance"]["vae"]["name"], "anime");
        assert!(made["vae_is_at"].as_str().unwrap().replace('\\', "/").ends_with("models/VAE/anime.ckpt"));
    }
    // A checkpoint is still one.
    assert_eq!(json(&place, &["inspect", "models/VAE/anime.ckpt"])["kind"], "checkpoint");
    let nothing = json(&place, &["inspect", "in.png"]);
    assert_eq!((&nothing["provenance"], &nothing["web_ui"]), (&Value::Null, &Value::Null));
}

#[test]
fn inspect_knows_what_the_web_ui_writes() {
    let place = place();
    let mut encoder = png::Encoder::new(File::create(place.path("web.png")).unwrap(), 1, 1);
    let parameters = "a cat\nSteps: 20, Size: 1x1, VAE hash: bc19d0ba30, VAE: anime.vae.pt, Version: v1.10.1";
    encoder.add_text_chunk("parameters".into(), parameters.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    let made = json(&place, &["inspect", "web.png"]);
    assert_eq!((&made["web_ui"]["vae"], &made["web_ui"]["vae_hash"]), (&"anime.vae.pt".into(), &"bc19d0ba30".into()));
    assert!(made["vae_is_at"].as_str().unwrap().ends_with("anime.ckpt"));
}

#[test]
fn a_damaged_picture_is_bad_input() {
    let place = Place::new();
    fs::write(place.path("cut.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    place.fails(&["inspect", "cut.png"], 3, &["cut.png"]);
}
