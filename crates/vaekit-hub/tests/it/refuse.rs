//! What is refused, and what the message says to do.

use std::fs;

use vaekit_hub::{OnChange, Settings, Token};

use crate::fake_hub::{At, FakeHub, Fault, entry, fetch_with, known, sha256, unknown, weights};

#[test]
fn gates_say_where_to_go() {
    let fake = FakeHub::new();
    fake.want_token("hf_better");
    fake.fails(&known(), &["me/mine is gated", "accept its licence at HUB/me/mine with the account of your token"]);

    let settings = Settings { token: None, ..fake.settings() };
    let error = fetch_with(&vaekit_hub::Hub::new(settings), &known(), OnChange::Refuse).unwrap_err().to_string();
    assert!(error.contains("make a token at") && error.contains("/settings/tokens and set HF_TOKEN"), "{error}");

    let settings = Settings { token: Token::new("hf_better"), ..fake.settings() };
    fetch_with(&vaekit_hub::Hub::new(settings), &known(), OnChange::Refuse).unwrap();
}

#[test]
fn each_refusal_says_what_to_do() {
    let fake = FakeHub::new();
    fake.fault(At::Head, Fault::Status(401, vec![]));
    fake.fails(&known(), &["refuses the token (401)", "HUB/settings/tokens", "HF_TOKEN"]);
    fake.fault(At::Head, Fault::Status(403, vec![]));
    fake.fails(&known(), &["forbids reading me/mine with this token (403)", "give it read access"]);
    fake.fault(At::Head, Fault::Status(404, vec![("X-Error-Code", "RepoNotFound".into())]));
    fake.fails(&known(), &["HUB has no repository me/mine, or it is private"]);
    fake.fault(At::Head, Fault::Status(401, vec![("X-Error-Code", "RepoNotFound".into())]));
    fake.fails(&known(), &["HUB has no repository me/mine, or it is private"]);
    fake.fails(&entry(r#"{ path = "other.safetensors" }"#), &["HUB has no me/mine/other.safetensors"]);
    fake.fault(At::Head, Fault::Status(418, vec![("X-Error-Message", "short and stout".into())]));
    fake.fails(&known(), &["answered 418: short and stout"]);
    // None of these is tried twice.
    assert_eq!(fake.hub.requests().len(), 6);
}

#[test]
fn patience_ends() {
    let fake = FakeHub::new();
    (0..4).for_each(|_| fake.fault(At::Head, Fault::Status(502, vec![])));
    fake.fails(&known(), &["cannot fetch me/mine/model.safetensors", "answered 502, 4 times in a row"]);
    fake.fault(At::Head, Fault::Status(429, vec![("Retry-After", "86400".into())]));
    fake.fails(&known(), &["HUB asks for a pause of 86400 s"]);
    (0..4).for_each(|_| fake.fault(At::Cdn, Fault::Cut(0)));
    fake.fails(&known(), &["connection", "4 times in a row"]);
}

#[test]
fn nobody_there() {
    let fake = FakeHub::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings { endpoint: format!("http://{free}"), ..fake.settings() };
    let error = fetch_with(&vaekit_hub::Hub::new(settings), &known(), OnChange::Refuse).unwrap_err().to_string();
    assert!(error.contains("cannot fetch me/mine/model.safetensors") && error.contains("refused"), "{error}");
}

#[test]
fn wrong_bytes_get_no_name_and_are_not_kept() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::WrongByte);
    fake.fails(&known(), &["has sha256", "the registry says", "nothing was kept"]);
    assert!(!fake.partial().exists());
    fake.fault(At::Cdn, Fault::WrongByte);
    fake.fails(&unknown(), &["the hub says", "damaged on its way"]);
    fake.fetch(&known()).unwrap();
}

#[test]
fn another_file_is_refused_before_a_byte_is_fetched() {
    let fake = FakeHub::new();
    let hash = sha256(&weights());
    fake.fails(
        &entry(&format!(r#"{{ path = "model.safetensors", sha256 = "{}" }}"#, "0".repeat(64))),
        &[&hash, "the registry says"],
    );
    fake.fails(&entry(r#"{ path = "model.safetensors", size = 5 }"#), &["has 300007 bytes on the hub, expected 5"]);
    assert_eq!(fake.cdn.requests().len(), 0);
}

#[test]
fn a_stream_without_end_is_cut() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Endless);
    fake.fails(&known(), &["goes on after 300007 bytes"]);
}

#[test]
fn a_hub_cannot_choose_file_names() {
    let fake = FakeHub::new();
    let head = |commit: &str, etag: &str| {
        let headers = [("X-Repo-Commit", commit), ("X-Linked-Etag", etag), ("X-Linked-Size", "1"), ("Location", "/x")];
        Fault::Status(302, headers.map(|(name, value)| (name, value.to_owned())).into())
    };
    fake.fault(At::Head, head("../../../../evil", "\"aa\""));
    fake.fails(&unknown(), &["did not answer as a hub does: X-Repo-Commit: `../../../../evil` is no commit"]);
    fake.fault(At::Head, head(crate::fake_hub::COMMIT, "\"../evil\""));
    fake.fails(&unknown(), &["ETag: `../evil` is no entity tag"]);
    fake.fault(At::Head, Fault::Status(200, vec![]));
    fake.fails(&unknown(), &["it sent no X-Repo-Commit; is HF_ENDPOINT right?"]);
    (0..9).for_each(|_| fake.fault(At::Head, Fault::Status(302, vec![("Location", "/round".into())])));
    fake.fails(&unknown(), &["more than 8 redirections"]);
    assert!(!fake.home.path().join("hub").exists());
}

#[test]
fn a_hash_file_that_is_broken_is_no_empty_one() {
    let fake = FakeHub::new();
    fs::write(fake.home.path().join("known-hashes.json"), "[").unwrap();
    fake.fails(&unknown(), &["cannot read", "known-hashes.json"]);
}
