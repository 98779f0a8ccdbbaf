//! One file from a hub to its blob: resumed, retried, bounded, and checked before it gets its name.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use crate::cache::{Cache, create_parent};
use crate::client::{Client, Failure, Metadata, Resume};
use crate::error::{AtPath, HashSource, HubError, Mismatch};
use crate::event::Event;
use crate::hash::{ContentHash, Hasher};
use crate::place::Place;
use crate::settings::Patience;

/// The most a file may have whose size nobody tells. The largest VAE that is published has 1.7 GB.
const MAX_SIZE: u64 = 16 << 30;

/// What a file should be.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) size: Option<u64>,
    pub(crate) hash: Option<KnownHash>,
}

impl Expected {
    /// The sha256 that is held to: the one that was known, else the hub's own.
    fn or_hubs(&self, metadata: &Metadata) -> Option<KnownHash> {
        let hubs = || Some(KnownHash { hash: metadata.sha256()?, source: HashSource::Hub });
        self.hash.clone().or_else(hubs)
    }
}

/// A sha256, and who says so.
#[derive(Clone, Debug)]
pub(crate) struct KnownHash {
    pub(crate) hash: ContentHash,
    pub(crate) source: HashSource,
}

impl KnownHash {
    pub(crate) fn compare(&self, found: &ContentHash) -> Result<(), Box<Mismatch>> {
        if *found == self.hash {
            return Ok(());
        }
        Err(Box::new(Mismatch { found: found.clone(), expected: self.hash.clone(), source: self.source }))
    }
}

/// A fetch of one file.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cache: &'a Cache,
    pub(crate) patience: Patience,
    pub(crate) endpoint: &'a str,
    pub(crate) place: &'a Place,
}

impl Download<'_> {
    /// Fetches the file unless it is there and right, and gives its snapshot's path and its hash. What is there and wrong is
    /// replaced.
    pub(crate) fn run(
        &self,
        expected: &Expected,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(PathBuf, ContentHash), HubError> {
        let place = self.place;
        events(Event::Asking { file: &place.path });
        let mut stubbornness = Stubbornness::new(self);
        let metadata = loop {
            match self.client.metadata(place) {
                Ok(metadata) => break metadata,
                Err(failure) => stubbornness.bear(failure, events)?,
            }
        };
        self.compare(&metadata, expected)?;

        let folder = self.cache.repository(&place.repository);
        let waiting = || events(Event::Waiting { file: &place.path });
        let _lock = self.cache.lock(&place.repository, &metadata.etag, waiting)?;
        let blob = folder.blob(&metadata.etag);
        // Where there are no links the blob has become the snapshot's file.
        let pointer = folder.pointer(&metadata.commit, &place.path);
        let of_pointer = self.right_hash(&pointer, &metadata, expected, events)?;
        let hash = match &of_pointer {
            Some(hash) => hash.clone(),
            None => match self.right_hash(&blob, &metadata, expected, events)? {
                Some(hash) => hash,
                None => self.fetch(&metadata, expected, &folder.partial(&metadata.etag), &blob, events)?,
            },
        };
        if of_pointer.is_none() && pointer.is_file() {
            fs::remove_file(&pointer).at("remove", &pointer)?;
        }
        let path = folder.point(&metadata.commit, &place.path, &metadata.etag)?;
        folder.refer(&place.revision, &metadata.commit)?;
        Ok((path, hash))
    }

    /// The hash of a file that is here, unless it is not what the hub has: a disk that was full, or a program that was killed,
    /// may have left a part of it.
    fn right_hash(
        &self,
        path: &Path,
        metadata: &Metadata,
        expected: &Expected,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<ContentHash>, HubError> {
        let Some(found) = fs::metadata(path).ok().filter(fs::Metadata::is_file) else { return Ok(None) };
        let right_size = metadata.size.or(expected.size).is_none_or(|size| size == found.len());
        if right_size {
            let hash = hash_file(path, self.place, events)?;
            if self.compare_hash(&hash, expected.or_hubs(metadata).as_ref()).is_ok() {
                return Ok(Some(hash));
            }
        }
        let reason = "what is here is not as it should be";
        events(Event::Retrying { file: &self.place.path, reason, pause: Duration::ZERO });
        Ok(None)
    }

    /// Whether the hub offers what is expected, before a byte is fetched.
    fn compare(&self, metadata: &Metadata, expected: &Expected) -> Result<(), HubError> {
        if let Some(hash) = metadata.sha256() {
            self.compare_hash(&hash, expected.hash.as_ref())?;
        }
        let place = || self.place.clone();
        match (metadata.size, expected.size) {
            (Some(found), Some(expected)) if found != expected => {
                Err(HubError::Size { place: place(), found, expected })
            }
            (Some(size), _) if size > MAX_SIZE => Err(HubError::TooLong { place: place(), limit: MAX_SIZE }),
            _ => Ok(()),
        }
    }

    fn compare_hash(&self, found: &ContentHash, expected: Option<&KnownHash>) -> Result<(), HubError> {
        let compare = |expected: &KnownHash| expected.compare(found);
        expected.map_or(Ok(()), compare).map_err(|mismatch| HubError::Hash { place: self.place.clone(), mismatch })
    }

    fn fetch(
        &self,
        metadata: &Metadata,
        expected: &Expected,
        partial: &Path,
        blob: &Path,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<ContentHash, HubError> {
        create_parent(partial)?;
        let size = metadata.size.or(expected.size);
        let mut progress = |done, total| events(Event::Checking { file: &self.place.path, done, total });
        let mut partial = Partial::open(partial, size, &mut progress)?;
        let resumed = partial.hasher.bytes() > 0;
        let right = expected.or_hubs(metadata);
        let mut hash = self.complete(&mut partial, metadata, size, events)?;
        let mut outcome = self.compare_hash(&hash, right.as_ref());
        if outcome.is_err() && resumed {
            // What was there before may have been the fault: once more, from the beginning.
            partial.clear()?;
            hash = self.complete(&mut partial, metadata, size, events)?;
            outcome = self.compare_hash(&hash, right.as_ref());
        }
        if let Err(error) = outcome {
            partial.discard();
            return Err(error);
        }
        partial.keep_as(blob)?;
        Ok(hash)
    }

    /// Fetches what is missing of the file.
    fn complete(
        &self,
        partial: &mut Partial,
        metadata: &Metadata,
        size: Option<u64>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<ContentHash, HubError> {
        let mut stubbornness = Stubbornness::new(self);
        let mut validator = None;
        loop {
            let before = partial.hasher.bytes();
            if size != Some(before) || before == 0 {
                let more = self.more(partial, metadata, size, &mut validator, events);
                if partial.hasher.bytes() > before {
                    stubbornness.calm();
                }
                if let Err(failure) = more {
                    stubbornness.bear(failure, events)?;
                    continue;
                }
            }
            return Ok(std::mem::take(&mut partial.hasher).finish());
        }
    }

    /// One request for the rest of the file, up to its end or a failure.
    fn more(
        &self,
        partial: &mut Partial,
        metadata: &Metadata,
        size: Option<u64>,
        validator: &mut Option<String>,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Failure> {
        let resume = Resume { from: partial.hasher.bytes(), validator: validator.clone() };
        let mut content = match self.client.content(self.place, &metadata.etag, &resume) {
            // Asked for all of it, it has no such excuse.
            Err(Failure::NoSuchPiece) if resume.from > 0 => {
                partial.clear()?;
                *validator = None;
                return self.more(partial, metadata, size, validator, events);
            }
            content => content?,
        };
        if content.start != resume.from {
            partial.clear()?;
        }
        *validator = content.validator;
        let limit = size.unwrap_or(MAX_SIZE);
        let mut buffer = vec![0; 1 << 17];
        loop {
            let n = match content.reader.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("the connection broke ({})", error.to_string().to_lowercase());
                    return Err(Failure::Passing { reason, pause: None });
                }
            };
            if n == 0 {
                break;
            }
            if partial.hasher.bytes() + n as u64 > limit {
                partial.clear()?;
                return Err(HubError::TooLong { place: self.place.clone(), limit }.into());
            }
            partial.append(&buffer[..n])?;
            let done = partial.hasher.bytes();
            events(Event::Fetching { file: &self.place.path, done, total: size });
        }
        match size {
            Some(size) if partial.hasher.bytes() < size => {
                Err(Failure::Passing { reason: "the connection closed early".into(), pause: None })
            }
            _ => Ok(()),
        }
    }
}

/// Hashes a file that is here.
pub(crate) fn hash_file(
    path: &Path,
    place: &Place,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<ContentHash, HubError> {
    let total = path.metadata().at("read", path)?.len();
    let mut progress = |done| events(Event::Checking { file: &place.path, done, total });
    ContentHash::of_file(path, &mut progress).at("read", path)
}

/// What has come of a file, and the hash of that.
struct Partial {
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Partial {
    /// Opens what an earlier fetch left and hashes it, or begins. `progress` is told the bytes hashed and how many there are.
    fn open(path: &Path, size: Option<u64>, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, HubError> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).at("open", path)?;
        let mut partial = Partial { path: path.to_owned(), file, hasher: Hasher::default() };
        let length = partial.file.metadata().at("read", path)?.len();
        if length > size.unwrap_or(MAX_SIZE) {
            partial.clear()?;
        } else {
            partial.hasher.read(&mut partial.file, &mut |done| progress(done, length)).at("read", path)?;
        }
        Ok(partial)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).at("write", &self.path)?;
        self.hasher.update(bytes);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), HubError> {
        self.file.set_len(0).at("write", &self.path)?;
        self.file.rewind().at("write", &self.path)?;
        self.hasher = Hasher::default();
        Ok(())
    }

    fn keep_as(self, blob: &Path) -> Result<(), HubError> {
        self.file.sync_all().at("write", &self.path)?;
        drop(self.file);
        match fs::rename(&self.path, blob) {
            // Where nothing can be locked, another process has fetched the same file meanwhile and renamed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && blob.is_file() => Ok(()),
            renamed => renamed.at("rename", &self.path),
        }
    }

    fn discard(self) {
        drop(self.file);
        // What stays is hashed and refused again.
        let _ = fs::remove_file(&self.path);
    }
}

/// Counts failures in a row, and waits between them.
struct Stubbornness<'a> {
    place: &'a Place,
    endpoint: &'a str,
    patience: Patience,
    failures: u32,
}

impl<'a> Stubbornness<'a> {
    fn new(download: &Download<'a>) -> Self {
        let Download { place, endpoint, patience, .. } = *download;
        Stubbornness { place, endpoint, patience, failures: 0 }
    }

    /// Something came: what failed before does not count any more.
    fn calm(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// If the failure will not pass, or has not passed often enough.
    fn bear(&mut self, failure: Failure, events: &mut dyn FnMut(Event<'_>)) -> Result<(), HubError> {
        let (reason, asked) = match failure {
            Failure::Final(error) => return Err(*error),
            Failure::Passing { reason, pause } => (reason, pause),
            Failure::NoSuchPiece => ("the server sends pieces of another file".into(), None),
        };
        if let Some(pause) = asked.filter(|pause| *pause > self.patience.longest_pause) {
            return Err(HubError::TooManyRequests { endpoint: self.endpoint.to_owned(), pause });
        }
        self.failures += 1;
        if self.failures >= self.patience.attempts {
            return Err(HubError::Network { place: self.place.clone(), reason, attempts: self.failures });
        }
        let doubled = self.patience.first_pause * (1 << (self.failures - 1).min(16));
        let pause = asked.unwrap_or(doubled.min(Duration::from_secs(60)));
        events(Event::Retrying { file: &self.place.path, reason: &reason, pause });
        sleep(pause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_locks_the_first_of_two_gives_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, blob) = (folder.path().join("x.incomplete"), folder.path().join("x"));
        let open = || Partial::open(&path, Some(3), &mut |_, _| {}).unwrap();
        let (mut one, mut two) = (open(), open());
        one.append(b"abc").unwrap();
        two.append(b"abc").unwrap();
        one.keep_as(&blob).unwrap();
        two.keep_as(&blob).unwrap();
        assert_eq!(fs::read(&blob).unwrap(), b"abc");
    }
}
