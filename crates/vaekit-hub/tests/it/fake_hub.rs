//! A hub like Hugging Face's: small files it sends itself, large ones it points to on another host.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use vaekit_hub::{CheckedFile, Entry, Event, Hub, HubError, OnChange, Patience, Registry, Settings, Token};

use crate::server::{Reply, Request, Server};

pub(crate) const COMMIT: &str = "629b3ad3030ce36e15e70c5db7d91df0d60c627f";

/// What goes wrong, once.
pub(crate) enum Fault {
    /// Another answer.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection breaks after some bytes.
    Cut(usize),
    /// Nothing more comes after some bytes.
    Silence(usize),
    /// The whole file, whatever was asked for.
    WholeOnly,
    /// A piece, but not the one that was asked for.
    OtherPiece,
    /// No Content-Length.
    NoLength,
    /// A bit is wrong.
    WrongByte,
    /// More bytes than the file has.
    Endless,
}

/// Where a fault happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum At {
    Head,
    Get,
    Cdn,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, bool)>,
    faults: BTreeMap<At, VecDeque<Fault>>,
    wanted_token: Option<String>,
}

pub(crate) struct FakeHub {
    pub(crate) hub: Server,
    pub(crate) cdn: Server,
    state: Arc<Mutex<State>>,
    pub(crate) home: tempfile::TempDir,
}

impl FakeHub {
    /// A hub with `me/mine`: `model.safetensors`, large, and `config.json`, small.
    pub(crate) fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let of_cdn = state.clone();
        let cdn = Server::start(move |request| answer_cdn(&mut of_cdn.lock().unwrap(), request));
        let (of_hub, cdn_address) = (state.clone(), cdn.address.clone());
        let hub = Server::start(move |request| answer_hub(&mut of_hub.lock().unwrap(), &cdn_address, request));
        let fake = FakeHub { hub, cdn, state, home: tempfile::tempdir().unwrap() };
        fake.put("model.safetensors", weights(), true);
        fake.put("config.json", b"{}".to_vec(), false);
        fake
    }

    pub(crate) fn put(&self, path: &str, content: Vec<u8>, is_large: bool) {
        self.state.lock().unwrap().files.insert(format!("/me/mine/resolve/main/{path}"), (content, is_large));
    }

    pub(crate) fn fault(&self, at: At, fault: Fault) {
        self.state.lock().unwrap().faults.entry(at).or_default().push_back(fault);
    }

    pub(crate) fn want_token(&self, token: &str) {
        self.state.lock().unwrap().wanted_token = Some(token.into());
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            endpoint: self.hub.address.clone(),
            cache: self.home.path().join("hub"),
            token: Token::new("hf_secret"),
            offline: false,
            proxy: None,
            trusted: self.home.path().join("known-hashes.json"),
            patience: Patience {
                attempts: 4,
                first_pause: Duration::from_millis(1),
                longest_pause: Duration::from_secs(2),
                silence: Duration::from_millis(500),
            },
        }
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::new(self.settings())
    }

    /// Fetches the one file of an entry.
    pub(crate) fn fetch(&self, entry: &Entry) -> Result<CheckedFile, HubError> {
        fetch_with(&self.hub(), entry, OnChange::Refuse)
    }

    /// Fetches, which must fail with these words and leave no file under its name.
    #[track_caller]
    pub(crate) fn fails(&self, entry: &Entry, words: &[&str]) -> String {
        let message = self.fetch(entry).unwrap_err().to_string().replace(&self.hub.address, "HUB");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in `{message}`");
        }
        assert!(!message.contains('\n') && !message.ends_with('.') && !message.contains("hf_secret"), "{message}");
        assert!(self.hub().locate(entry).is_none());
        message
    }

    pub(crate) fn partial(&self) -> PathBuf {
        self.blob(&format!("{}.incomplete", sha256(&weights())))
    }

    pub(crate) fn blob(&self, name: &str) -> PathBuf {
        self.home.path().join("hub/models--me--mine/blobs").join(name)
    }
}

/// Fetches the one file of an entry.
pub(crate) fn fetch_with(hub: &Hub, entry: &Entry, on_change: OnChange) -> Result<CheckedFile, HubError> {
    hub.fetch(entry, on_change, &mut |_: Event<'_>| {}).map(|mut files| files.remove(0))
}

/// Some bytes that compress badly and are no multiple of any buffer.
pub(crate) fn weights() -> Vec<u8> {
    (0..300_007u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry of `me/mine` with these files, in TOML.
pub(crate) fn entry(files: &str) -> Entry {
    let text = format!(
        r#"[[vae]]
name = "mine"
summary = "a test's"
for = ["SD1"]
family = "AutoencoderKL"
latent_channels = 4
licence = "MIT"
repository = "me/mine"
files = [{files}]
"#
    );
    Registry::parse(&text).unwrap().entries()[0].clone()
}

/// The weights, all known.
pub(crate) fn known() -> Entry {
    let (size, hash) = (weights().len(), sha256(&weights()));
    entry(&format!(r#"{{ path = "model.safetensors", size = {size}, sha256 = "{hash}" }}"#))
}

/// The weights, nothing known.
pub(crate) fn unknown() -> Entry {
    entry(r#"{ path = "model.safetensors" }"#)
}

fn answer_hub(state: &mut State, cdn: &str, request: &Request) -> Reply {
    let at = if request.method == "HEAD" { At::Head } else { At::Get };
    let fault = state.faults.entry(at).or_default().pop_front();
    if let Some(Fault::Status(status, headers)) = &fault {
        return headers.iter().fold(Reply::new(*status), |reply, (name, value)| reply.with(name, value));
    }
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    if state.wanted_token.is_some() && state.wanted_token.as_deref() != token {
        let status = if token.is_some() { 403 } else { 401 };
        return Reply::new(status).with("X-Error-Code", "GatedRepo");
    }
    if !request.path.starts_with("/me/mine/") {
        return Reply::new(404).with("X-Error-Code", "RepoNotFound");
    }
    let Some((content, is_large)) = state.files.get(&request.path) else {
        return Reply::new(404).with("X-Error-Code", "EntryNotFound");
    };
    if *is_large {
        let hash = sha256(content);
        return Reply::new(302)
            .with("X-Repo-Commit", COMMIT)
            .with("X-Linked-Etag", format!("\"{hash}\""))
            .with("X-Linked-Size", content.len().to_string())
            .with("Location", format!("{cdn}{}?signed=1", request.path));
    }
    // Any tag that is no sha256 does for a small file.
    let etag = format!("\"{}\"", &sha256(content)[..40]);
    let reply = with_fault(content, &etag, fault, request);
    reply.with("X-Repo-Commit", COMMIT)
}

fn answer_cdn(state: &mut State, request: &Request) -> Reply {
    let fault = state.faults.entry(At::Cdn).or_default().pop_front();
    if let Some(Fault::Status(status, headers)) = &fault {
        return headers.iter().fold(Reply::new(*status), |reply, (name, value)| reply.with(name, value));
    }
    let (content, _) = &state.files[request.path.trim_end_matches("?signed=1")];
    // As S3 does: another tag than the hub's.
    with_fault(content, &format!("\"s3-{}\"", &sha256(content)[..8]), fault, request)
}

fn with_fault(content: &[u8], etag: &str, fault: Option<Fault>, request: &Request) -> Reply {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let range = range.filter(|_| request.header("if-range").is_none_or(|tag| tag == etag));
    let range = range.filter(|_| !matches!(fault, Some(Fault::WholeOnly)));
    let mut reply = match range {
        Some(from) if from >= content.len() => return Reply::new(416),
        Some(from) => {
            let from = if matches!(fault, Some(Fault::OtherPiece)) { from - 1 } else { from };
            let mut reply = Reply::new(206);
            reply.body = content[from..].to_vec();
            reply.with("Content-Range", format!("bytes {from}-{}/{}", content.len() - 1, content.len()))
        }
        None => Reply { body: content.to_vec(), ..Reply::new(200) },
    };
    reply = reply.with("ETag", etag);
    match fault {
        Some(Fault::Cut(bytes)) => reply.cut = Some(bytes),
        Some(Fault::Silence(bytes)) => (reply.cut, reply.silent) = (Some(bytes), true),
        Some(Fault::NoLength) => reply.says_length = false,
        Some(Fault::WrongByte) => reply.body[1000] ^= 1,
        Some(Fault::Endless) => reply.body.extend([0; 5000]),
        _ => {}
    }
    reply
}
