//! The hub's own cache on disk, shared with every program that uses Hugging Face's libraries:
//!
//! ```text
//! models--OWNER--NAME/blobs/ETAG               the contents
//! models--OWNER--NAME/blobs/ETAG.incomplete    what has come so far
//! models--OWNER--NAME/refs/main                the commit that a branch was at
//! models--OWNER--NAME/snapshots/COMMIT/PATH    a link to its blob, or the file itself where links are not to be had
//! .locks/models--OWNER--NAME/ETAG.lock         held while a blob is fetched
//! ```
//!
//! Source: huggingface_hub's guide "Understand caching" and its `file_download.py`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{AtPath, HubError};
use crate::hash::ContentHash;
use crate::place::{Commit, Etag, FilePath, Repository, Revision};

/// The folder of all repositories.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// A file that is held while one process fetches a blob.
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock up")] File);

impl Cache {
    pub(crate) fn new(root: &Path) -> Self {
        Cache { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn repository(&self, repository: &Repository) -> RepositoryFolder {
        RepositoryFolder { path: self.root.join(repository.folder()) }
    }

    /// Waits until no other process fetches this blob; `waiting` is called if there is one.
    pub(crate) fn lock(&self, repository: &Repository, etag: &Etag, waiting: impl FnOnce()) -> Result<Lock, HubError> {
        let path = self.root.join(".locks").join(repository.folder()).join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = File::options().write(true).create(true).truncate(false).open(&path).at("open", &path)?;
        hold(&file, waiting).at("lock", &path)?;
        Ok(Lock(file))
    }
}

/// Locks a file; `waiting` is called if another process has it. On a file system without locks nothing is locked and that is no
/// error: two that fetch at once then write the same bytes, and each checks all of them.
pub(crate) fn hold(file: &File, waiting: impl FnOnce()) -> io::Result<()> {
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            waiting();
            file.lock()
        }
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(()),
    }
}

/// The folder of one repository.
pub(crate) struct RepositoryFolder {
    path: PathBuf,
}

impl RepositoryFolder {
    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.path.join("blobs").join(etag.as_str())
    }

    pub(crate) fn partial(&self, etag: &Etag) -> PathBuf {
        self.path.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Where a snapshot's file is, or would be.
    pub(crate) fn pointer(&self, commit: &Commit, path: &FilePath) -> PathBuf {
        let snapshot = self.path.join("snapshots").join(commit.as_str());
        path.segments().fold(snapshot, |folder, segment| folder.join(segment))
    }

    /// The commit that a revision was at when it was last asked for.
    fn commit(&self, revision: &Revision) -> Option<Commit> {
        revision.commit().or_else(|| {
            let path = self.reference(revision);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        })
    }

    fn reference(&self, revision: &Revision) -> PathBuf {
        revision.as_str().split('/').fold(self.path.join("refs"), |folder, segment| folder.join(segment))
    }

    /// The file of a revision, if it is there.
    pub(crate) fn of_revision(&self, revision: &Revision, path: &FilePath) -> Option<PathBuf> {
        let pointer = self.pointer(&self.commit(revision)?, path);
        pointer.is_file().then_some(pointer)
    }

    /// The files of this path in all snapshots.
    pub(crate) fn of_any_revision(&self, path: &FilePath) -> Vec<PathBuf> {
        let Ok(snapshots) = fs::read_dir(self.path.join("snapshots")) else { return Vec::new() };
        let commits = snapshots.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut pointers: Vec<PathBuf> = commits.map(|commit| self.pointer(&commit, path)).collect();
        pointers.retain(|pointer| pointer.is_file());
        pointers.sort();
        pointers
    }

    /// Notes which commit a branch is at.
    pub(crate) fn refer(&self, revision: &Revision, commit: &Commit) -> Result<(), HubError> {
        if revision.commit().is_some() || self.commit(revision).as_ref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(revision);
        write_atomically(&path, commit.as_str().as_bytes())
    }

    /// Makes a snapshot's file out of a blob, and gives its path.
    pub(crate) fn point(&self, commit: &Commit, path: &FilePath, etag: &Etag) -> Result<PathBuf, HubError> {
        let pointer = self.pointer(commit, path);
        if pointer.is_file() {
            return Ok(pointer);
        }
        create_parent(&pointer)?;
        // A link to a blob that is gone.
        if pointer.is_symlink() {
            fs::remove_file(&pointer).at("remove", &pointer)?;
        }
        let up = path.segments().map(|_| "..").collect::<PathBuf>();
        let relative = up.join("..").join("blobs").join(etag.as_str());
        let blob = self.blob(etag);
        let linked = symlink(&relative, &pointer);
        linked.or_else(|_| self.place(&blob, &pointer)).at("make", &pointer)?;
        Ok(pointer)
    }

    /// What a link would do where there is none: Windows lets only developers and administrators make links, other file
    /// systems have none. As with Hugging Face's own programs the blob becomes the snapshot's file; one that other snapshots
    /// link to gets a second name, or is copied.
    fn place(&self, blob: &Path, pointer: &Path) -> io::Result<()> {
        if !self.is_pointed_to(&blob.canonicalize()?) {
            return fs::rename(blob, pointer);
        }
        fs::hard_link(blob, pointer).or_else(|_| {
            let folder = pointer.parent().unwrap_or(Path::new("."));
            let mut copy = temporary(folder)?;
            io::copy(&mut File::open(blob)?, &mut copy)?;
            copy.persist(pointer)?;
            Ok(())
        })
    }

    /// Takes away this path's files in all snapshots, the blobs that nothing else points to, and empty folders. Gives the
    /// bytes that were freed.
    pub(crate) fn remove(&self, path: &FilePath) -> Result<u64, HubError> {
        let mut freed = 0;
        for pointer in self.of_any_revision(path) {
            let blob = pointer.canonicalize().at("find", &pointer)?;
            let size = blob.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(&pointer).at("remove", &pointer)?;
            if blob == pointer || !blob.exists() {
                freed += size;
            } else if !self.is_pointed_to(&blob) {
                fs::remove_file(&blob).at("remove", &blob)?;
                freed += size;
            }
            self.sweep(&pointer);
        }
        Ok(freed)
    }

    fn is_pointed_to(&self, blob: &Path) -> bool {
        fn any(folder: &Path, blob: &Path) -> bool {
            let Ok(entries) = fs::read_dir(folder) else { return false };
            entries.flatten().any(|entry| match entry.file_type() {
                Ok(kind) if kind.is_dir() => any(&entry.path(), blob),
                _ => entry.path().canonicalize().is_ok_and(|target| target == blob),
            })
        }
        any(&self.path.join("snapshots"), blob)
    }

    /// Removes folders that a removed file left empty, up to the repository's; then the rest of a repository without
    /// snapshots, which is of no use to anybody.
    fn sweep(&self, removed: &Path) {
        let inside = removed.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.path));
        for folder in inside {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        if self.path.exists() && !self.path.join("snapshots").exists() {
            // What cannot be removed now is harmless.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// What a hub says a cached file's sha256 is: the name of its blob, if it is one of a large file.
pub(crate) fn stated_hash(pointer: &Path) -> Option<ContentHash> {
    pointer.canonicalize().ok()?.file_name()?.to_str()?.parse().ok()
}

/// A symbolic link to a file, as other programs make it.
#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &Path, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn create_parent(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at("make the folder", folder)
}

/// Writes a small file through a temporary sibling.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    create_parent(path)?;
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = temporary(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    };
    write().at("write", path)
}

/// A temporary file that becomes as readable as any new file; by default only its owner may read one.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".vaekit-").tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "629b3ad3030ce36e15e70c5db7d91df0d60c627f";
    const OTHER: &str = "207b116dae70ace3637169f1ddd2434b91b3a8cd";

    fn folder(root: &Path) -> RepositoryFolder {
        let repository = Cache::new(root).repository(&"me/mine".parse().unwrap());
        fs::create_dir_all(repository.path.join("blobs")).unwrap();
        repository
    }

    fn add(repository: &RepositoryFolder, commit: &str, path: &str, etag: &str) -> PathBuf {
        let etag = etag.parse().unwrap();
        fs::write(repository.blob(&etag), b"12345").unwrap();
        repository.point(&commit.parse().unwrap(), &path.parse().unwrap(), &etag).unwrap()
    }

    #[test]
    fn the_layout_is_the_hubs() {
        let root = tempfile::tempdir().unwrap();
        let repository = folder(root.path());
        let pointer = add(&repository, COMMIT, "vae/model.safetensors", "e7a6");
        let expected = root.path().join("models--me--mine/snapshots").join(COMMIT).join("vae/model.safetensors");
        assert_eq!(pointer, expected);
        assert_eq!(fs::read(&pointer).unwrap(), b"12345");
        #[cfg(unix)]
        assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../../blobs/e7a6"));

        let main = Revision::main();
        let path = "vae/model.safetensors".parse().unwrap();
        assert_eq!(repository.of_revision(&main, &path), None);
        repository.refer(&main, &COMMIT.parse().unwrap()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("models--me--mine/refs/main")).unwrap(), COMMIT);
        assert_eq!(repository.of_revision(&main, &path), Some(pointer.clone()));
        assert_eq!(repository.of_revision(&COMMIT.parse().unwrap(), &path), Some(pointer));
    }

    #[test]
    fn without_links_the_blob_becomes_the_file_unless_others_need_it() {
        let root = tempfile::tempdir().unwrap();
        let repository = folder(root.path());
        let etag = "aaaa".parse().unwrap();
        let pointer = |commit: &str| {
            let pointer = repository.pointer(&commit.parse().unwrap(), &"a.safetensors".parse().unwrap());
            create_parent(&pointer).unwrap();
            pointer
        };
        let blob = repository.blob(&etag);
        fs::write(&blob, b"12345").unwrap();
        repository.place(&blob, &pointer(COMMIT)).unwrap();
        assert!(!blob.exists() && !pointer(COMMIT).is_symlink());
        assert_eq!(fs::read(pointer(COMMIT)).unwrap(), b"12345");
        assert_eq!(repository.remove(&"a.safetensors".parse().unwrap()).unwrap(), 5);
        assert!(!repository.path.exists());

        #[cfg(unix)]
        {
            let repository = folder(root.path());
            add(&repository, COMMIT, "a.safetensors", "aaaa");
            repository.place(&blob, &pointer(OTHER)).unwrap();
            assert!(blob.exists() && pointer(COMMIT).is_file());
            assert_eq!(fs::read(pointer(OTHER)).unwrap(), b"12345");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn where_nothing_can_be_locked_the_work_goes_on() {
        use std::os::unix::fs::OpenOptionsExt;
        // open(2): a file that is only a name (O_PATH) cannot be locked, as one on a mount without locks.
        const O_PATH: i32 = 0o10_000_000;
        let folder = tempfile::tempdir().unwrap();
        let name = File::options().read(true).custom_flags(O_PATH).open(folder.path()).unwrap();
        assert!(matches!(name.try_lock(), Err(fs::TryLockError::Error(_))));
        hold(&name, || panic!("nobody has it")).unwrap();
    }

    #[test]
    fn what_another_has_locked_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("x.lock")).unwrap();
        let (theirs, ours) = (open(), open());
        theirs.lock().unwrap();
        let mut waited = false;
        hold(&ours, || {
            waited = true;
            theirs.unlock().unwrap();
        })
        .unwrap();
        assert!(waited);
    }

    #[test]
    fn a_blob_goes_with_its_last_name() {
        let root = tempfile::tempdir().unwrap();
        let repository = folder(root.path());
        add(&repository, COMMIT, "a.safetensors", "aaaa");
        add(&repository, OTHER, "a.safetensors", "aaaa");
        add(&repository, OTHER, "b.safetensors", "aaaa");
        add(&repository, OTHER, "c/d.json", "bbbb");
        assert_eq!(repository.remove(&"a.safetensors".parse().unwrap()).unwrap(), 0);
        assert_eq!(repository.remove(&"b.safetensors".parse().unwrap()).unwrap(), 5);
        assert!(
            !repository.path.join("blobs/aaaa").exists() && !repository.path.join("snapshots").join(COMMIT).exists()
        );
        assert_eq!(repository.remove(&"c/d.json".parse().unwrap()).unwrap(), 5);
        assert!(!repository.path.exists());
    }
}
