//! vaekit's own engine on a GPU, on the software one where there is no other.

use image::ImageReader;

use crate::Place;

#[test]
fn a_round_trip_on_a_gpu_is_the_one_on_the_cpu() {
    let place = Place::new();
    let devices = place.json(&["devices"]);
    let Some(gpu) = devices["gpus"].as_array().unwrap().first() else {
        assert!(std::env::var_os("VAEKIT_REQUIRE_WGPU").is_none(), "no GPU: {devices}");
        eprintln!("skipped: there is no GPU");
        return;
    };
    assert!(gpu["reason"].is_null() && gpu["limits"]["image_bytes"].as_u64() >= Some(128 << 20), "{gpu}");
    assert!(gpu["kernels"].as_array().unwrap().iter().all(|kernel| kernel["wrong"].is_null()), "{gpu}");
    place.picture("in.png");
    let name = gpu["adapter"]["name"].as_str().unwrap();
    let report = place.json(&["roundtrip", "--engine", "wgpu", "--device", name, "in.png", "-o", "gpu.png"]);
    assert!(report.to_string().contains("wgpu"), "{report}");
    place.json(&["roundtrip", "--engine", "cpu", "in.png", "-o", "cpu.png"]);
    let open = |name: &str| ImageReader::open(place.path(name)).unwrap().decode().unwrap().to_rgb8();
    let (gpu, cpu) = (open("gpu.png"), open("cpu.png"));
    assert!(
        gpu.iter().zip(cpu.iter()).all(|(gpu, cpu)| gpu.abs_diff(*cpu) <= 1),
        "pixels differ by a rounding at most"
    );
}

#[test]
fn a_gpu_that_is_not_there_and_a_provider_of_another_engine_are_errors() {
    let place = Place::new();
    place.picture("in.png");
    let roundtrip = ["roundtrip", "in.png", "-o", "out.png", "--engine", "wgpu"];
    let with = |more: &[&'static str]| [&roundtrip[..], more].concat();
    place.fails(&with(&["--device", "Voodoo 3"]), 4, &["no GPU is called `Voodoo 3`"]);
    place.fails(&with(&["--provider", "cuda"]), 2, &["--provider cuda is ONNX Runtime's, and --engine is wgpu"]);
}
