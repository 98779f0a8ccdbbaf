//! Conversions that are kept: made once, by whoever comes first.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use serde_json::Value;

use crate::Place;

/// A picture, and two copies of a VAE under names that tell its scaling.
fn place() -> Place {
    let place = Place::new();
    place.picture("in.png");
    place.put("kl-ldm-ckpt/model.ckpt", "anime.ckpt");
    place.put("kl-ldm-ckpt/model.ckpt", "copy-of-anime.ckpt");
    place
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("VAEKIT_CACHE", place.path("cache"));
    command
}

fn encode(place: &Place, vae: &str, out: &str) -> Command {
    command(place, &["encode", "--engine", "tract", "--scaling", "sd1", "--vae", vae, "in.png", "-o", out])
}

#[track_caller]
fn json(mut command: Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn kept(place: &Place) -> Vec<String> {
    let list = json(command(place, &["cache", "list"]));
    list["conversions"].as_array().unwrap().iter().map(|kept| kept["key"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn processes_that_want_the_same_vae_at_once_convert_it_once() {
    let place = place();
    json(encode(&place, "anime.ckpt", "first.safetensors"));
    let key = kept(&place).remove(0);
    json(command(&place, &["cache", "clear"]));

    // The test is the process that converts, until all others wait for it.
    let lock = File::create(place.path("cache/converted").join(format!("{key}.lock"))).unwrap();
    lock.lock().unwrap();
    let start = |i: usize| {
        let vae = ["anime.ckpt", "copy-of-anime.ckpt"][i % 2];
        let mut command = encode(&place, vae, &format!("{i}.safetensors"));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        (child, said)
    };
    let mut children: Vec<_> = (0..4).map(start).collect();
    for (_, said) in &mut children {
        assert!(said.any(|line| line.contains("another process converts")));
    }
    assert!(kept(&place).is_empty());
    lock.unlock().unwrap();

    let mut conversions = 0;
    for (mut child, said) in children {
        conversions += said.filter(|line| line.starts_with("converting ")).count();
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(conversions, 1);
    assert_eq!(kept(&place), [key]);
    // Each output bears the name that its VAE was asked for by.
    for (file, name) in [("0.safetensors", "anime"), ("1.safetensors", "copy-of-anime")] {
        assert_eq!(json(command(&place, &["inspect", file]))["provenance"]["vae"]["name"], name);
    }
}

#[test]
fn a_process_that_was_killed_is_in_nobodys_way() {
    let place = place();
    let begin = Instant::now();
    json(encode(&place, "anime.ckpt", "whole.safetensors"));
    let whole = begin.elapsed();
    for step in 0..8 {
        json(command(&place, &["cache", "clear"]));
        let mut command = encode(&place, "anime.ckpt", "killed.safetensors");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(whole * step / 8);
        child.kill().unwrap();
        child.wait().unwrap();
        json(encode(&place, "anime.ckpt", "after.safetensors"));
        let read = |name: &str| std::fs::read(place.path(name)).unwrap();
        assert!(read("after.safetensors") == read("whole.safetensors"), "killed at step {step}");
    }
    let in_cache = std::fs::read_dir(place.path("cache/converted")).unwrap();
    let mut left: Vec<_> = in_cache.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    let key = kept(&place).remove(0);
    assert_eq!(left, [key.clone(), format!("{key}.lock")]);
}

#[test]
fn conversions_are_listed_and_removed() {
    let place = place();
    json(encode(&place, "anime.ckpt", "x.safetensors"));
    json(command(&place, &["encode", "--engine", "tract", "in.png", "-o", "y.safetensors"]));
    let keys = kept(&place);
    assert_eq!(keys.len(), 2);
    let list = json(command(&place, &["cache", "list"]));
    assert!(list["size"].as_u64().unwrap() > 1_000_000 && list["hashed_files"] == 1, "{list}");
    let unknown = command(&place, &["cache", "clear", "nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(json(command(&place, &["cache", "clear", &keys[0]]))["removed"], serde_json::json!([keys[0]]));
    assert_eq!(kept(&place), keys[1..]);
    json(command(&place, &["cache", "clear"]));
    let left: Vec<_> = std::fs::read_dir(place.path("cache/converted")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(json(command(&place, &["cache", "list"]))["hashed_files"], 0);
}

#[test]
fn a_conversion_that_is_being_made_is_not_cleared() {
    let place = place();
    json(encode(&place, "anime.ckpt", "x.safetensors"));
    let key = kept(&place).remove(0);
    let folder = place.path("cache/converted");
    let lock = File::create(folder.join(format!("{key}.lock"))).unwrap();
    lock.lock().unwrap();
    std::fs::rename(folder.join(&key), folder.join(format!(".{key}.tmp-1-0"))).unwrap();
    let cleared = json(command(&place, &["cache", "clear"]));
    assert_eq!(cleared["busy"], serde_json::json!([format!(".{key}.tmp-1-0")]));
    assert!(folder.join(format!(".{key}.tmp-1-0")).exists());
    lock.unlock().unwrap();
    assert_eq!(json(command(&place, &["cache", "clear"]))["busy"], serde_json::json!([]));
    assert!(std::fs::read_dir(folder).unwrap().next().is_none());
}
