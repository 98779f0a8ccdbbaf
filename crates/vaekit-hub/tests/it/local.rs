//! What is on this machine already: found, checked, removed, without a network.

use std::fs;
use std::path::PathBuf;

use vaekit_hub::{Entry, HashSource, Hub, HubError, OnChange, Settings};

use crate::fake_hub::{COMMIT, FakeHub, entry, fetch_with, known, sha256, unknown, weights};

fn offline(fake: &FakeHub) -> Hub {
    // Nobody listens there: a request would be an error.
    Hub::new(Settings { offline: true, endpoint: "http://127.0.0.1:9".into(), ..fake.settings() })
}

/// Lays a file into the cache as another program does that cannot make links.
fn lay(fake: &FakeHub, repository: &str, path: &str, content: &[u8]) -> PathBuf {
    let folder = fake.home.path().join("hub").join(format!("models--{}", repository.replace('/', "--")));
    let file = folder.join("snapshots").join(COMMIT).join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    fs::write(&file, content).unwrap();
    file
}

#[test]
fn offline_what_is_missing_is_an_error_that_says_so() {
    let fake = FakeHub::new();
    let error = fetch_with(&offline(&fake), &known(), OnChange::Refuse).unwrap_err().to_string();
    assert!(error.contains("me/mine/model.safetensors is not here, and HF_HUB_OFFLINE is set"), "{error}");
    fake.fetch(&known()).unwrap();
    assert!(fetch_with(&offline(&fake), &known(), OnChange::Refuse).unwrap().was_here);
}

#[test]
fn what_another_program_fetched_is_found_and_checked() {
    let fake = FakeHub::new();
    let file = lay(&fake, "me/mine", "model.safetensors", &weights());
    let found = fetch_with(&offline(&fake), &known(), OnChange::Refuse).unwrap();
    assert_eq!((found.path, found.was_here), (file, true));
    assert_eq!(fetch_with(&offline(&fake), &unknown(), OnChange::Refuse).unwrap().checked_against, None);
}

#[test]
fn a_published_copy_is_found() {
    let fake = FakeHub::new();
    let mut entry = known();
    entry.copies = vec![vaekit_hub::PublishedCopy {
        repository: "you/yours".parse().unwrap(),
        path: "vae/copy.safetensors".parse().unwrap(),
        sha256: None,
    }];
    assert!(offline(&fake).locate(&entry).is_none());
    let file = lay(&fake, "you/yours", "vae/copy.safetensors", &weights());
    assert_eq!(offline(&fake).locate(&entry).unwrap()[0].path, file);
    // It is another program's, who would miss it.
    let error = offline(&fake).remove(&entry).unwrap_err();
    assert!(matches!(error, HubError::Elsewhere { .. }) && file.is_file(), "{error}");
    // One in another format is known, but no substitute.
    let other =
        vaekit_hub::PublishedCopy { sha256: Some(sha256(b"other").parse().unwrap()), ..entry.copies[0].clone() };
    assert!(offline(&fake).locate(&Entry { copies: vec![other], ..entry.clone() }).is_none());
    fs::write(&file, b"another size").unwrap();
    assert!(offline(&fake).locate(&entry).is_none());
}

#[test]
fn damage_is_seen() {
    let fake = FakeHub::new();
    let path = fake.fetch(&known()).unwrap().path;
    let verify = |entry: &Entry| offline(&fake).verify(entry, &mut |_| {});
    assert_eq!(verify(&known()).unwrap()[0].checked_against, Some(HashSource::Registry));
    let mut damaged = weights();
    damaged[7] ^= 1;
    fs::write(path.canonicalize().unwrap(), damaged).unwrap();
    let error = verify(&known()).unwrap_err().to_string();
    assert!(error.contains("the registry says") && error.contains("vaekit vae remove"), "{error}");
    // Nobody knows the hash, but the blob is named by it.
    let error = verify(&unknown());
    assert!(matches!(error, Err(HubError::Damaged { mismatch, .. }) if mismatch.source == HashSource::Hub));
    assert!(matches!(verify(&entry(r#"{ path = "x.pt" }"#)), Err(HubError::NotInstalled { .. })));
}

#[test]
fn removed_is_gone() {
    let fake = FakeHub::new();
    let both = entry(r#"{ path = "model.safetensors" }, { path = "config.json" }"#);
    fake.hub().fetch(&both, OnChange::Refuse, &mut |_| {}).unwrap();
    assert_eq!(fake.hub().remove(&both).unwrap(), 300_007 + 2);
    assert!(!fake.blob(&sha256(&weights())).exists() && fake.hub().locate(&both).is_none());
    assert!(matches!(fake.hub().remove(&both), Err(HubError::NotInstalled { .. })));
}
