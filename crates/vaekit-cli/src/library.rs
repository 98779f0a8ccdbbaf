//! The folders of VAEs on this machine, and what is known of their contents.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use vaekit_checkpoint::WeightsHashes;
use vaekit_library::{Entry, FindError, Index, Kind as EntryKind, Library, Remembered, Stamped, find, scan};

use crate::args::LibraryArgs;
use crate::cache;
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// Folders of VAEs, as `PATH` has folders of programs.
pub const VARIABLE: &str = "VAEKIT_VAE_DIR";

/// The VAEs that a command can choose from.
pub struct Shelf {
    /// The folders that were listed.
    pub folders: Vec<PathBuf>,
    /// What is in them.
    pub entries: Vec<Entry>,
    /// The hashes that are known.
    pub index: Index,
}

impl Shelf {
    /// Lists the folders of `--vae-dir`, else those of [`VARIABLE`], else the usual ones. No file of theirs is opened.
    ///
    /// # Errors
    /// [`Kind::BadInput`] if a folder that was named cannot be listed.
    pub fn open(args: &LibraryArgs, ui: &Ui) -> Result<Self> {
        let folders = folders(args)?;
        let Library { entries, skipped } = scan(&folders).of_kind(Kind::BadInput)?;
        skipped.iter().for_each(|skipped| ui.note(format_args!("warning: cannot list {skipped}")));
        Ok(Shelf { folders, entries, index: index()? })
    }

    /// The entry of a name or hash. Files are hashed only if the name may be the hash of one that is not known yet, or comes
    /// with one.
    ///
    /// # Errors
    /// [`Kind::BadInput`], with names that are like it.
    pub fn find(&mut self, query: &str, ui: &Ui) -> Result<&Entry> {
        if self.entries.is_empty() {
            return Err(anyhow!("no VAE is installed: {}", self.where_to_look())).of_kind(Kind::BadInput);
        }
        if let Err(FindError::Unknown { is_hash: true, .. }) = self.search(query, ui).map(drop) {
            self.hash_files(ui);
        }
        find(&self.entries, query, &self.index).with_context(|| self.where_to_look()).of_kind(Kind::BadInput)
    }

    /// The entry of a name, or of a hash that is known. Of `NAME [HASH]` the files of that name are hashed.
    ///
    /// # Errors
    /// [`FindError`].
    pub fn search(&mut self, query: &str, ui: &Ui) -> Result<&Entry, FindError> {
        if let Err(FindError::Unread { files, .. }) = find(&self.entries, query, &self.index).map(drop) {
            self.hash(&files, ui);
        }
        find(&self.entries, query, &self.index)
    }

    /// Reads every checkpoint whose sha256 is not known; what cannot be read is said and passed over.
    pub fn hash_files(&mut self, ui: &Ui) {
        let files = self.entries.iter().filter(|entry| entry.kind != EntryKind::Model).flat_map(|entry| &entry.files);
        let unknown: Vec<_> = files.filter(|file| self.index.known_sha256(file).is_none()).cloned().collect();
        self.hash(&unknown, ui);
    }

    fn hash(&mut self, files: &[Stamped], ui: &Ui) {
        let bar = ui.bar("hashing files", files.iter().map(|file| file.size).sum());
        let mut saved = Instant::now();
        for file in files {
            if let Err(error) = self.index.sha256(file) {
                bar.suspend(|| ui.note(format_args!("warning: {error}")));
            }
            bar.inc(file.size);
            self.save_often(&mut saved, ui);
        }
        bar.finish_and_clear();
        self.save(ui);
    }

    /// Reads the weights of every VAE whose weights' hashes are not known; what is no VAE is said and passed over.
    pub fn hash_weights(&mut self, ui: &Ui) {
        let unknown: Vec<_> =
            self.entries.iter().filter(|entry| self.known_weights(entry).is_none()).cloned().collect();
        let bar = ui.bar("hashing weights", unknown.iter().map(Entry::size).sum());
        let mut saved = Instant::now();
        for entry in &unknown {
            if let Err(error) = self.index.weights(entry) {
                bar.suspend(|| ui.note(format_args!("warning: {}: {error}", entry.name)));
            }
            bar.inc(entry.size());
            self.save_often(&mut saved, ui);
        }
        bar.finish_and_clear();
        self.save(ui);
    }

    /// Ctrl-C in a long reading loses some seconds of it.
    fn save_often(&mut self, saved: &mut Instant, ui: &Ui) {
        if saved.elapsed() > Duration::from_secs(5) {
            self.save(ui);
            *saved = Instant::now();
        }
    }

    /// The hashes of an entry's weights, as far as that takes no reading of weights: from the index, or a manifest.
    pub fn known_weights(&self, entry: &Entry) -> Option<WeightsHashes> {
        match (self.index.known_weights(&entry.files), entry.kind) {
            (Some(known), _) => Some(known.clone()),
            (None, EntryKind::Model) => vaekit_library::weights(entry).ok(),
            (None, _) => None,
        }
    }

    /// Keeps what was learned.
    pub fn save(&mut self, ui: &Ui) {
        if let Err(error) = self.index.save() {
            ui.detail(format_args!("cannot keep hashes in {}: {error}", self.index.path().display()));
        }
    }

    /// For messages: what was listed, or how to name a folder.
    pub fn where_to_look(&self) -> String {
        if self.folders.is_empty() {
            let own = own_folder().map(|own| format!(", or put it into {}", own.display())).unwrap_or_default();
            return format!("no folder of VAEs is known; name one with --vae-dir or {VARIABLE}{own}");
        }
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("in {}", folders.join(", "))
    }
}

/// The hashes that are known on this machine.
///
/// # Errors
/// If the system has no folder for caches.
pub fn index() -> Result<Index> {
    Ok(Index::open(cache::home()?.join("hashes.json")))
}

fn folders(args: &LibraryArgs) -> Result<Vec<PathBuf>> {
    if !args.folders.is_empty() {
        return Ok(args.folders.clone());
    }
    if let Some(variable) = std::env::var_os(VARIABLE).filter(|variable| !variable.is_empty()) {
        return Ok(std::env::split_paths(&variable).filter(|folder| !folder.as_os_str().is_empty()).collect());
    }
    let working = std::env::current_dir().context("this program's working folder is gone")?;
    Ok(Library::default_folders(&working, &own_folder().unwrap_or_default()))
}

/// vaekit's own folder of VAEs.
pub fn own_folder() -> Option<PathBuf> {
    Some(vaekit_ort::home()?.join("VAE"))
}

/// The file of the remembered default.
///
/// # Errors
/// If the system has no place for a user's data.
pub fn remembered_file() -> Result<PathBuf> {
    let home = vaekit_ort::home();
    Ok(home.context("this system has no folder for a user's data; set VAEKIT_HOME to one")?.join("default-vae.json"))
}

/// The remembered default, if there is one.
///
/// # Errors
/// [`Kind::BadInput`] if it cannot be read.
pub fn remembered() -> Result<Option<Remembered>> {
    let Ok(file) = remembered_file() else { return Ok(None) };
    Remembered::load(&file).of_kind(Kind::BadInput)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            // What was written this moment is not taken into an index.
            let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
            File::options().write(true).open(&path).unwrap().set_modified(an_hour_ago).unwrap();
            Entry::of_files(name, &[path]).unwrap()
        };
        let entries = vec![entry("a.pt"), entry("b.pt")];
        fs::remove_file(folder.path().join("a.pt")).unwrap();
        let index = Index::open(folder.path().join("hashes.json"));
        let mut shelf = Shelf { folders: Vec::new(), entries, index };
        shelf.hash_files(&Ui::quiet());
        let known = |index: usize| shelf.index.known_sha256(&shelf.entries[index].files[0]).map(str::to_owned);
        assert_eq!(known(0), None);
        let hash = known(1).unwrap();
        assert_eq!(shelf.find(&hash[..10], &Ui::quiet()).unwrap().name, "b.pt");
    }
}
