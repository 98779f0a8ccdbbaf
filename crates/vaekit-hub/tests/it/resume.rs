//! What breaks off and goes on.

use std::fs;
use std::path::Path;

use vaekit_hub::{Event, Hub, OnChange, Patience};

use crate::fake_hub::{At, FakeHub, Fault, entry, fetch_with, known, sha256, unknown, weights};

#[test]
fn a_dropped_connection_goes_on_where_it_stopped() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Cut(100_000));
    fake.fault(At::Cdn, Fault::Cut(50_000));
    assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
    let asked: Vec<_> = fake.cdn.requests();
    let ranges: Vec<_> = asked.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-"), Some("bytes=150000-")]);
    // The other host's own tag, which it sent with the first piece.
    assert!(asked[1].header("if-range").is_some_and(|tag| tag.starts_with("\"s3-")));
}

#[test]
fn the_next_fetch_goes_on_where_the_last_one_gave_up() {
    let fake = FakeHub::new();
    let impatient = || {
        let settings = fake.settings();
        Hub::new(vaekit_hub::Settings { patience: Patience { attempts: 1, ..settings.patience }, ..settings })
    };
    fake.fault(At::Cdn, Fault::Cut(123_456));
    let error = fetch_with(&impatient(), &known(), OnChange::Refuse).unwrap_err().to_string();
    assert!(error.contains("connection") && error.contains("the next fetch goes on from there"), "{error}");
    assert!(impatient().locate(&known()).is_none());
    assert_eq!(fs::read(fake.partial()).unwrap(), weights()[..123_456]);

    fake.cdn.requests();
    assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
    assert_eq!(fake.cdn.requests()[0].header("range"), Some("bytes=123456-"));
}

#[test]
fn a_server_that_knows_no_ranges_sends_all_of_it_again() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Cut(100_000));
    fake.fault(At::Cdn, Fault::WholeOnly);
    assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
}

#[test]
fn another_piece_than_was_asked_for_is_not_taken() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Cut(100_000));
    fake.fault(At::Cdn, Fault::OtherPiece);
    assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
}

#[test]
fn a_server_that_goes_silent_is_left_and_asked_again() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Silence(100_000));
    assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights());
    assert_eq!(fake.cdn.requests().len(), 2);
}

#[test]
fn without_a_length_the_hubs_word_counts() {
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::NoLength);
    assert_eq!(fs::read(fake.fetch(&unknown()).unwrap().path).unwrap(), weights());
    // Cut off, it looks like the end, but the size is known from the hub.
    let fake = FakeHub::new();
    fake.fault(At::Cdn, Fault::Cut(0));
    fake.fault(At::Cdn, Fault::NoLength);
    assert_eq!(fs::read(fake.fetch(&unknown()).unwrap().path).unwrap(), weights());
}

#[test]
fn a_small_file_goes_on_only_if_the_hub_still_has_the_same() {
    let fake = FakeHub::new();
    fake.put("notes.txt", weights(), false);
    fake.fault(At::Get, Fault::Cut(1000));
    let notes = entry(r#"{ path = "notes.txt" }"#);
    assert_eq!(fs::read(fake.fetch(&notes).unwrap().path).unwrap(), weights());
    let last = fake.hub.requests().pop().unwrap();
    assert_eq!(last.header("range"), Some("bytes=1000-"));
    assert_eq!(last.header("if-range"), Some(format!("\"{}\"", &sha256(&weights())[..40]).as_str()));
}

#[test]
fn a_wrong_beginning_is_fetched_again_once() {
    for beginning in [vec![0; 1000], vec![0; 300_007], vec![0; 400_000]] {
        let fake = FakeHub::new();
        fs::create_dir_all(fake.partial().parent().unwrap()).unwrap();
        fs::write(fake.partial(), &beginning).unwrap();
        assert_eq!(fs::read(fake.fetch(&known()).unwrap().path).unwrap(), weights(), "{} bytes", beginning.len());
        assert!(!fake.partial().exists());
    }
}

#[test]
fn what_is_here_and_cut_short_is_replaced() {
    let fake = FakeHub::new();
    let path = fake.fetch(&known()).unwrap().path;
    let shorten = |path: &Path| fs::write(path.canonicalize().unwrap(), &weights()[..1000]).unwrap();
    let heals = || {
        let mut told = Vec::new();
        let mut events = |event: Event<'_>| {
            if let Event::Retrying { .. } = event {
                told.push(event.to_string());
            }
        };
        let fetched = fake.hub().fetch(&known(), OnChange::Refuse, &mut events).unwrap().remove(0);
        assert_eq!((fetched.path, fetched.was_here), (path.clone(), false));
        assert_eq!(fs::read(&path).unwrap(), weights());
        assert!(told.iter().all(|told| told.contains("not as it should be; fetching it at once")), "{told:?}");
        assert!(!told.is_empty());
    };
    shorten(&path);
    heals();

    // The blob is right, and the snapshot's file, which is no link, is not.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"short").unwrap();
    fake.cdn.requests();
    heals();
    assert_eq!(fake.cdn.requests().len(), 0);

    // There is no blob: another program, or this one on a file system without links, has made the file of it.
    fs::remove_file(&path).unwrap();
    fs::remove_file(fake.blob(&sha256(&weights()))).unwrap();
    fs::write(&path, &weights()[..5000]).unwrap();
    heals();
    assert!(fake.fetch(&known()).unwrap().was_here);
}

#[test]
fn failures_that_pass_are_told_and_borne() {
    let fake = FakeHub::new();
    fake.fault(At::Head, Fault::Status(503, vec![]));
    fake.fault(At::Head, Fault::Status(429, vec![("Retry-After", "1".into())]));
    fake.fault(At::Cdn, Fault::Status(500, vec![]));
    let mut told = Vec::new();
    let mut events = |event: Event<'_>| {
        if let Event::Retrying { .. } = event {
            told.push(event.to_string().replace(&fake.hub.address, "HUB").replace(&fake.cdn.address, "CDN"));
        }
    };
    fake.hub().fetch(&known(), OnChange::Refuse, &mut events).unwrap();
    let expected =
        ["HUB answered 503; trying again in 1 s", "HUB answered 429; trying again in 1 s", "CDN answered 500"];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with("model.safetensors: ") && told.contains(expected), "{told}");
    }
    assert_eq!(told.len(), 3);
}
