//! Which entry a person means.

use std::collections::HashSet;

use crate::entry::{Entry, Kind};
use crate::file::Stamped;
use crate::index::Index;

/// Digits of a short hash, as AUTOMATIC1111's web UI shows them.
pub const SHORT_HASH_DIGITS: usize = 10;
/// Fewest digits that are taken for the beginning of a hash: fewer would hit a file by chance.
pub const MIN_HASH_DIGITS: usize = 6;

/// Most names in a message.
const SHOWN: usize = 8;
/// Likeness (Jaro-Winkler, 0 to 1) from which a name is worth suggesting.
const LIKE: f64 = 0.85;

/// No entry, more than one, or one that has to be read first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No entry matches.
    #[error("none of the {n_entries} VAEs there is called `{query}`{}", did_you_mean(near))]
    Unknown {
        /// What was asked for.
        query: String,
        /// Names that are like it, the most alike first.
        near: Vec<String>,
        /// How many entries there are.
        n_entries: usize,
        /// Whether it may be the short hash, or more, of a file that was not read yet.
        is_hash: bool,
    },
    /// Several entries match equally well.
    #[error("`{query}` may be any of {}; write more of the name, or the hash", list(candidates))]
    Ambiguous {
        /// What was asked for.
        query: String,
        /// Path, and short hash where it is known, of each.
        candidates: Vec<String>,
    },
    /// Entries of that name may have the hash that was asked for, and their files' are not known.
    #[error(
        "`{query}` may be {}, whose sha256 is not known: it was not read yet, cannot be read, or was written this moment",
        list(&paths(files))
    )]
    Unread {
        /// What was asked for.
        query: String,
        /// The files to read before another search.
        files: Vec<Stamped>,
    },
}

fn paths(files: &[Stamped]) -> Vec<String> {
    files.iter().map(|file| file.path.display().to_string()).collect()
}

/// `; did you mean ...?`, or nothing.
fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", list(near)) }
}

fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The entry that `query` names. In this order, and the first rule that hits decides:
/// 1. its name, with the folders or without, as listed;
/// 2. the same without the ending, or without `.vae` too;
/// 3. either, whatever the case;
/// 4. the first digits of its file's sha256, [`MIN_HASH_DIGITS`] at least, as far as `index` knows it.
///
/// `NAME [HASH]`, as the web UI writes it, is the entry with both; its name alone is not enough. Copies of the same file are
/// one VAE and the first of them is taken; that is known where `index` has their hashes.
///
/// # Errors
/// [`FindError`] if none is hit, several that are not known to be copies, or one whose hash has to be known.
pub fn find<'a>(entries: &'a [Entry], query: &str, index: &Index) -> Result<&'a Entry, FindError> {
    let (name, hash) = split_hash(query);
    let name = name.replace('\\', "/");
    let hash_of = |entry: &Entry| entry.files.first().and_then(|file| index.known_sha256(file)).map(str::to_owned);
    // Whether it has the hash that was asked for, if any; `None` where that is not known.
    let agrees = |entry: &Entry| {
        let Some(asked) = &hash else { return Some(true) };
        if entry.kind == Kind::Model {
            return Some(false);
        }
        let hashes: Vec<Option<&str>> = entry.files.iter().map(|file| index.known_sha256(file)).collect();
        let is_it = hashes.iter().flatten().any(|known| known.starts_with(asked));
        if is_it || !hashes.contains(&None) { Some(is_it) } else { None }
    };
    // Of the entries that a rule names, those that have the hash, and those that may have it.
    let hits = |rule: &dyn Fn(&Entry) -> bool| -> (Vec<&'a Entry>, Vec<&'a Entry>) {
        let named = || entries.iter().filter(|entry| rule(entry));
        let that = |wanted| named().filter(|entry| agrees(entry) == wanted).collect();
        (that(Some(true)), that(None))
    };
    let lower = name.to_lowercase();
    let is_hash = is_hash(&lower);
    let rules: [&dyn Fn(&Entry) -> bool; 4] = [
        &|entry| entry.name == name || entry.base_name() == name,
        &|entry| short_names(entry).contains(&name.as_str()),
        &|entry| {
            let same = |known: &str| known.to_lowercase() == lower;
            same(&entry.name) || same(entry.base_name()) || short_names(entry).into_iter().any(same)
        },
        &|entry| {
            is_hash && entry.files.iter().any(|file| index.known_sha256(file).is_some_and(|h| h.starts_with(&lower)))
        },
    ];
    let decides = |hits: &(Vec<_>, Vec<_>)| !hits.0.is_empty() || !hits.1.is_empty();
    let (found, unread) = rules.iter().map(|rule| hits(rule)).find(decides).unwrap_or_default();
    match found.as_slice() {
        [] if !unread.is_empty() => {
            let files = unread.iter().flat_map(|entry| &entry.files);
            let files = files.filter(|file| index.known_sha256(file).is_none()).cloned().collect();
            Err(FindError::Unread { query: query.into(), files })
        }
        [] => {
            let near = near(entries.iter().map(Entry::stem), &name);
            let is_hash = is_hash && lower.len() >= SHORT_HASH_DIGITS;
            Err(FindError::Unknown { query: query.into(), near, n_entries: entries.len(), is_hash })
        }
        [only] => Ok(only),
        [first, others @ ..] => {
            let known = hash_of(first);
            if known.is_some() && others.iter().all(|other| hash_of(other) == known) {
                return Ok(first);
            }
            let candidate = |entry: &&Entry| {
                let path = entry.paths().first().map(|path| path.display().to_string()).unwrap_or_default();
                match hash_of(entry) {
                    Some(hash) => format!("{path} [{}]", &hash[..SHORT_HASH_DIGITS]),
                    None => path,
                }
            };
            Err(FindError::Ambiguous { query: query.into(), candidates: found.iter().map(candidate).collect() })
        }
    }
}

/// `NAME [HASH]` in its two parts.
fn split_hash(query: &str) -> (&str, Option<String>) {
    let parts = query.trim().strip_suffix(']').and_then(|query| query.rsplit_once(" ["));
    match parts {
        Some((name, hash)) if is_hash(&hash.to_lowercase()) => (name.trim_end(), Some(hash.to_lowercase())),
        _ => (query, None),
    }
}

fn is_hash(lower: &str) -> bool {
    (MIN_HASH_DIGITS..=64).contains(&lower.len()) && lower.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Without the ending: with the folders and without, and without `.vae`.
fn short_names(entry: &Entry) -> Vec<&str> {
    let whole = if entry.is_folder() { entry.name.as_str() } else { crate::entry::without_ending(&entry.name) };
    vec![whole, entry.stem(), entry.bare()]
}

/// The names that a person may have meant, three at most: those that hold what was asked for, then those that are spelt alike.
pub fn near<'a>(names: impl Iterator<Item = &'a str>, asked: &str) -> Vec<String> {
    const SUGGESTED: usize = 3;
    let asked = asked.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let is_part = !asked.is_empty() && name.contains(&asked);
        // Of names that hold it the shortest is the likeliest.
        if is_part { 2.0 - name.len() as f64 * 1e-6 } else { strsim::jaro_winkler(&name, &asked) }
    };
    let mut near: Vec<(f64, &str)> = names.map(|name| (likeness(name), name)).collect();
    near.retain(|(likeness, _)| *likeness >= LIKE);
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut seen = HashSet::new();
    near.into_iter().filter(|(_, name)| seen.insert(*name)).map(|(_, name)| name.to_owned()).take(SUGGESTED).collect()
}
