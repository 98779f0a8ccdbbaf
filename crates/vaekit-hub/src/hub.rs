//! VAEs of the registry on this machine: found, fetched, checked, removed.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cache::{Cache, stated_hash};
use crate::client::Client;
use crate::download::{Download, Expected, KnownHash, hash_file};
use crate::entry::{Entry, RemoteFile};
use crate::error::{HashSource, HubError};
use crate::event::Event;
use crate::hash::ContentHash;
use crate::place::Place;
use crate::settings::Settings;
use crate::trust::Trusted;

/// A hub, and its cache on this machine.
pub struct Hub {
    settings: Settings,
    cache: Cache,
    trusted: Trusted,
    client: Client,
}

/// A file of a VAE on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it holds weights.
    #[serde(skip)]
    pub is_weights: bool,
}

/// A file of a VAE that is here now and has the content that it should have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedFile {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: ContentHash,
    /// Whether it was here already.
    pub was_here: bool,
    /// Who says that this is its sha256; nobody, if this was the first time that the file was seen, and it is now recorded.
    pub checked_against: Option<HashSource>,
}

/// What to do with a file whose hash is only known from an earlier fetch, and has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// Refuse it.
    #[default]
    Refuse,
    /// Take it and remember its hash instead.
    TrustNew,
}

impl Hub {
    /// A hub with its cache. Nothing is asked or made yet.
    pub fn new(settings: Settings) -> Self {
        let (cache, trusted) = (Cache::new(&settings.cache), Trusted::new(&settings.trusted));
        Hub { client: Client::new(&settings), cache, trusted, settings }
    }

    /// How the hub is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The files of a VAE, if all are here, whoever fetched them. Sizes are compared, contents are not: see
    /// [`verify`](Self::verify).
    pub fn locate(&self, entry: &Entry) -> Option<Vec<LocalFile>> {
        let local =
            |file: &RemoteFile| Some(LocalFile { path: self.find(entry, file)?, is_weights: file.is_weights() });
        entry.files.iter().map(local).collect()
    }

    /// Fetches what is missing of a VAE, checks everything, and gives its files in the registry's order. What is here and
    /// right needs no network.
    ///
    /// # Errors
    /// [`HubError`]. What had come of a file stays, for the next call to go on from.
    pub fn fetch(
        &self,
        entry: &Entry,
        on_change: OnChange,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<CheckedFile>, HubError> {
        entry.files.iter().map(|file| self.fetch_file(entry, file, on_change, events)).collect()
    }

    /// Hashes the files of a VAE that is here.
    ///
    /// # Errors
    /// [`HubError::NotInstalled`], [`HubError::Damaged`], or one of the disk's.
    pub fn verify(&self, entry: &Entry, events: &mut dyn FnMut(Event<'_>)) -> Result<Vec<CheckedFile>, HubError> {
        let local = self.locate(entry).ok_or_else(|| HubError::NotInstalled { name: entry.name.clone() })?;
        let files = entry.files.iter().zip(local);
        files.map(|(file, local)| self.check_local(entry, file, local.path, OnChange::Refuse, events)).collect()
    }

    /// Removes the files of a VAE from the cache, and gives the bytes that were freed. Other programs that use the cache
    /// will fetch them again. Copies in other repositories stay.
    ///
    /// # Errors
    /// [`HubError::NotInstalled`] if none was here, [`HubError::Elsewhere`] if only copies are, or one of the disk's.
    pub fn remove(&self, entry: &Entry) -> Result<u64, HubError> {
        let folder = self.cache.repository(&entry.repository);
        if entry.files.iter().all(|file| folder.of_any_revision(&file.path).is_empty()) {
            let name = entry.name.clone();
            return Err(match self.locate(entry).and_then(|files| files.into_iter().next()) {
                Some(LocalFile { path, .. }) => HubError::Elsewhere { name, path },
                None => HubError::NotInstalled { name },
            });
        }
        entry.files.iter().map(|file| folder.remove(&file.path)).sum()
    }

    fn fetch_file(
        &self,
        entry: &Entry,
        file: &RemoteFile,
        on_change: OnChange,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<CheckedFile, HubError> {
        let place = entry.place(file);
        if let Some(path) = self.find(entry, file) {
            return self.check_local(entry, file, path, on_change, events);
        }
        if self.settings.offline {
            return Err(HubError::Offline { place, cache: self.cache.root().to_owned() });
        }
        let known = self.known_hash(&place, file, on_change)?;
        let download = Download {
            client: &self.client,
            cache: &self.cache,
            patience: self.settings.patience,
            endpoint: &self.settings.endpoint,
            place: &place,
        };
        let (path, sha256) = download.run(&Expected { size: file.size, hash: known.clone() }, events)?;
        self.remember(&place, &sha256, &known)?;
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        Ok(CheckedFile { path, size, sha256, was_here: false, checked_against: known.map(|known| known.source) })
    }

    fn check_local(
        &self,
        entry: &Entry,
        file: &RemoteFile,
        path: PathBuf,
        on_change: OnChange,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<CheckedFile, HubError> {
        let place = entry.place(file);
        let known = self.known_hash(&place, file, on_change)?;
        let sha256 = hash_file(&path, &place, events)?;
        let stated = || Some(KnownHash { hash: stated_hash(&path)?, source: HashSource::Hub });
        if let Some(right) = known.clone().or_else(stated)
            && let Err(mismatch) = right.compare(&sha256)
        {
            return Err(HubError::Damaged { path, mismatch });
        }
        self.remember(&place, &sha256, &known)?;
        let size = path.metadata().map_or(0, |metadata| metadata.len());
        Ok(CheckedFile { path, size, sha256, was_here: true, checked_against: known.map(|known| known.source) })
    }

    /// The sha256 that a file must have.
    fn known_hash(&self, place: &Place, file: &RemoteFile, on_change: OnChange) -> Result<Option<KnownHash>, HubError> {
        if let Some(sha256) = &file.sha256 {
            return Ok(Some(KnownHash { hash: sha256.clone(), source: HashSource::Registry }));
        }
        match on_change {
            OnChange::TrustNew => Ok(None),
            OnChange::Refuse => {
                Ok(self.trusted.hash(place)?.map(|hash| KnownHash { hash, source: HashSource::FirstFetch }))
            }
        }
    }

    fn remember(&self, place: &Place, sha256: &ContentHash, known: &Option<KnownHash>) -> Result<(), HubError> {
        if known.is_some() { Ok(()) } else { self.trusted.record(place, sha256) }
    }

    /// A file in the cache: of the revision, or of any other revision or published copy that is provably the same.
    fn find(&self, entry: &Entry, file: &RemoteFile) -> Option<PathBuf> {
        let folder = self.cache.repository(&entry.repository);
        let own =
            folder.of_revision(&entry.revision, &file.path).into_iter().filter(|path| self.fits(file, path, false));
        let copies = entry.copies.iter().filter(|copy| copy.sha256.is_none());
        let others = copies.flat_map(|copy| self.cache.repository(&copy.repository).of_any_revision(&copy.path));
        let same =
            folder.of_any_revision(&file.path).into_iter().chain(others).filter(|path| self.fits(file, path, true));
        own.chain(same).next()
    }

    /// Whether a cached file can be the one that the registry means: its size is, and what the hub said of its content is.
    /// Where the hub said nothing (a copied file), only its size tells, and `must_prove` asks for more.
    fn fits(&self, file: &RemoteFile, path: &Path, must_prove: bool) -> bool {
        let size = path.metadata().ok().map(|metadata| metadata.len());
        let size_fits = size.is_some() && file.size.is_none_or(|expected| size == Some(expected));
        let proof = match (&file.sha256, stated_hash(path)) {
            (Some(expected), Some(stated)) => *expected == stated,
            (Some(_), None) => !must_prove || file.size.is_some(),
            (None, _) => !must_prove,
        };
        size_fits && proof
    }
}
