//! Files that appear whole or not at all, and what is swept away on Ctrl-C.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::platform;

/// Writes a file through a temporary sibling and a rename, making its folder if there is none.
///
/// # Errors
/// With the path, if the disk is full, the folder not writable ...
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let folder = parent(path);
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        platform::readable_by_all(builder.prefix(".vaekit-"));
        let (mut file, _sweep) = Sweep::over(|| builder.tempfile_in(folder), |file| file.path())?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// The folder a path lies in; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

static SWEPT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A temporary file or folder that is removed if the user presses Ctrl-C while this lives.
#[must_use]
pub struct Sweep(PathBuf);

impl Sweep {
    /// Makes something temporary that lies at `path`. An interruption waits until it is registered.
    ///
    /// # Errors
    /// That of `make`.
    pub fn over<T, E>(make: impl FnOnce() -> Result<T, E>, path: impl Fn(&T) -> &Path) -> Result<(T, Self), E> {
        let mut swept = SWEPT.lock().expect("no panic while locked");
        let made = make()?;
        let path = path(&made).to_owned();
        swept.push(path.clone());
        Ok((made, Sweep(path)))
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        SWEPT.lock().expect("no panic while locked").retain(|path| *path != self.0);
    }
}

/// On Ctrl-C or a signal to terminate, removes what is registered and exits with 130.
///
/// # Errors
/// If the handler cannot be installed.
pub fn sweep_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        // Held until the process ends, so that the threads that still run neither add nor finish anything.
        let swept = SWEPT.lock().expect("no panic while locked");
        swept.iter().for_each(|path| remove(path));
        eprintln!("\ninterrupted");
        std::process::exit(crate::failure::Kind::Interrupted as i32);
    })
    .context("cannot watch for Ctrl-C")
}

/// Removes a file or folder in which another thread may just be making something.
fn remove(path: &Path) {
    for _ in 0..100 {
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        if !path.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    // Nothing to be done about what cannot be removed: the name says that it is temporary.
}
