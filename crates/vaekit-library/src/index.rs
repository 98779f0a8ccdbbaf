//! Hashes that were computed before, kept in a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use vaekit_checkpoint::WeightsHashes;

use crate::entry::Entry;
use crate::file::{Stamped, source};
use crate::identity::{IdentityError, weights};

const FORMAT_VERSION: u32 = 1;
/// An index of 100,000 files has about 40 MB.
const MAX_BYTES: u64 = 256 << 20;
/// A file that was written so short a time ago may be written again without its time changing (FAT counts in 2 seconds).
const SETTLED: Duration = Duration::from_secs(2);

/// Hashes by path, each valid as long as the file's size and time of writing stay.
///
/// It is a cache: one that is missing, damaged or of another version is empty, and nothing is lost but time.
#[derive(Debug, Default)]
pub struct Index {
    path: PathBuf,
    known: Contents,
    /// What is known beyond the file's contents.
    new: Contents,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Contents {
    format_version: u32,
    /// sha256 of files.
    files: BTreeMap<String, FileRecord>,
    /// Hashes of weights, by the first file of a VAE.
    vaes: BTreeMap<String, VaeRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct FileRecord {
    stamp: Stamp,
    sha256: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct VaeRecord {
    /// Of each file.
    stamps: Vec<Stamp>,
    weights: WeightsHashes,
}

/// Size in bytes, and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp(u64, u64);

impl Stamp {
    fn of(file: &Stamped) -> Self {
        Stamp(file.size, file.modified)
    }

    /// Whether a later change would show.
    fn is_settled(self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.1 > 0 && now.saturating_sub(Duration::from_nanos(self.1)) > SETTLED
    }
}

impl Index {
    /// Reads the index at a path, if there is one.
    pub fn open(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let known = read(&path).unwrap_or_default();
        Index { path, known, new: Contents::default() }
    }

    /// Where it is kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many files' hashes are known, whether the files are still there or not.
    pub fn n_files(&self) -> usize {
        self.known.files.len() + self.new.files.keys().filter(|key| !self.known.files.contains_key(*key)).count()
    }

    /// A file's sha256 in lower-case hexadecimal, if it is known. The file is not looked at again: `file` says what it is now.
    pub fn known_sha256(&self, file: &Stamped) -> Option<&str> {
        let key = file.path.to_str()?;
        let record = self.new.files.get(key).or_else(|| self.known.files.get(key))?;
        (record.stamp == Stamp::of(file)).then_some(record.sha256.as_str())
    }

    /// The hashes of a VAE's weights, if they are known.
    pub fn known_weights(&self, files: &[Stamped]) -> Option<&WeightsHashes> {
        let key = files.first()?.path.to_str()?;
        let record = self.new.vaes.get(key).or_else(|| self.known.vaes.get(key))?;
        record.stamps.iter().copied().eq(files.iter().map(Stamp::of)).then_some(&record.weights)
    }

    /// A file's sha256: known, or computed by reading all of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn sha256(&mut self, file: &Stamped) -> Result<String, IdentityError> {
        if let Some(known) = self.known_sha256(file) {
            return Ok(known.to_owned());
        }
        let error = IdentityError::io(&file.path);
        let sha256 = vaekit_checkpoint::sha256(&source(&file.path).map_err(&error)?.data).map_err(&error)?;
        let stamp = Stamp::of(file);
        if let Some(key) = file.path.to_str().filter(|_| stamp.is_settled()) {
            self.new.files.insert(key.to_owned(), FileRecord { stamp, sha256: sha256.clone() });
        }
        Ok(sha256)
    }

    /// The hashes of an entry's weights: known, or computed.
    ///
    /// # Errors
    /// [`IdentityError`] if it is no VAE.
    pub fn weights(&mut self, entry: &Entry) -> Result<WeightsHashes, IdentityError> {
        if let Some(known) = self.known_weights(&entry.files) {
            return Ok(known.clone());
        }
        let weights = weights(entry)?;
        self.learn_weights(&entry.files, &weights);
        Ok(weights)
    }

    /// Takes in hashes that the caller computed of a VAE in these files.
    pub fn learn_weights(&mut self, files: &[Stamped], weights: &WeightsHashes) {
        let stamps: Vec<Stamp> = files.iter().map(Stamp::of).collect();
        let key = files.first().and_then(|file| file.path.to_str());
        if let Some(key) = key.filter(|_| stamps.iter().all(|stamp| stamp.is_settled())) {
            self.new.vaes.insert(key.to_owned(), VaeRecord { stamps, weights: weights.clone() });
        }
    }

    /// Adds what was learned to the file. What other processes have added meanwhile stays.
    ///
    /// # Errors
    /// The file system's. Nothing is lost by that but time.
    pub fn save(&mut self) -> io::Result<()> {
        if self.new.files.is_empty() && self.new.vaes.is_empty() {
            return Ok(());
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let lock = File::create(self.path.with_added_extension("lock"))?;
        // A file system without locks may lose what two processes learn in the same moment.
        let _ = lock.lock();
        let mut contents = read(&self.path).unwrap_or_default();
        contents.format_version = FORMAT_VERSION;
        contents.files.append(&mut self.new.files);
        contents.vaes.append(&mut self.new.vaes);
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&contents)?)?;
        file.persist(&self.path)?;
        self.known = contents;
        Ok(())
    }
}

fn read(path: &Path) -> Option<Contents> {
    let mut json = Vec::new();
    let length = File::open(path).ok()?.take(MAX_BYTES + 1).read_to_end(&mut json).ok()?;
    let contents: Contents = serde_json::from_slice(&json).ok().filter(|_| length as u64 <= MAX_BYTES)?;
    (contents.format_version == FORMAT_VERSION && contents.is_sound()).then_some(contents)
}

impl Contents {
    /// Whether every hash is one: they are cut and compared later.
    fn is_sound(&self) -> bool {
        let is_sha256 = |hash: &str| hash.len() == 64 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        self.files.values().all(|record| is_sha256(&record.sha256))
            && self.vaes.values().all(|record| {
                let WeightsHashes { f32, f16, bf16 } = &record.weights;
                [Some(f32), f16.as_ref(), bf16.as_ref()].into_iter().flatten().all(|hash| is_sha256(hash))
            })
    }
}
