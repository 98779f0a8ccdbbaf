//! Known VAEs: fetched, found, used, removed.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::fake_hub::{At, FakeHub, Fault, sha256, weights};
use crate::{Place, fixture};

/// A place with a hub, and a registry of one's own that knows `mine`.
struct WithHub {
    place: Place,
    fake: FakeHub,
}

impl WithHub {
    fn new() -> Self {
        let (place, fake) = (Place::new(), FakeHub::new());
        let with = WithHub { place, fake };
        with.register(r#"{ path = "model.safetensors" }, { path = "config.json" }"#);
        with
    }

    /// The fixture of a tiny VAE in place of random bytes.
    fn with_a_vae(self) -> Self {
        let read = |name: &str| fs::read(fixture(&format!("tae-diffusers/{name}"))).unwrap();
        self.fake.put("model.safetensors", read("diffusion_pytorch_model.safetensors"), true);
        self.fake.put("config.json", read("config.json"), false);
        self
    }

    fn register(&self, files: &str) {
        let text = format!(
            r#"[[vae]]
name = "mine"
aliases = ["my tiny one"]
summary = "a test's"
for = ["SD1"]
family = "AutoencoderTiny"
latent_channels = 4
scaling_factor = 0.5
licence = "MIT"
repository = "me/mine"
files = [{files}]
"#
        );
        fs::write(self.place.path("registry.toml"), text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command
            .env("HF_ENDPOINT", &self.fake.hub.address)
            .env("HF_HOME", self.fake.home.path())
            .env("HF_TOKEN", "hf_secret")
            .env("NO_PROXY", "127.0.0.1")
            .env("VAEKIT_HOME", self.place.path("home"))
            .env("VAEKIT_CACHE", self.place.path(".cache"))
            .env("VAEKIT_REGISTRY", self.place.path("registry.toml"));
        command
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(&[arguments, &["--json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn path_of(&self, name: &str) -> serde_json::Value {
        self.json(&["vae", "path", name])["paths"][0].clone()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{message}");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in `{message}`");
        }
    }
}

#[test]
fn fetched_used_verified_removed() {
    let with = WithHub::new().with_a_vae();
    let picture = fixture("../../models/samples/astronaut.png");
    let roundtrip = ["roundtrip", "--engine", "tract", "--vae", "my-tiny-one", &picture, "-o", "out.png"];
    with.fails(&roundtrip, 3, &["mine is not installed; `vaekit vae fetch mine` fetches it"]);

    let fetched = with.json(&["vae", "fetch", "mine"]);
    assert_eq!(fetched["vaes"][0]["files"][0]["checked_against"], serde_json::Value::Null);
    assert_eq!(fetched["vaes"][0]["files"][0]["was_here"], false);
    let path = with.json(&["vae", "path", "mine"])["paths"][0].clone();
    assert_eq!(path, fetched["vaes"][0]["files"][0]["path"]);

    assert_eq!(with.json(&roundtrip)["vae"], "mine");
    let info = with.json(&["vae", "info", "mine"]);
    assert_eq!(info["scaling"]["scaling_factor"], 0.5);
    assert_eq!(info["known"]["users"], true);

    let verified = with.json(&["vae", "verify"]);
    assert_eq!(verified["vaes"][0]["files"][0]["checked_against"], "first_fetch");
    let installed = with.json(&["vae", "list", "--installed"]);
    assert_eq!(installed["known"].as_array().unwrap().len(), 1);

    assert!(with.json(&["vae", "remove", "mine"])["freed"].as_u64().unwrap() > 100_000);
    with.fails(&["vae", "remove", "mine"], 3, &["mine is not installed"]);
    with.fails(&["vae", "path", "mine"], 3, &["vaekit vae fetch mine"]);
}

#[test]
fn what_is_known_is_listed_and_told_offline() {
    let with = WithHub::new();
    let known = with.json(&["vae", "list"])["known"].clone();
    assert_eq!(known[0]["name"], "mine");
    assert!(known.as_array().unwrap().iter().any(|vae| vae["name"] == "sdxl-fp16-fix" && vae["runs"] == true));
    let info = with.json(&["vae", "info", "kl-f8-anime2"]);
    assert_eq!(info["known"]["licence"], "CreativeML OpenRAIL-M");
    assert_eq!(with.fake.hub.requests().len(), 0);

    with.fails(&["vae", "fetch", "mine", "taesdx"], 3, &["no known VAE is called `taesdx`; did you mean `taesd"]);
    with.fails(&["vae", "info", "qqqq"], 3, &["there is no VAE `qqqq`", "nor a known VAE"]);
    with.fails(&["vae", "which", "--vae", "taesdlx"], 3, &["did you mean `taesdxl`", "there is no VAE `taesdlx`"]);
    assert_eq!(with.fake.hub.requests().len(), 0);
    let output = with.command(&["vae", "fetch", "mine"]).env("HF_HUB_OFFLINE", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(6));
}

#[test]
fn damage_and_refusals_have_exit_codes() {
    let with = WithHub::new();
    with.register(&format!(r#"{{ path = "model.safetensors", sha256 = "{}" }}"#, sha256(&weights())));
    with.fake.want_token("hf_other");
    with.fails(&["vae", "fetch", "mine"], 6, &["me/mine is gated: accept its licence at http://127.0.0.1"]);
    with.fake.want_token("hf_secret");
    let fetched = with.json(&["vae", "fetch", "mine"]);
    let path = fetched["vaes"][0]["files"][0]["path"].as_str().unwrap().to_owned();
    fs::write(fs::canonicalize(path).unwrap(), b"damaged").unwrap();
    with.fails(&["vae", "verify"], 3, &["damaged: mine"]);

    // One document, which says it, and the exit code.
    let output = with.command(&["vae", "verify", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["vaes"][0]["error"].as_str().unwrap().contains("the registry says"), "{report}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: damaged: mine"));
    let output = with.command(&["vae", "verify", "nothing", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit_code"], 3);
}

#[test]
fn a_name_with_the_hash_is_the_vae_with_both() {
    let with = WithHub::new().with_a_vae();
    let weights = fs::read(fixture("tae-diffusers/diffusion_pytorch_model.safetensors")).unwrap();
    let hash = sha256(&weights);
    with.register(&format!(r#"{{ path = "model.safetensors", sha256 = "{hash}" }}, {{ path = "config.json" }}"#));
    let (named, wrong) = (format!("mine [{}]", &hash[..10]), "mine [0123456789]");
    with.fails(&["vae", "which", "--vae", &named], 3, &["vaekit vae fetch mine"]);
    with.json(&["vae", "fetch", &named]);
    let fetched = with.path_of("mine");
    assert_eq!(with.path_of(&named), fetched);
    with.fails(&["vae", "which", "--vae", wrong], 3, &["there is no VAE `mine [0123456789]`", "did you mean `mine`?"]);

    // A file of that name was never read: it is, before it is taken.
    with.place.put("kl-ldm-f16/model.safetensors", "models/VAE/mine.safetensors");
    assert_eq!(with.path_of(&named), fetched);
    let own = with.path_of("mine [f8fe03eba5]");
    assert!(own.as_str().unwrap().ends_with("mine.safetensors"), "{own}");
    with.fails(&["vae", "which", "--vae", wrong], 3, &["there is no VAE `mine [0123456789]`"]);
}

#[test]
fn a_registry_that_is_broken_says_where() {
    let with = WithHub::new();
    fs::write(with.place.path("registry.toml"), "[[vae]]\nname = 'x'\nlicense = 'MIT'\n").unwrap();
    with.fails(&["vae", "list"], 3, &["registry.toml: line 3: unknown field `license`"]);
}

#[test]
fn of_two_processes_one_fetches() {
    let with = WithHub::new();
    with.fake.fault(At::Cdn, Fault::Cut(100_000));
    let fetch = || with.command(&["vae", "fetch", "mine", "--quiet"]).spawn().unwrap();
    for mut child in [fetch(), fetch(), fetch()] {
        assert!(child.wait().unwrap().success());
    }
    // The one that was cut, and its rest.
    assert_eq!(with.fake.cdn.requests().len(), 2);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_beginning_that_the_next_fetch_goes_on_from() {
    let with = WithHub::new();
    with.fake.fault(At::Cdn, Fault::Silence(200_000));
    let mut child = with.command(&["vae", "fetch", "mine", "--quiet"]).spawn().unwrap();
    while fs::metadata(with.fake.partial()).map_or(0, |partial| partial.len()) < 200_000 {
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(!with.fake.blob(&sha256(&weights())).exists());
    with.fails(&["vae", "path", "mine"], 3, &["mine is not installed"]);

    with.fake.cdn.requests();
    with.json(&["vae", "fetch", "mine"]);
    assert_eq!(with.fake.cdn.requests()[0].header("range"), Some("bytes=200000-"));
}

#[test]
fn latents_find_the_vae_that_made_them_among_the_fetched() {
    let with = WithHub::new().with_a_vae();
    let weights = fs::read(fixture("tae-diffusers/diffusion_pytorch_model.safetensors")).unwrap();
    let of_weights = format!(r#"{{ path = "model.safetensors", sha256 = "{}" }}"#, sha256(&weights));
    with.register(&format!(r#"{of_weights}, {{ path = "config.json" }}"#));
    with.json(&["vae", "fetch", "mine"]);
    with.place.picture("in.png");
    // By the first digits of the file's hash, which is nowhere but in the registry.
    with.json(&["encode", "--engine", "tract", "--vae", &sha256(&weights)[..10], "in.png", "-o", "made.safetensors"]);
    let decode = ["decode", "--engine", "tract", "made.safetensors", "-o", "out.png"];
    assert_eq!(with.json(&decode)["vae"], "mine");

    // Nothing of it is remembered, so that it has to be read.
    fs::remove_dir_all(with.place.path(".cache")).unwrap();
    let decoded = with.json(&decode);
    assert_eq!(decoded["vae"], "mine");
    assert!(decoded["chosen"].as_str().unwrap().contains("weights"));
    let inspected = with.json(&["inspect", "out.png"]);
    assert_eq!((&inspected["vae_is_at"], &inspected["known_as"]), (&with.path_of("mine"), &"mine".into()));

    with.json(&["vae", "remove", "mine"]);
    fs::remove_dir_all(with.place.path(".cache")).unwrap();
    with.fails(&decode, 3, &["`mine`", "not installed", "`vaekit vae fetch mine`"]);
    let inspected = with.json(&["inspect", "made.safetensors"]);
    assert_eq!((&inspected["vae_is_at"], &inspected["known_as"]), (&serde_json::Value::Null, &"mine".into()));
}

#[test]
fn a_hash_that_the_registry_knows_may_be_of_a_file_in_a_folder() {
    let with = WithHub::new();
    let weights = fs::read(fixture("tae-diffusers/diffusion_pytorch_model.safetensors")).unwrap();
    let hash = sha256(&weights);
    with.register(&format!(r#"{{ path = "model.safetensors", sha256 = "{hash}" }}"#));
    with.fails(&["vae", "which", "--vae", &hash[..10]], 3, &["vaekit vae fetch mine"]);
    with.place.put("tae-diffusers/diffusion_pytorch_model.safetensors", "models/VAE/own.safetensors");
    let which = with.json(&["vae", "which", "--vae", &hash[..10]]);
    assert_eq!(which["name"], "own");
    // What was hashed is known from now on.
    assert_eq!(with.json(&["vae", "list"])["vaes"][0]["known_as"], "mine");
}
