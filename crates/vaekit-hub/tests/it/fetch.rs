//! What goes well.

use std::fs;
use std::sync::Barrier;

use vaekit_hub::{Event, HashSource, OnChange};

use crate::fake_hub::{COMMIT, FakeHub, entry, fetch_with, known, sha256, unknown, weights};

#[test]
fn a_large_file_comes_from_the_other_host_into_the_hubs_layout() {
    let fake = FakeHub::new();
    let file = fake.fetch(&known()).unwrap();
    assert_eq!(
        file.path,
        fake.home.path().join("hub/models--me--mine/snapshots").join(COMMIT).join("model.safetensors")
    );
    assert_eq!(fs::read(&file.path).unwrap(), weights());
    assert_eq!(fs::read(fake.blob(&sha256(&weights()))).unwrap(), weights());
    assert_eq!(fs::read_to_string(fake.home.path().join("hub/models--me--mine/refs/main")).unwrap(), COMMIT);
    assert!(!fake.partial().exists());
    assert_eq!((file.size, file.was_here), (300_007, false));
    assert_eq!(file.checked_against, Some(HashSource::Registry));
    assert_eq!(fake.hub().locate(&known()).unwrap()[0].path, file.path);
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let fake = FakeHub::new();
    fake.fetch(&known()).unwrap();
    let hub = fake.hub.requests();
    assert!(hub.iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")), "{hub:?}");
    let cdn = fake.cdn.requests();
    assert!(!cdn.is_empty() && cdn.iter().all(|request| request.header("authorization").is_none()), "{cdn:?}");
}

#[test]
fn what_is_here_and_right_needs_no_network() {
    let fake = FakeHub::new();
    fake.fetch(&known()).unwrap();
    fake.hub.requests();
    let again = fake.fetch(&known()).unwrap();
    assert!(again.was_here);
    assert_eq!(fake.hub.requests().len(), 0);
    assert_eq!(fake.cdn.requests().len(), 1);
}

#[test]
fn config_and_weights_lie_side_by_side() {
    let fake = FakeHub::new();
    let both = entry(r#"{ path = "model.safetensors" }, { path = "config.json" }"#);
    let files = fake.hub().fetch(&both, OnChange::Refuse, &mut |_| {}).unwrap();
    assert_eq!(files[0].path.parent(), files[1].path.parent());
    assert_eq!(fs::read(&files[1].path).unwrap(), b"{}");
    let local = fake.hub().locate(&both).unwrap();
    assert_eq!(local.iter().map(|file| file.is_weights).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn progress_grows_to_the_whole() {
    let fake = FakeHub::new();
    let mut steps = Vec::new();
    let mut events = |event: Event<'_>| {
        if let Event::Fetching { done, total, .. } = event {
            steps.push((done, total));
        }
    };
    fake.hub().fetch(&known(), OnChange::Refuse, &mut events).unwrap();
    assert!(steps.is_sorted() && steps.len() > 1);
    assert_eq!(steps.last(), Some(&(300_007, Some(300_007))));
}

#[test]
fn a_hash_that_nobody_knows_is_recorded_and_held_to() {
    let fake = FakeHub::new();
    assert_eq!(fake.fetch(&unknown()).unwrap().checked_against, None);
    let text = fs::read_to_string(fake.home.path().join("known-hashes.json")).unwrap();
    assert!(text.contains(&format!(r#""me/mine/model.safetensors": "{}""#, sha256(&weights()))), "{text}");
    assert_eq!(fake.fetch(&unknown()).unwrap().checked_against, Some(HashSource::FirstFetch));

    fake.hub().remove(&unknown()).unwrap();
    fake.put("model.safetensors", b"something else".to_vec(), true);
    fake.fails(&unknown(), &["the first fetch on this machine got", "--trust-new", "nothing was kept"]);
    let new = fetch_with(&fake.hub(), &unknown(), OnChange::TrustNew).unwrap();
    assert_eq!(new.checked_against, None);
    assert_eq!(fake.fetch(&unknown()).unwrap().checked_against, Some(HashSource::FirstFetch));
}

#[test]
fn of_two_at_once_one_fetches() {
    let fake = FakeHub::new();
    let barrier = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
            });
        }
    });
    assert_eq!(fake.cdn.requests().len(), 1);
}

#[test]
fn a_renamed_repository_is_followed_with_the_token() {
    use crate::fake_hub::{At, Fault};
    let fake = FakeHub::new();
    let location = vec![("Location", "/me/mine/resolve/main/model.safetensors".to_owned())];
    fake.fault(At::Head, Fault::Status(307, location.clone()));
    fake.fault(At::Get, Fault::Status(307, location));
    fake.fetch(&known()).unwrap();
    assert!(fake.hub.requests().iter().all(|request| request.header("authorization").is_some()));
}

#[test]
fn a_proxy_is_asked_unless_the_host_is_excepted() {
    use crate::server::{Reply, Server};
    use vaekit_hub::{Hub, Proxy, Settings};
    let fake = FakeHub::new();
    let proxy = Server::start(|_| Reply::new(502));
    let hub = |no_proxy: &str| {
        let proxy = Some(Proxy::new(&proxy.address, no_proxy).unwrap());
        Hub::new(Settings { proxy, ..fake.settings() })
    };
    fetch_with(&hub(""), &known(), OnChange::Refuse).unwrap_err();
    let asked = proxy.requests();
    assert_eq!((asked[0].method.as_str(), format!("http://{}", asked[0].path)), ("CONNECT", fake.hub.address.clone()));
    assert_eq!(fake.hub.requests().len(), 0);
    fetch_with(&hub("localhost, 127.0.0.1"), &known(), OnChange::Refuse).unwrap();
    assert_eq!(proxy.requests().len(), 0);
}
