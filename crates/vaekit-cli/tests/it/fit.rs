//! Latents find the VAE that they fit, or an error.

use crate::{Place, fixture};

fn encoded(place: &Place, checkpoint: &str, scaling: &str, out: &str) {
    place.picture("in.png");
    place.json(&["encode", "--engine", "tract", "--vae", checkpoint, "--scaling", scaling, "in.png", "-o", out]);
}

#[test]
fn latents_of_another_scaling_are_refused_with_the_reason() {
    let place = Place::new();
    let checkpoint = fixture("kl-ldm-f16/model.safetensors");
    encoded(&place, &checkpoint, "sdxl", "sdxl.safetensors");
    let decode =
        ["decode", "--engine", "tract", "--vae", &checkpoint, "--scaling", "sd1", "sdxl.safetensors", "-o", "out.png"];
    place.fails(&decode, 3, &["sdxl.safetensors", "0.13025", "0.18215", "--force"]);
    let forced = [&decode[..], &["--force"]].concat();
    assert_eq!(place.json(&forced)["files"][0]["domain"], "raw");
}

#[test]
fn latents_of_another_channel_count_are_refused() {
    let place = Place::new();
    encoded(&place, &fixture("kl-ldm-f16/model.safetensors"), "sd1", "four.safetensors");
    place.fails(
        &["decode", "--engine", "tract", "--vae", "starter", "four.safetensors", "-o", "out.png"],
        3,
        &["4 channels", "16"],
    );
}

#[test]
fn numbers_alone_do_not_say_whether_they_are_raw() {
    let place = Place::new();
    let checkpoint = fixture("kl-ldm-f16/model.safetensors");
    encoded(&place, &checkpoint, "sd1", "latents.npy");
    let decode =
        ["decode", "--engine", "tract", "--vae", &checkpoint, "--scaling", "sd1", "latents.npy", "-o", "out.png"];
    place.fails(&decode, 3, &["latents.npy", "--latents"]);
    let told = place.json(&[&decode[..], &["--latents", "raw", "--dump", "out.npy"]].concat());
    assert_eq!(told["files"][0]["domain"], "raw");
    // 1 * 3 * 32 * 32 values of 4 bytes behind a header of 128.
    assert_eq!(std::fs::metadata(place.path("out.npy")).unwrap().len(), 128 + 4 * 3 * 32 * 32);
}

#[test]
fn a_provider_by_name_is_not_tracts() {
    let place = Place::new();
    encoded(&place, &fixture("kl-ldm-f16/model.safetensors"), "sd1", "four.safetensors");
    let decode = ["decode", "--engine", "tract", "--provider", "cuda", "four.safetensors", "-o", "out.png", "--force"];
    place.fails(&[&decode[..], &["--vae", &fixture("kl-diffusers")]].concat(), 2, &["cuda", "tract"]);
    let vae = fixture("kl-diffusers");
    for (given, words) in [
        (["--engine", "tract", "--provider", "cpu"], ["--provider cpu is ONNX Runtime's", "tract"]),
        (["--engine", "cpu", "--device", "Arc"], ["--device Arc is for GPUs", "cpu"]),
    ] {
        let decode = ["decode", "four.safetensors", "-o", "out.png", "--force", "--vae", &vae];
        place.fails(&[&decode[..], &given].concat(), 2, &words);
    }
    let nowhere = ["decode", "four.safetensors", "-o", "out.png", "--force", "--vae", &vae, "--device", "Voodoo 3"];
    place.fails(&nowhere, 4, &["--device Voodoo 3 was asked for, and nothing runs on it"]);
}

#[test]
fn a_model_that_does_not_say_its_scaling_can_be_told() {
    let place = Place::new();
    place.picture("in.png");
    for half in ["encoder", "decoder"] {
        place.put(&format!("tae-original/taesd_{half}.pth"), &format!("preview_{half}.pth"));
    }
    place.json(&["convert", "preview_encoder.pth", "preview_decoder.pth", "-o", "preview"]);
    let encode = ["encode", "--engine", "cpu", "--vae", "preview", "--latents", "raw", "in.png", "-o", "raw.npy"];
    place.fails(&encode, 2, &["how this VAE scales its latents is not known", "--scaling"]);
    place.fails(&[&encode[..], &["--scaling", "flux1"]].concat(), 2, &["16 channels", "have 4"]);
    place.json(&[&encode[..], &["--scaling", "sd1"]].concat());
    let starter = ["encode", "--vae", "starter", "--scaling", "flux1", "in.png", "-o", "raw.npy"];
    place.fails(&starter, 2, &["and starter does"]);
}
