//! Trust on first use: the hashes of files that were fetched without a known one, so that a later change is seen.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{create_parent, hold, write_atomically};
use crate::error::{AtPath, HubError};
use crate::hash::ContentHash;
use crate::place::Place;

/// A JSON file: places to hashes.
#[derive(Clone, Debug)]
pub(crate) struct Trusted {
    path: PathBuf,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Hashes(BTreeMap<String, ContentHash>);

impl Trusted {
    pub(crate) fn new(path: &Path) -> Self {
        Trusted { path: path.to_owned() }
    }

    /// The hash that the first fetch got.
    pub(crate) fn hash(&self, place: &Place) -> Result<Option<ContentHash>, HubError> {
        Ok(self.read()?.0.remove(&place.to_string()))
    }

    /// Records a hash, in place of an earlier one.
    pub(crate) fn record(&self, place: &Place, hash: &ContentHash) -> Result<(), HubError> {
        create_parent(&self.path)?;
        let lock = self.path.with_extension("lock");
        let held = File::options().write(true).create(true).truncate(false).open(&lock).at("open", &lock)?;
        hold(&held, || {}).at("lock", &lock)?;
        let mut hashes = self.read()?;
        hashes.0.insert(place.to_string(), hash.clone());
        let text = serde_json::to_string_pretty(&hashes).expect("text and hashes are JSON");
        write_atomically(&self.path, format!("{text}\n").as_bytes())
    }

    fn read(&self) -> Result<Hashes, HubError> {
        match fs::read(&self.path) {
            // A broken file must not be mistaken for an empty one.
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from).at("read", &self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hashes::default()),
            Err(error) => Err(error).at("read", &self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_found_and_a_broken_file_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let trusted = Trusted::new(&folder.path().join("deep/hashes.json"));
        let place = Place {
            repository: "me/mine".parse().unwrap(),
            revision: "main".parse().unwrap(),
            path: "a.safetensors".parse().unwrap(),
        };
        let hash: ContentHash = "ab".repeat(32).parse().unwrap();
        assert_eq!(trusted.hash(&place).unwrap(), None);
        trusted.record(&place, &hash).unwrap();
        assert_eq!(trusted.hash(&place).unwrap(), Some(hash));
        fs::write(&trusted.path, "{").unwrap();
        assert!(trusted.hash(&place).unwrap_err().to_string().starts_with("cannot read"));
    }
}
