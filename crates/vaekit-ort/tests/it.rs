//! Loads ONNX Runtime as a program does. A process has only one, so each case runs in a process of its own: this test
//! program, started again with `child` as the only test and other variables set.

use std::process::Command;

use serde_json::Value;

/// Runs `child` with these variables, and gives what it printed.
fn run_child(variables: &[(&str, &str)]) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("CHILD ")).unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(line.1).unwrap()
}

#[test]
#[ignore = "started by the others"]
fn child() {
    let found = match vaekit_ort::Runtime::load() {
        Ok(runtime) => serde_json::json!({ "library": runtime.library(), "devices": vaekit_ort::devices(&runtime) }),
        Err(error) => serde_json::json!({ "error": error.to_string() }),
    };
    println!("CHILD {found}");
}

fn check_error(variables: &[(&str, &str)], start: &str, end: &str) {
    let found = run_child(variables);
    let message = found["error"].as_str().unwrap_or_else(|| panic!("{found}"));
    assert!(message.starts_with(start) && message.ends_with(end) && !message.contains('\n'), "{message}");
}

fn device<'a>(found: &'a Value, provider: &str) -> &'a Value {
    let devices = found["devices"].as_array().unwrap_or_else(|| panic!("{found}"));
    devices.iter().find(|device| device["provider"] == provider).unwrap_or_else(|| panic!("{found}"))
}

#[test]
fn a_path_to_nothing_is_an_error() {
    let end = "correct or unset ORT_DYLIB_PATH";
    check_error(
        &[("ORT_DYLIB_PATH", "/nowhere/ort.so")],
        "/nowhere/ort.so (from ORT_DYLIB_PATH) cannot be loaded: ",
        end,
    );
}

#[test]
fn a_broken_installation_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("runtime");
    std::fs::create_dir(&folder).unwrap();
    for name in ["libonnxruntime.so", "libonnxruntime.dylib", "onnxruntime.dll"] {
        std::fs::write(folder.join(name), "half of a down").unwrap();
    }
    let home = home.path().to_str().unwrap();
    check_error(&[("VAEKIT_HOME", home), ("ORT_DYLIB_PATH", "")], home, "run `vaekit runtime install` again");
}

/// What is on this machine, if anything.
#[test]
fn every_provider_works_or_says_why_not() {
    let found = run_child(&[]);
    if found["error"].is_string() && std::env::var_os("VAEKIT_REQUIRE_ORT").is_none() {
        eprintln!("SKIPPED: {found}");
        return;
    }
    assert_eq!(device(&found, "cpu")["works"], true, "{found}");
    for device in found["devices"].as_array().unwrap() {
        assert_eq!(device["works"] == false, device["reason"].is_string(), "{device}");
    }
}

/// `VAEKIT_TEST_WEBGPU` names a library with the WebGPU provider, on a machine that has an adapter, if only a software one
/// (`VK_DRIVER_FILES` then names its driver). The tiny model has the right answer, so the provider agrees with the CPU.
#[test]
fn webgpu_works_where_it_is_said_to() {
    let Ok(library) = std::env::var("VAEKIT_TEST_WEBGPU") else {
        eprintln!("SKIPPED: VAEKIT_TEST_WEBGPU is not set");
        return;
    };
    let found = run_child(&[("ORT_DYLIB_PATH", &library)]);
    assert_eq!(device(&found, "webgpu")["works"], true, "{found}");
    assert_eq!(device(&found, "cpu")["works"], true, "{found}");
}

/// `VAEKIT_TEST_CUDA` names a library with the CUDA provider, on a machine without what CUDA needs.
#[test]
fn cuda_names_what_is_missing_where_it_is_said_to() {
    let Ok(library) = std::env::var("VAEKIT_TEST_CUDA") else {
        eprintln!("SKIPPED: VAEKIT_TEST_CUDA is not set");
        return;
    };
    let found = run_child(&[("ORT_DYLIB_PATH", &library)]);
    let reason = device(&found, "cuda")["reason"].as_str().unwrap_or_else(|| panic!("{found}"));
    assert!(reason.starts_with("cuda does not work here: "), "{reason}");
    assert!(["libcu", "cublas", "cudart", "CUDA failure"].iter().any(|missing| reason.contains(missing)), "{reason}");
}
