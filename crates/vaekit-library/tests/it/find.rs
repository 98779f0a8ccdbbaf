//! What a name means.

use vaekit_library::{FindError, Index, find, near};

use crate::Place;

#[track_caller]
fn check(files: &[&str], query: &str, expected: &str) {
    let place = Place::with(files);
    let entries = place.entries();
    match find(&entries, query, &Index::default()) {
        Ok(found) => assert_eq!(found.name, expected),
        Err(error) => assert_eq!(error.to_string().replace(&place.path("").display().to_string(), ""), expected),
    }
}

const FILES: &[&str] =
    &["Anime.pt", "sub/mse.safetensors", "model.vae.ckpt", "vae-ft-mse-840000-ema-pruned.safetensors"];

#[test]
fn names_with_and_without_folder_ending_and_case() {
    for query in ["sub/mse.safetensors", "mse.safetensors", "sub\\mse", "mse", "MSE", "Sub/MSE.SAFETENSORS"] {
        check(FILES, query, "sub/mse.safetensors");
    }
    for query in ["model.vae.ckpt", "model.vae", "model", "Model"] {
        check(FILES, query, "model.vae.ckpt");
    }
}

#[test]
fn a_closer_match_comes_before_one_that_is_less_close() {
    check(&["anime.pt", "Anime.pt2/x.pt", "ANIME.ckpt"], "ANIME", "ANIME.ckpt");
    check(&["mse", "mse.pt", "sub/mse.ckpt"], "mse.ckpt", "sub/mse.ckpt");
    check(&["model.vae.pt", "model.pt"], "model.pt", "model.pt");
}

#[test]
fn what_may_be_several_is_an_error_that_lists_them() {
    check(
        &["mse.pt", "mse.ckpt", "other.pt"],
        "mse",
        "`mse` may be any of `mse.ckpt`, `mse.pt`; write more of the name, or the hash",
    );
    check(
        &["a/x.pt", "b/x.pt"],
        "x.pt",
        "`x.pt` may be any of `a/x.pt`, `b/x.pt`; write more of the name, or the hash",
    );
    check(&["a/x.pt", "b/x.pt"], "b/x", "b/x.pt");
}

#[test]
fn what_is_not_there_is_an_error_with_near_misses() {
    check(FILES, "840000", "none of the 4 VAEs there is called `840000`; did you mean `vae-ft-mse-840000-ema-pruned`?");
    check(FILES, "anmie", "none of the 4 VAEs there is called `anmie`; did you mean `Anime`?");
    check(FILES, "taesd", "none of the 4 VAEs there is called `taesd`");
    assert_eq!(near(["mse-long", "mse", "ema"].into_iter(), "MSE"), ["mse", "mse-long"]);
}

#[test]
fn hashes_and_names_with_hashes() {
    let place = Place::with(FILES);
    let entries = place.entries();
    let mut index = Index::open(place.path("hashes.json"));
    let hash = index.sha256(&entries[3].files[0]).unwrap();
    assert_eq!(entries[3].name, FILES[3]);
    let check = |query: String, expected: Option<&str>| {
        assert_eq!(find(&entries, &query, &index).ok().map(|entry| entry.name.as_str()), expected, "{query}");
    };
    check(hash[..10].to_owned(), Some(FILES[3]));
    check(hash.to_uppercase(), Some(FILES[3]));
    check(hash[..5].to_owned(), None);
    check(format!("{} [{}]", FILES[3], &hash[..10]), Some(FILES[3]));
    check(format!("{} [0123456789]", FILES[3]), None);
    // A name alone is not enough: the file has to be read, and only that one.
    let Err(FindError::Unread { files, .. }) = find(&entries, "anime [0123456789]", &index) else { panic!() };
    assert_eq!(files, entries[0].files);
    let hash = index.sha256(&files[0]).unwrap();
    let check = |query: String, expected: Option<&str>| {
        assert_eq!(find(&entries, &query, &index).ok().map(|entry| entry.name.as_str()), expected, "{query}");
    };
    check("anime [0123456789]".into(), None);
    check(format!("anime [{}]", &hash[..10]), Some("Anime.pt"));
    // A word like `facade` is no reason to read every file.
    for (query, expected) in [("0123456789", true), ("facade", false)] {
        let Err(FindError::Unknown { is_hash, .. }) = find(&entries, query, &index) else { panic!() };
        assert_eq!(is_hash, expected);
    }
}

#[test]
fn of_two_of_a_name_the_hash_decides() {
    let place = Place::with(&["a/mse.pt", "b/mse.pt"]);
    let entries = place.entries();
    let mut index = Index::default();
    let hashes: Vec<String> = entries.iter().map(|entry| index.sha256(&entry.files[0]).unwrap()).collect();
    for (entry, hash) in entries.iter().zip(&hashes) {
        assert_eq!(find(&entries, &format!("mse [{}]", &hash[..10]), &index), Ok(entry));
    }
    // What is known to be it needs no reading of others.
    let mut index = Index::default();
    index.sha256(&entries[1].files[0]).unwrap();
    assert_eq!(find(&entries, &format!("mse [{}]", &hashes[1][..10]), &index), Ok(&entries[1]));
    let error = find(&entries, &format!("mse [{}]", &hashes[0][..10]), &index).unwrap_err();
    let FindError::Unread { files, .. } = &error else { panic!("{error}") };
    assert_eq!(*files, entries[0].files);
    assert!(error.to_string().contains("mse.pt`, whose sha256 is not known"), "{error}");
    // A model folder is no file that could have the hash.
    let place = Place::with(&["mse/vaekit.json", "mse/vae_decoder/model.onnx"]);
    assert!(matches!(find(&place.entries(), "mse [0123456789]", &index), Err(FindError::Unknown { .. })));
}

#[test]
fn known_copies_are_no_ambiguity() {
    let place = Place::with(&[]);
    place.put("a/x.pt", b"same");
    place.put("b/x.pt", b"same");
    place.put("c/x.pt", b"other");
    let entries = place.entries();
    let mut index = Index::default();
    assert!(find(&entries[..2], "x", &index).is_err());
    entries.iter().for_each(|entry| drop(index.sha256(&entry.files[0]).unwrap()));
    assert_eq!(find(&entries[..2], "x", &index).unwrap().name, "a/x.pt");
    let error = find(&entries, "x", &index).unwrap_err().to_string();
    assert!(error.contains("[0967115f28]"), "{error}");
}
