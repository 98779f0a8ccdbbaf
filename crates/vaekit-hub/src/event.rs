//! What a fetch is doing, for a progress bar.

use std::fmt;
use std::time::Duration;

use crate::place::FilePath;

/// A step, of a file. Prints as a line for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The hub is asked what the file is.
    Asking {
        /// The file.
        file: &'a FilePath,
    },
    /// Another process fetches the same file; this one waits for it.
    Waiting {
        /// The file.
        file: &'a FilePath,
    },
    /// Bytes came. `done` falls to 0 if the server cannot go on where a fetch stopped.
    Fetching {
        /// The file.
        file: &'a FilePath,
        /// Bytes that are here.
        done: u64,
        /// Bytes of the file, if they are known.
        total: Option<u64>,
    },
    /// Something failed that may pass, or a file that is here is not the one that it should be and is fetched anew.
    Retrying {
        /// The file.
        file: &'a FilePath,
        /// What failed.
        reason: &'a str,
        /// How long until the next attempt.
        pause: Duration,
    },
    /// A file that is here is hashed.
    Checking {
        /// The file.
        file: &'a FilePath,
        /// Bytes that are hashed.
        done: u64,
        /// Bytes of the file.
        total: u64,
    },
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Asking { file } => write!(f, "asking for {file}"),
            Event::Waiting { file } => write!(f, "waiting for another process that fetches {file}"),
            Event::Fetching { file, .. } => write!(f, "fetching {file}"),
            Event::Retrying { file, reason, pause } if pause.is_zero() => {
                write!(f, "{file}: {reason}; fetching it at once")
            }
            Event::Retrying { file, reason, pause } => {
                write!(f, "{file}: {reason}; trying again in {:.0} s", pause.as_secs_f64().ceil())
            }
            Event::Checking { file, .. } => write!(f, "checking {file}"),
        }
    }
}
