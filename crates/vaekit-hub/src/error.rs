//! Why a VAE could not be fetched, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::hash::ContentHash;
use crate::place::{Place, Repository};

/// A fetch, a check or a removal that failed.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The publisher wants something first.
    #[error("{repository} is gated: accept its licence at {page} {}", gate_advice(*.has_token, .endpoint))]
    Gated {
        /// The repository.
        repository: Repository,
        /// Its page.
        page: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub does not know the token.
    #[error(
        "{endpoint} refuses the token (401): make a new one at {endpoint}/settings/tokens and set HF_TOKEN to it, or unset HF_TOKEN"
    )]
    BadToken {
        /// The hub.
        endpoint: String,
    },
    /// The token may not do this.
    #[error(
        "{endpoint} forbids reading {repository} with this token (403): give it read access at {endpoint}/settings/tokens"
    )]
    Forbidden {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: Repository,
    },
    /// There is no such repository, or it is private, which a hub does not tell apart.
    #[error(
        "{endpoint} has no repository {repository}, or it is private: check the name, or set HF_TOKEN to a token that may read it"
    )]
    NoRepository {
        /// The hub.
        endpoint: String,
        /// The repository.
        repository: Repository,
    },
    /// The repository has no such file or revision.
    #[error("{endpoint} has no {place}: the publisher may have moved it")]
    NoFile {
        /// The hub.
        endpoint: String,
        /// What was asked for.
        place: Place,
    },
    /// Another answer that trying again does not change.
    #[error("{url} answered {status}{}", .message.as_ref().map(|message| format!(": {message}")).unwrap_or_default())]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// What the hub said.
        message: Option<String>,
    },
    /// What answered is no hub.
    #[error("{url} did not answer as a hub does: {reason}; is HF_ENDPOINT right?")]
    NotAHub {
        /// What was asked.
        url: String,
        /// What was amiss.
        reason: String,
    },
    /// The network or the hub kept failing.
    #[error(
        "cannot fetch {place}: {reason}, {attempts} times in a row; what has come is kept, the next fetch goes on from there"
    )]
    Network {
        /// What was fetched.
        place: Place,
        /// The last failure.
        reason: String,
        /// How often.
        attempts: u32,
    },
    /// The hub asks for a long pause.
    #[error("{endpoint} asks for a pause of {} s before the next request: try again then, or set HF_TOKEN, which raises its limits", .pause.as_secs())]
    TooManyRequests {
        /// The hub.
        endpoint: String,
        /// The pause.
        pause: Duration,
    },
    /// The network is not to be used.
    #[error(
        "{place} is not here, and HF_HUB_OFFLINE is set: unset it to fetch, or copy the folder {} of another machine's hub cache into {}",
        .place.repository.folder(),
        .cache.display()
    )]
    Offline {
        /// What is missing.
        place: Place,
        /// The cache.
        cache: PathBuf,
    },
    /// The size is another one.
    #[error(
        "{place} has {found} bytes on the hub, expected {expected}: it is not the file that was expected; nothing was fetched"
    )]
    Size {
        /// What was asked for.
        place: Place,
        /// The hub's.
        found: u64,
        /// The registry's.
        expected: u64,
    },
    /// More bytes came than a file may have.
    #[error("{place} goes on after {limit} bytes: it is not the file that was expected; nothing was kept")]
    TooLong {
        /// What was fetched.
        place: Place,
        /// The most it may have.
        limit: u64,
    },
    /// The content is another one.
    #[error("{place} has {mismatch}: {}; nothing was kept", .mismatch.source.advice())]
    Hash {
        /// What was fetched.
        place: Place,
        /// Its hash and the right one.
        mismatch: Box<Mismatch>,
    },
    /// A file that is there has another content than it should have.
    #[error("{} has {mismatch}: {}", .path.display(), .mismatch.source.advice_here())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its hash and the right one.
        mismatch: Box<Mismatch>,
    },
    /// Not here.
    #[error("{name} is not installed; `vaekit vae fetch {name}` fetches it")]
    NotInstalled {
        /// The VAE.
        name: String,
    },
    /// Its files are those of another repository.
    #[error("{name} was not fetched; what is used of it is {}, which another program fetched: remove it there", .path.display())]
    Elsewhere {
        /// The VAE.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The disk.
    #[error("cannot {what} {}: {error}", .path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// A content that is not the one that was expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The content's.
    pub found: ContentHash,
    /// What it should be.
    pub expected: ContentHash,
    /// Who says so.
    pub source: HashSource,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256 {}, {} {}", self.found, self.source.says(), self.expected)
    }
}

/// Who says what a file's sha256 is, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashSource {
    /// The registry.
    Registry,
    /// The first fetch on this machine.
    FirstFetch,
    /// The hub, in the same answer.
    Hub,
}

impl HashSource {
    fn says(self) -> &'static str {
        match self {
            HashSource::Registry => "the registry says",
            HashSource::FirstFetch => "the first fetch on this machine got",
            HashSource::Hub => "the hub says",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            HashSource::Registry => "it was damaged on its way, or replaced by the publisher",
            HashSource::FirstFetch => {
                "the publisher replaced it, or somebody else did; `vaekit vae fetch --trust-new` takes the new one"
            }
            HashSource::Hub => "it was damaged on its way; fetch it again",
        }
    }

    fn advice_here(self) -> &'static str {
        match self {
            HashSource::FirstFetch => {
                "it was replaced or damaged; remove and fetch it again, with `--trust-new` if the publisher replaced it"
            }
            HashSource::Registry | HashSource::Hub => {
                "it is damaged; remove it with `vaekit vae remove` and fetch it again"
            }
        }
    }
}

fn gate_advice(has_token: bool, endpoint: &str) -> String {
    if has_token {
        "with the account of your token (some publishers approve by hand), then fetch again".into()
    } else {
        format!("with your account, make a token at {endpoint}/settings/tokens and set HF_TOKEN to it")
    }
}

/// Gives a failure of the disk its path.
pub(crate) trait AtPath<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> Result<T, HubError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &std::path::Path) -> Result<T, HubError> {
        self.map_err(|error| HubError::Io { what, path: path.to_owned(), error })
    }
}
