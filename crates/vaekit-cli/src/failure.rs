//! What went wrong, as an exit code.

use std::fmt;

/// The kinds of failure a script may want to tell apart. Attached to an error with `.context(kind)`-like helpers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A command line that cannot be meant.
    Usage = 2,
    /// A file that is not there, broken, hostile, or of another kind than needed.
    BadInput = 3,
    /// An engine or execution provider that is not to be had.
    Engine = 4,
    /// A conversion whose graphs do not compute what the checkpoint does.
    Verification = 5,
    /// A hub that cannot be reached, or refuses.
    Hub = 6,
    /// Ctrl-C.
    Interrupted = 130,
}

/// An error with a [`Kind`].
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

impl Failure {
    /// An error of this kind.
    pub fn error(kind: Kind, error: impl Into<anyhow::Error>) -> anyhow::Error {
        anyhow::Error::new(Failure { kind, error: error.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Gives an error a kind; the innermost kind wins.
pub trait OfKind<T> {
    /// Marks the error, unless it is marked already.
    fn of_kind(self, kind: Kind) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OfKind<T> for Result<T, E> {
    fn of_kind(self, kind: Kind) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if kind_of(&error).is_some() { error } else { Failure::error(kind, error) }
        })
    }
}

/// The kind of an error, if it was given one.
pub fn kind_of(error: &anyhow::Error) -> Option<Kind> {
    error.downcast_ref::<Failure>().map(|failure| failure.kind)
}

/// The error of a type that another was made of, whether or not it was given a kind since.
pub fn cause<E: fmt::Display + fmt::Debug + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    let marked = || error.downcast_ref::<Failure>()?.error.downcast_ref::<E>();
    error.downcast_ref::<E>().or_else(marked)
}

/// The process's exit code for an error: its kind's, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    kind_of(error).map_or(1, |kind| kind as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_kind_survives_context_and_is_not_replaced() {
        let inner: anyhow::Result<()> = Err(anyhow!("no such file")).of_kind(Kind::BadInput);
        let outer = inner.context("cat.png").of_kind(Kind::Engine).unwrap_err();
        assert_eq!(exit_code(&outer), 3);
        assert_eq!(format!("{outer:#}"), "cat.png: no such file");
        assert_eq!(exit_code(&anyhow!("disk full")), 1);
    }
}
