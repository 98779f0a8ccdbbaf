//! Several VAEs on several pictures, from the command line to the report.

use std::path::Path;

use image::{ImageBuffer, Rgb};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use vaekit_checkpoint::{Source, StateDict, TensorInfo};

use crate::{Place, fixture};

/// Waves of several lengths: neither flat nor noise.
fn picture(place: &Place, name: &str, width: u32, height: u32) {
    let wave = |x: u32, y: u32, length: f32| ((x as f32 + 2.0 * y as f32) / length).sin() * 50.0;
    let pixel = |x, y| {
        let value = |shift: f32| (128.0 + wave(x, y, 3.0) + wave(y, x, 11.0 + shift)) as u8;
        Rgb([value(0.0), value(2.0), value(5.0)])
    };
    ImageBuffer::<Rgb<u8>, _>::from_fn(width, height, pixel).save(place.path(name)).unwrap();
}

fn compare(place: &Place, arguments: &[&str]) -> Value {
    place.json(&[&["compare", "--engine", "tract", "-o", "report"], arguments].concat())
}

fn warnings(report: &Value) -> Vec<&str> {
    report["verdict"]["warnings"].as_array().unwrap().iter().map(|warning| warning["kind"].as_str().unwrap()).collect()
}

/// Every tensor of a pickle under its own name.
fn write_as_safetensors(checkpoint: &str, target: &Path) {
    let pickle = StateDict::open(Source::new("model.ckpt", std::fs::read(checkpoint).unwrap())).unwrap();
    let read = |tensor: &TensorInfo| {
        let values = pickle.read_f32(&tensor.name).ok()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Some((tensor.name.clone(), tensor.shape.clone(), bytes))
    };
    let tensors: Vec<_> = pickle.tensors().iter().filter_map(read).collect();
    let views =
        tensors.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    std::fs::write(target, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn the_same_weights_come_out_equal_from_a_ckpt_and_from_safetensors() {
    let place = Place::new();
    picture(&place, "in.png", 40, 32);
    let ckpt = fixture("kl-ldm-ckpt/model.ckpt");
    write_as_safetensors(&ckpt, &place.path("model.safetensors"));
    let named = |path: &str, label: &str| format!("{path},scaling=sd1,label={label}");
    let variants = [named(&ckpt, "ckpt"), named(&ckpt, "again"), named("model.safetensors", "safetensors")];
    let [a, b, c] = &variants;
    let report = compare(&place, &["in.png", "--vae", a, "--vae", b, "--vae", c]);
    for agreement in report["pictures"][0]["agreement"].as_array().unwrap() {
        assert_eq!((&agreement["equal"], &agreement["largest_step"]), (&1.0.into(), &0.into()), "{agreement}");
    }
    assert!(report["verdict"]["text"].as_str().unwrap().contains("All 3 come out equal in every pixel"));
    assert!(!warnings(&report).contains(&"same_weights_differ"));
}

#[test]
fn precisions_agree_and_a_scale_mix_up_is_named() {
    let place = Place::new();
    picture(&place, "in.png", 40, 32);
    let checkpoint = fixture("kl-ldm-f16/model.safetensors");
    let variant = |options: &str| format!("{checkpoint},{options}");
    let (single, half, mixed) =
        (variant("scaling=sd1"), variant("scaling=sd1,precision=fp16"), variant("scaling=sdxl,label=mixed up"));
    let report = compare(&place, &["in.png", "--vae", &single, "--vae", &half, "--vae", &mixed]);
    assert!(!warnings(&report).contains(&"same_weights_differ"), "{report:#}");
    assert!(warnings(&report).contains(&"same_weights_other_scaling"), "{report:#}");
    assert_eq!(report["variants"][0]["label"], "model sd1");
    assert_eq!(report["variants"][1]["precision"], "fp16");
    let page = std::fs::read_to_string(place.path("report/index.html")).unwrap();
    assert!(page.contains("Scale mix-up") && page.contains("0.13025 of sdxl"));
}

#[test]
fn a_folder_of_unlike_pictures_makes_a_report_of_three_files() {
    let place = Place::new();
    std::fs::create_dir(place.path("photos")).unwrap();
    for (name, width, height) in [("b.png", 37, 21), ("a.png", 16, 64), ("c.PNG", 200, 180)] {
        picture(&place, &format!("photos/{name}"), width, height);
    }
    std::fs::write(place.path("photos/notes.txt"), "no picture").unwrap();
    let kl = format!("{},label=random", fixture("kl-diffusers"));
    let report = compare(&place, &["photos", "--vae", "starter", "--vae", &kl, "--pictures"]);
    let sizes: Vec<_> =
        report["pictures"].as_array().unwrap().iter().map(|p| (&p["name"], &p["width"], &p["height"])).collect();
    assert_eq!(
        sizes,
        [
            (&"a.png".into(), &16.into(), &64.into()),
            (&"b.png".into(), &37.into(), &21.into()),
            (&"c.PNG".into(), &200.into(), &180.into()),
        ]
    );
    let read = |name: &str| std::fs::read_to_string(place.path("report").join(name)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read("report.json")).unwrap()["verdict"], report["verdict"]);
    assert_eq!(read("report.csv").lines().count(), 1 + 3 * 2);
    // Whatever it is called in the report, the VAE is named.
    let weights = report["variants"][1]["weights_sha256"].as_str().unwrap();
    assert!(read("report.csv").lines().nth(2).unwrap().contains(&format!(",random,kl-diffusers,{weights},")));
    assert!(read("index.html").contains(&format!("kl-diffusers (weights {})", &weights[..10])));
    let made_by = place.json(&["inspect", "report/random/000-a.png"])["provenance"]["vae"]["name"].clone();
    assert_eq!(made_by, "kl-diffusers");
    assert!(place.path("report/starter/001-b.png").is_file());
    // Random weights against trained ones.
    let score = |variant: usize| report["pictures"][2]["trips"][variant]["ssimulacra2"].as_f64().unwrap();
    assert!(score(0) > score(1), "{} {}", score(0), score(1));
}

#[test]
fn automatic_and_none_choose_for_the_checkpoint() {
    let place = Place::new();
    picture(&place, "in.png", 32, 32);
    place.put("sd1-full/model.safetensors", "models/full.safetensors");
    place.put("kl-diffusers/diffusion_pytorch_model.safetensors", "models/full.vae.safetensors");
    let of = ["--checkpoint", "models/full.safetensors"];
    let report = compare(&place, &[&["in.png", "--vae", "Automatic", "--vae", "None"], &of[..]].concat());
    let labels: Vec<_> = report["variants"].as_array().unwrap().iter().map(|variant| &variant["label"]).collect();
    assert_eq!(labels, [&Value::from("full.vae"), &Value::from("full")]);
    // The file beside it does not tell how its latents are scaled; the checkpoint does.
    let scaling = |variant: usize| &report["variants"][variant]["latents"]["scaling"]["scaling_factor"];
    assert_eq!((scaling(0), scaling(1)), (&0.18215.into(), &0.18215.into()));
}

#[test]
fn what_cannot_be_compared_is_said_before_any_work() {
    let place = Place::new();
    picture(&place, "in.png", 16, 16);
    std::fs::create_dir(place.path("empty")).unwrap();
    let out = ["-o", "report", "--vae", "starter"];
    let fails = |arguments: &[&str], code, words: &[&str]| {
        place.fails(&[&["compare"], arguments, &out[..]].concat(), code, words);
        assert!(!place.path("report").exists());
    };
    fails(&["empty"], 3, &["empty holds no pictures", "png, jpg"]);
    fails(&["nothing.png"], 3, &["nothing.png"]);
    fails(&["in.png", "--vae", "nowhere"], 3, &["nowhere"]);
    fails(&["in.png", "--vae", "starter,engine=onnx"], 2, &["engine=onnx"]);
    fails(&["in.png", "--vae", "starter,presision=fp16"], 3, &["`presision=` says nothing", "precision=", "tiles="]);
    fails(&["in.png", "--vae", "Automatic"], 2, &["`Automatic` chooses", "--checkpoint FILE"]);
    fails(&["in.png", "--vae", "starter,engine=tract,provider=cuda"], 2, &["cuda", "tract"]);
    fails(
        &["in.png", "--vae", &format!("{},precision=fp16", fixture("tae-original/taesd_encoder.pth"))],
        3,
        &["decoder"],
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_neither_a_report_nor_temporary_files() {
    use std::time::{Duration, Instant};
    let place = Place::new();
    picture(&place, "in.png", 640, 640);
    let temporary = place.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let entries = || std::fs::read_dir(&temporary).unwrap().count();
    let arguments = ["compare", "--engine", "tract", "--quiet", "in.png", "--vae", "starter", "-o", "report"];
    let mut child = place.command(&arguments).env("TMPDIR", &temporary).spawn().unwrap();
    let begin = Instant::now();
    while entries() == 0 && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!((entries(), place.path("report").exists()), (0, false));
}
