//! Where a file is on a hub: repository, revision, path. Checked once, so that each part can be a file name here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that cannot be a part of a place on a hub.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is no {what}: {expected}")]
pub struct BadPlace {
    found: String,
    what: &'static str,
    expected: &'static str,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadPlace;

            fn try_from(text: String) -> Result<Self, BadPlace> {
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok($name(text))
                } else {
                    Err(BadPlace { found: text, what: $what, expected: $expected })
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadPlace;

            fn from_str(text: &str) -> Result<Self, BadPlace> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> String {
                checked.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

checked_text! {
    /// A repository, `OWNER/NAME`.
    Repository, "repository", "expected OWNER/NAME of letters, digits, `-`, `_` and `.`", is_repository
}

checked_text! {
    /// A branch, a tag, or a commit (40 hexadecimal digits).
    Revision, "revision", "expected a branch, a tag or a commit", is_relative
}

checked_text! {
    /// A file's path in a repository, with `/` between folders.
    FilePath, "path in a repository", "expected a relative path with `/` between folders, without `..` or characters that file systems refuse", is_relative
}

checked_text! {
    /// A commit: 40 hexadecimal digits.
    Commit, "commit", "expected 40 hexadecimal digits", |text| text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

checked_text! {
    /// What a hub calls a content: the sha256 of a large file, git's blob hash of a small one.
    Etag, "entity tag", "expected at most 128 letters, digits, `-`, `_` and `.`", |text| text.len() <= 128 && is_name(text)
}

impl Repository {
    /// The repository's folder in a cache: `models--OWNER--NAME`.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }
}

impl Revision {
    /// `main`, the branch that a hub shows.
    pub fn main() -> Self {
        Revision("main".into())
    }

    /// The commit that this names for ever, unless it is a branch or a tag.
    pub fn commit(&self) -> Option<Commit> {
        self.0.parse().ok()
    }
}

impl FilePath {
    /// The name without folders.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folders and the name.
    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl Etag {
    /// The tag in an HTTP header: without the mark of a weak one and without quotes.
    pub(crate) fn from_header(value: &str) -> Result<Self, BadPlace> {
        value.trim().trim_start_matches("W/").trim_matches('"').parse()
    }
}

/// A file on a hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The repository.
    pub repository: Repository,
    /// The revision.
    pub revision: Revision,
    /// The path in the repository.
    pub path: FilePath,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.repository, self.path)?;
        if self.revision.as_str() == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Letters, digits, `-`, `_`, `.`, not beginning with a dot.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed)
}

/// As Hugging Face's own rule, where `--` would make two repositories share a folder.
fn is_repository(text: &str) -> bool {
    text.len() <= 128
        && !text.contains("--")
        && !text.contains("..")
        && text.split_once('/').is_some_and(|(owner, name)| is_name(owner) && is_name(name) && !name.ends_with('.'))
}

/// Names that no file system takes for anything else: no root, no drive, no parent, none that Windows changes or refuses.
fn is_relative(text: &str) -> bool {
    let refused = |c: char| c.is_control() || matches!(c, '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*');
    let segment = |segment: &str| !segment.is_empty() && segment.trim() == segment && !segment.ends_with('.');
    text.len() <= 512 && text.split('/').all(segment) && !text.contains(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: TryFrom<String>>(good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(T::try_from(text.to_string()).is_ok(), "{text}");
        }
        for text in bad {
            assert!(T::try_from(text.to_string()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_hub_has_and_what_it_cannot_have() {
        check::<Repository>(
            &["stabilityai/sd-vae-ft-mse", "Comfy-Org/Lumina_Image_2.0_Repackaged"],
            &["", "gpt2", "a/b/c", "../b", "a/..", "a--b/c", "a/b\\c", "a/ b", "/b", "a/", ".a/b", "C:/b"],
        );
        check::<FilePath>(
            &["config.json", "vae/diffusion_pytorch_model.fp16.safetensors", "VAEs/orange mix.vae.pt"],
            &["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "a\\b", "c:x", "a\0", "a/.", "x ", "x?"],
        );
        check::<Revision>(&["main", "refs/pr/1", "v1.0"], &["", "..", "a/../../b"]);
        check::<Commit>(&["629b3ad3030ce36e15e70c5db7d91df0d60c627f"], &["main", "629b3ad3"]);
    }

    #[test]
    fn an_entity_tag_loses_its_quotes_and_never_names_a_folder() {
        assert_eq!(Etag::from_header("W/\"abc-1\"").unwrap().as_str(), "abc-1");
        for value in ["\"\"", "\"../x\"", "\"a/b\"", "\".\""] {
            assert!(Etag::from_header(value).is_err(), "{value}");
        }
    }
}
