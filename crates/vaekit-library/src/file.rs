//! Files on disk: what tells that one has changed, and reading it by position.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use vaekit_checkpoint::{ReadAt, Source};

/// Most bytes of a `config.json` that is read; diffusers' have about 1,000.
const MAX_CONFIG: u64 = 1 << 20;

/// A file, and what changes when it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamped {
    /// Where it is.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    /// When it was last written, in nanoseconds since 1970; 0 where the system does not say.
    pub modified: u64,
}

impl Stamped {
    /// Looks at a file without opening it. Its path is made absolute.
    ///
    /// # Errors
    /// If it is not there.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let metadata = fs::metadata(&path)?;
        Ok(Self::of(path, &metadata))
    }

    pub(crate) fn of(path: PathBuf, metadata: &fs::Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
        let modified = since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Stamped { path, size: metadata.len(), modified }
    }
}

/// A checkpoint file, to be read piece by piece, with the text of the `config.json` beside it. It is not hashed.
///
/// # Errors
/// If it is no file or cannot be opened.
pub fn source(path: &Path) -> io::Result<Source> {
    let file = Positioned::open(path)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let config_json = match path.with_file_name("config.json") {
        config if config.is_file() => Some(read_config(&config)?),
        _ => None,
    };
    Ok(Source { name, data: Arc::new(file), config_json, sha256: None })
}

fn read_config(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_CONFIG {
        let reason = format!("{} has more than {MAX_CONFIG} bytes", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    fs::read_to_string(path)
}

/// A file that is read by position, from any thread: as lazy as a memory map, and a file that is truncated meanwhile is an
/// error rather than a signal.
struct Positioned {
    file: File,
    len: u64,
}

impl Positioned {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
        }
        Ok(Positioned { file, len: metadata.len() })
    }
}

impl ReadAt for Positioned {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        read_exact_at(&self.file, buffer, offset)
    }
}

/// Fills `buffer` with a file's bytes from `offset` on, whatever its cursor.
#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Fills `buffer` with a file's bytes from `offset` on; moves the cursor, which nobody uses.
#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}
