//! Folders as people have them.

mod choice;
mod find;
mod identity;
mod scan;

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use vaekit_library::{Entry, Library, scan};

/// A temporary folder.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// With these files in it, each of which holds its own path.
    pub(crate) fn with(files: &[&str]) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        files.iter().for_each(|file| place.put(file, file.as_bytes()));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file an hour ago: what was written this moment is not taken into an index.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    pub(crate) fn library(&self, folder: &str) -> Library {
        scan(&[self.path(folder)]).unwrap()
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.library(".").entries
    }
}

pub(crate) fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}
