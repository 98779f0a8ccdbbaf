//! The VAEs that people use, by name, and fetching them from a Hugging Face style hub.
//!
//! ```no_run
//! use vaekit_hub::{Hub, OnChange, Registry, Settings};
//!
//! let registry = Registry::builtin();
//! let hub = Hub::new(Settings::from_env("known-hashes.json".into())?);
//! for file in hub.fetch(registry.find("taesd")?, OnChange::Refuse, &mut |event| println!("{event}"))? {
//!     println!("{} {}", file.sha256, file.path.display());
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Files lie in the cache that Hugging Face's own programs use, in its layout, so that what diffusers has fetched is found
//! and what is fetched here is found by diffusers. A fetch goes on where an earlier one stopped, bears failures that pass,
//! and gives a file its name only when its size and sha256 are right. Where the registry has no sha256, the first one that
//! is seen is recorded and held to ([`CheckedFile::checked_against`]).
//!
//! A hub is a stranger: what it says of names is checked before it becomes a path, sizes are bounded, the token goes to the
//! endpoint and to no address that it points to. There is no async runtime; calls block.
//!
//! Limits: models only (no datasets or spaces), whole files, plain HTTP and HTTPS (large files come through the hub's HTTP
//! bridge, not by its chunk protocol Xet).

#![forbid(unsafe_code)]

mod cache;
mod client;
mod download;
mod entry;
mod error;
mod event;
mod hash;
mod hub;
mod place;
mod registry;
mod settings;
mod trust;

pub use entry::{Entry, Family, PublishedCopy, RemoteFile};
pub use error::{HashSource, HubError, Mismatch};
pub use event::Event;
pub use hash::{ContentHash, NotAHash};
pub use hub::{CheckedFile, Hub, LocalFile, OnChange};
pub use place::{BadPlace, Commit, Etag, FilePath, Place, Repository, Revision};
pub use registry::{MIN_HASH_DIGITS, Registry, RegistryError, UnknownName};
pub use settings::{Patience, Proxy, Settings, SettingsError, Token};
