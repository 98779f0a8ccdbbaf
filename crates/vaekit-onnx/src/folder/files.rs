//! Where files lie.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

/// A file that is open.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Files by path: on disk, or what a browser was handed.
pub trait Files {
    /// Opens a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, or whatever keeps it from being read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek + '_>>;

    /// Whether a path is a folder.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is neither a file nor a folder.
    fn is_folder(&self, path: &Path) -> io::Result<bool>;
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub struct Disk;

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadSeek + '_>> {
        Ok(Box::new(File::open(path)?))
    }

    fn is_folder(&self, path: &Path) -> io::Result<bool> {
        Ok(path.metadata()?.is_dir())
    }
}

/// Whether there is such a file.
pub(super) fn exists(files: &dyn Files, path: &Path) -> bool {
    files.is_folder(path).is_ok_and(|is_folder| !is_folder)
}
