//! Which VAE is used: names, Automatic, None, what is remembered.

use serde_json::Value;

use crate::Place;

const ANIME: &str = "kl-ldm-ckpt/model.ckpt";
const WHOLE: &str = "sd1-full/model.safetensors";

/// A web UI's folders, with a checkpoint `full` and its own VAE beside it.
fn web_ui() -> Place {
    let place = Place::new();
    place.put(ANIME, "models/VAE/Anime.ckpt");
    place.put(ANIME, "models/VAE/sub/copy.ckpt");
    place.put("kl-ldm-f16/model.safetensors", "models/VAE/other.safetensors");
    place.put(WHOLE, "models/Stable-diffusion/full.safetensors");
    place.put("kl-diffusers/diffusion_pytorch_model.safetensors", "models/Stable-diffusion/full.vae.safetensors");
    place.put(WHOLE, "models/Stable-diffusion/bare.safetensors");
    place
}

#[track_caller]
fn check(place: &Place, arguments: &[&str], name: &str, path: Option<&str>) {
    let found = place.json(&[&["vae", "which"], arguments].concat());
    assert_eq!(found["name"], name);
    let found = found["paths"].as_array().map(|paths| paths[0].as_str().unwrap().replace('\\', "/"));
    let ends = |found: &String| path.is_some_and(|path| found.ends_with(path));
    assert!(found.as_ref().is_none_or(ends) && found.is_some() == path.is_some(), "{found:?}");
}

const FULL: &str = "models/Stable-diffusion/full.safetensors";
const BARE: &str = "models/Stable-diffusion/bare.safetensors";

#[test]
fn automatic_none_and_names() {
    let place = web_ui();
    let own = Some("models/Stable-diffusion/full.vae.safetensors");
    check(&place, &[], "starter", None);
    check(&place, &["--checkpoint", FULL], "full.vae", own);
    check(&place, &["--vae", "automatic", "--checkpoint", FULL], "full.vae", own);
    check(&place, &["--vae", "Automatic", "--checkpoint", BARE], "bare", Some(BARE));
    check(&place, &["--vae", "None", "--checkpoint", FULL], "full", Some(FULL));
    check(&place, &["--vae", "anime", "--checkpoint", FULL], "Anime", Some("models/VAE/Anime.ckpt"));
    check(&place, &["--vae", "full"], "full.vae", own);
    // The hash, whether the file was read before or not.
    check(&place, &["--vae", "f8fe03eba5"], "other", Some("models/VAE/other.safetensors"));
    // With the name only if it is the file's.
    check(&place, &["--vae", "other [f8fe03eba5]"], "other", Some("models/VAE/other.safetensors"));
    check(&place, &["--vae", "anime [bc19d0ba30]"], "Anime", Some("models/VAE/Anime.ckpt"));
    place.fails(&["vae", "which", "--vae", "anime [f8fe03eba5]"], 3, &["there is no VAE `anime [f8fe03eba5]`"]);
    place.fails(&["vae", "which", "--vae", "Automatic"], 2, &["--checkpoint"]);
    // Commands without that option do not advise it.
    for command in ["info", "path"] {
        let words = ["`Automatic` chooses", "vaekit vae which --vae Automatic --checkpoint FILE"];
        place.fails(&["vae", command, "automatic"], 2, &words);
    }
    place.fails(&["vae", "which", "--vae", "None", "--checkpoint", "nowhere.ckpt"], 3, &["nowhere.ckpt"]);
}

#[test]
fn names_that_are_not_there_or_not_alone() {
    let place = web_ui();
    place.put(ANIME, "models/VAE/sub/other.ckpt");
    place.fails(&["vae", "which", "--vae", "anmie"], 3, &["`anmie`", "starter", "did you mean `Anime`?"]);
    place.fails(&["vae", "which", "--vae", "other"], 3, &["other.safetensors", "other.ckpt"]);
    place.fails(&["vae", "which", "--vae", "x", "--vae-dir", "nowhere"], 3, &["nowhere"]);
    let empty = Place::new();
    empty.fails(&["vae", "which", "--vae", "x"], 3, &["--vae-dir", "VAEKIT_VAE_DIR"]);
}

#[test]
fn folders_are_named_by_option_by_variable_or_are_the_usual_ones() {
    let place = Place::new();
    for folder in ["a", "b", "models/VAE", ".home/VAE"] {
        place.put(ANIME, &format!("{folder}/{}.ckpt", folder.replace('/', "-").trim_start_matches('.')));
    }
    let variable = std::env::join_paths(["a", "b"]).unwrap();
    let listed = |arguments: &[&str], variable: Option<&std::ffi::OsStr>| -> Vec<String> {
        let mut command = place.command(&[&["vae", "list", "--json"], arguments].concat());
        variable.map(|variable| command.env("VAEKIT_VAE_DIR", variable));
        let found: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        found["vaes"].as_array().unwrap().iter().map(|vae| vae["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&[], None), ["home-VAE.ckpt", "models-VAE.ckpt"]);
    assert_eq!(listed(&[], Some(&variable)), ["a.ckpt", "b.ckpt"]);
    assert_eq!(listed(&["--vae-dir", "b", "--vae-dir", "."], Some(&variable)), ["b.ckpt", "models-VAE.ckpt"]);
}

#[test]
fn the_list_shows_short_hashes_and_copies() {
    let place = web_ui();
    // A cache of its own: what another test has read is known.
    let list = |arguments: &[&str]| -> Value {
        let mut command = place.command(&[&["vae", "list", "--json"], arguments].concat());
        serde_json::from_slice(&command.env("VAEKIT_CACHE", place.path(".cache")).output().unwrap().stdout).unwrap()
    };
    assert_eq!(list(&[])["vaes"][0]["short_hash"], Value::Null);
    let read = list(&["--hash"]);
    assert_eq!(read, list(&[]));
    let of = |name: &str| read["vaes"].as_array().unwrap().iter().find(|vae| vae["name"] == name).unwrap();
    assert_eq!(of("Anime.ckpt")["short_hash"], "bc19d0ba30");
    assert_eq!(of("sub/copy.ckpt")["same_as"]["name"], "Anime.ckpt");
    assert_eq!(of("sub/copy.ckpt")["same_as"]["same_file"], true);
    assert_eq!(of("other.safetensors")["same_as"], Value::Null);
    let info = place.json(&["vae", "info", "copy"]);
    assert!(info["files"][0]["sha256"].as_str().unwrap().starts_with("bc19d0ba30"));
}

#[test]
fn what_is_remembered_is_used_until_it_is_gone_or_forgotten() {
    let place = web_ui();
    place.fails(&["vae", "use", "nowhere"], 3, &["nowhere"]);
    place.json(&["vae", "use", "ANIME"]);
    check(&place, &[], "Anime", Some("models/VAE/Anime.ckpt"));
    check(&place, &["--vae-dir", "models/Stable-diffusion"], "Anime", Some("models/VAE/Anime.ckpt"));
    check(&place, &["--checkpoint", FULL], "Anime", Some("models/VAE/Anime.ckpt"));
    check(&place, &["--vae", "starter"], "starter", None);
    assert_eq!(place.json(&["vae", "list"])["default"], "Anime");
    std::fs::remove_file(place.path("models/VAE/Anime.ckpt")).unwrap();
    place.fails(&["vae", "which"], 3, &["remembered", "Anime", "vaekit vae use"]);
    place.json(&["vae", "use", "none"]);
    check(&place, &["--checkpoint", FULL], "full", Some(FULL));
    place.json(&["vae", "use", "--forget"]);
    check(&place, &[], "starter", None);
}

#[test]
fn a_checkpoint_tells_how_the_latents_of_its_vae_are_scaled() {
    let place = web_ui();
    place.picture("in.png");
    let roundtrip = ["roundtrip", "--engine", "tract", "--vae", "copy", "in.png", "-o", "out.png"];
    place.fails(&["encode", "--engine", "tract", "--vae", "copy", "in.png", "-o", "x.npy"], 3, &["--scaling"]);
    place.json(&[&roundtrip[..], &["--checkpoint", FULL]].concat());
    let made = place.json(&["inspect", "out.png"]);
    assert_eq!(made["provenance"]["vae"]["latents"]["scaling"]["scaling_factor"], 0.18215);
}
