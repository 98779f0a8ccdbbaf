//! Finds ONNX Runtime's library, checks its version, loads it once.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use etcetera::BaseStrategy;
use ort::environment::Environment;
use ort::logging::LogLevel;
use serde::Serialize;

use crate::{native, reason};

/// The names that the library goes by, the usual one first.
pub(crate) const NAMES: &[&str] = if cfg!(windows) {
    &["onnxruntime.dll"]
} else if cfg!(target_vendor = "apple") {
    &["libonnxruntime.dylib", "libonnxruntime.1.dylib"]
} else {
    &["libonnxruntime.so", "libonnxruntime.so.1"]
};

/// The folder of all that vaekit keeps on a machine: `VAEKIT_HOME`, else `vaekit` in the user's local data folder
/// (`~/.local/share`, `~/Library/Application Support`, `%LOCALAPPDATA%`). `None` for a user without a home.
pub fn home() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("VAEKIT_HOME").filter(|home| !home.is_empty()) {
        return Some(home.into());
    }
    let user = etcetera::base_strategy::choose_native_strategy().ok()?;
    // Windows' data folder roams with the user's account; hundreds of megabytes for one machine do not belong there.
    Some(if cfg!(windows) { user.cache_dir() } else { user.data_dir() }.join("vaekit"))
}

/// Where a library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// `ORT_DYLIB_PATH` names it.
    Variable,
    /// `vaekit runtime install` put it there.
    Installed,
    /// It lies beside the program.
    BesideProgram,
    /// The system found it by its name.
    System,
}

impl Origin {
    fn advice(self) -> &'static str {
        match self {
            Origin::Variable => "correct or unset ORT_DYLIB_PATH",
            Origin::Installed => "run `vaekit runtime install` again",
            Origin::BesideProgram => "replace or remove it",
            Origin::System => "run `vaekit runtime install`, or set ORT_DYLIB_PATH to another",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Variable => "from ORT_DYLIB_PATH",
            Origin::Installed => "installed by vaekit",
            Origin::BesideProgram => "beside the program",
            Origin::System => "found by the system",
        })
    }
}

/// A library that cannot be used, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// There is none.
    #[error(
        "no ONNX Runtime here: ORT_DYLIB_PATH is not set, nothing lies in {} or beside the program, and the system has none ({reason}); run `vaekit runtime install`, or set ORT_DYLIB_PATH to the library",
        .installed.as_deref().unwrap_or(Path::new("VAEKIT_HOME, which is not set")).display()
    )]
    NotFound {
        /// Where `vaekit runtime install` would put it.
        installed: Option<PathBuf>,
        /// What the system says about the name.
        reason: String,
    },
    /// The system cannot load the file: it is no library, is one for other processors, or needs what is not here.
    #[error("{} ({origin}) cannot be loaded: {reason}; {}", path.display(), origin.advice())]
    Unloadable {
        /// The file.
        path: PathBuf,
        /// Where it was found.
        origin: Origin,
        /// What the system's loader says.
        reason: String,
    },
    /// A library, but not this one.
    #[error("{} ({origin}) is not ONNX Runtime: it has no OrtGetApiBase; {}", path.display(), origin.advice())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Where it was found.
        origin: Origin,
    },
    /// ONNX Runtime from before the interface that is used here.
    #[error("found ONNX Runtime {found} at {} ({origin}), need 1.{} or newer; {}", path.display(), ort::MINOR_VERSION, origin.advice())]
    TooOld {
        /// Its version.
        found: String,
        /// The file.
        path: PathBuf,
        /// Where it was found.
        origin: Origin,
    },
    /// The right library, which failed nevertheless.
    #[error("ONNX Runtime {version} at {} did not start: {reason}", path.display())]
    Start {
        /// Its version.
        version: String,
        /// The file.
        path: PathBuf,
        /// What it says.
        reason: String,
    },
}

/// The places a library is looked for, in this order.
#[derive(Debug)]
pub(crate) struct Places {
    /// `ORT_DYLIB_PATH`. Where it is set nothing else is tried.
    pub(crate) variable: Option<OsString>,
    /// The folder of `vaekit runtime install`.
    pub(crate) installed: Option<PathBuf>,
    /// The program's folder.
    pub(crate) program: Option<PathBuf>,
    /// Names to ask the system for.
    pub(crate) system: &'static [&'static str],
}

impl Places {
    fn of_this_process() -> Self {
        Places {
            variable: std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()),
            installed: home().map(|home| home.join("runtime")),
            program: std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_owned)),
            system: NAMES,
        }
    }

    /// The first library there is. One that is there but cannot be used is an error, not a reason to go on.
    pub(crate) fn find(&self) -> Result<Found, LoadError> {
        if let Some(path) = &self.variable {
            let path = Path::new(path);
            // Relative to the working folder if it exists there, else a name for the system.
            let here = std::path::absolute(path).ok().filter(|path| path.exists());
            return Found::open(here.unwrap_or_else(|| path.to_owned()), Origin::Variable);
        }
        let folders = [(&self.installed, Origin::Installed), (&self.program, Origin::BesideProgram)];
        for (folder, origin) in folders.into_iter().filter_map(|(folder, origin)| Some((folder.as_ref()?, origin))) {
            if let Some(path) = NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
                return Found::open(path, origin);
            }
        }
        let mut reason = String::from("no name to ask for");
        for name in self.system {
            match Found::open(name.into(), Origin::System) {
                Err(LoadError::Unloadable { reason: loader, .. }) => reason = loader,
                found => return found,
            }
        }
        Err(LoadError::NotFound { installed: self.installed.clone(), reason })
    }
}

/// A library that is open and new enough.
#[derive(Debug)]
pub(crate) struct Found {
    path: PathBuf,
    origin: Origin,
    pub(crate) version: String,
    /// Keeps it open, so that `ort` gets the very same.
    handle: libloading::Library,
}

impl Found {
    pub(crate) fn open(path: PathBuf, origin: Origin) -> Result<Self, LoadError> {
        let unloadable = |reason| LoadError::Unloadable { path: path.clone(), origin, reason };
        if let Some(reason) = cut_off(&path) {
            return Err(unloadable(reason));
        }
        let handle = native::open(&path).map_err(|error| unloadable(loader_reason(&error, &path)))?;
        let Some(version) = native::version(&handle) else { return Err(LoadError::Foreign { path, origin }) };
        if !is_new_enough(&version) {
            return Err(LoadError::TooOld { found: version, path, origin });
        }
        Ok(Found { path, origin, version, handle })
    }
}

/// Says so if the file is a 64-bit ELF library that ends too early: Linux's loader would crash on it. Its table of sections,
/// which is written last, must lie within the file.
fn cut_off(path: &Path) -> Option<String> {
    let (mut file, mut header) = (File::open(path).ok()?, [0; 64]);
    file.read_exact(&mut header).ok()?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number =
        |at: usize, bytes: usize| header[at..at + bytes].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let (table, entry, n) = (number(0x28, 8), number(0x3a, 2), number(0x3c, 2));
    let (needed, found) = (table.saturating_add(entry * n), file.metadata().ok()?.len());
    (found < needed).then(|| format!("it is cut off: it has {found} bytes, expected {needed}"))
}

/// What the loader says, without the path that is named anyway.
fn loader_reason(error: &libloading::Error, path: &Path) -> String {
    let text = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    let path = path.display().to_string();
    text.strip_prefix(&path).map_or(text.as_str(), |rest| rest.trim_start_matches(": ")).trim().to_string()
}

/// Whether a library of this version (`1.24.1`) has the interface that is used here.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(1)), Some(Ok(minor))) if minor >= ort::MINOR_VERSION)
}

/// The library that is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// The file, or the name by which the system found it.
    pub path: PathBuf,
    /// Where it was found.
    pub origin: Origin,
    /// Its version, such as `1.30.0`.
    pub version: String,
    /// What it says about how it was built.
    pub build: String,
}

impl Library {
    /// Whether a library, named without what systems put before and after, lies beside this one. The system's own libraries
    /// are wherever it says, so there the answer is yes.
    pub(crate) fn has_beside(&self, name: &str) -> bool {
        use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
        self.origin == Origin::System || self.path.with_file_name(format!("{DLL_PREFIX}{name}{DLL_SUFFIX}")).exists()
    }
}

/// ONNX Runtime, loaded. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Runtime(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    library: Library,
    environment: Environment,
}

/// A process has one ONNX Runtime, which stays loaded to its end: unloading it is not something it is made for.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads ONNX Runtime, or gives the one that is loaded. After an error, such as none being installed, it can be called
    /// again.
    ///
    /// Looked for, in this order: the file that `ORT_DYLIB_PATH` names, the folder of `vaekit runtime install`, the
    /// program's folder, the system's libraries.
    ///
    /// # Errors
    /// [`LoadError`] if there is none, or the first one found cannot be used.
    pub fn load() -> Result<Runtime, LoadError> {
        let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.clone());
        }
        let loaded = Runtime::start(Places::of_this_process().find()?)?;
        Ok(runtime.insert(loaded).clone())
    }

    /// What was loaded, and from where.
    pub fn library(&self) -> &Library {
        &self.0.library
    }

    /// `ort`'s environment, for programs that open sessions of their own beside vaekit's.
    pub fn environment(&self) -> &Environment {
        &self.0.environment
    }

    fn start(found: Found) -> Result<Runtime, LoadError> {
        let Found { path, origin, version, handle } = found;
        let failed = |reason: String| LoadError::Start { version: version.clone(), path: path.clone(), reason };
        let environment = ort::init_from(&path)
            .map_err(|error| failed(error.to_string()))?
            .with_name("vaekit")
            .with_telemetry(false)
            .with_logger(reason::logger())
            .build()
            .map_err(|error| failed(reason::of(&error)))?;
        environment.set_log_level(LogLevel::Warning);
        // `ort` keeps its own handle open for good.
        drop(handle);
        let library = Library { path, origin, version, build: ort::info().trim().to_string() };
        Ok(Runtime(Arc::new(Loaded { library, environment })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nowhere() -> Places {
        Places { variable: None, installed: None, program: None, system: &[] }
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (version, expected) in [
            ("1.24.0", true),
            ("1.100.3", true),
            ("1.30.0-rc.1", true),
            ("1.23.2", false),
            ("1.9.0", false),
            ("0.24.0", false),
            ("2.0.0", false),
            ("", false),
            ("one.two", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn an_old_version_says_what_to_do() {
        let error =
            LoadError::TooOld { found: "1.15.0".into(), path: "/opt/libonnxruntime.so".into(), origin: Origin::System };
        assert_eq!(
            error.to_string(),
            "found ONNX Runtime 1.15.0 at /opt/libonnxruntime.so (found by the system), need 1.24 or newer; run `vaekit runtime install`, or set ORT_DYLIB_PATH to another"
        );
    }

    #[test]
    fn no_library_says_where_was_looked() {
        let message =
            Places { installed: Some("/home/me/vaekit/runtime".into()), ..nowhere() }.find().unwrap_err().to_string();
        assert!(message.starts_with("no ONNX Runtime here: ORT_DYLIB_PATH is not set"), "{message}");
        assert!(message.contains("/home/me/vaekit/runtime"), "{message}");
        assert!(message.ends_with("run `vaekit runtime install`, or set ORT_DYLIB_PATH to the library"), "{message}");
    }

    #[test]
    fn what_the_user_names_is_never_replaced() {
        let places = Places { variable: Some("/nowhere/libonnxruntime.so".into()), ..Places::of_this_process() };
        let error = places.find().unwrap_err();
        assert!(matches!(&error, LoadError::Unloadable { origin: Origin::Variable, .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.starts_with("/nowhere/libonnxruntime.so (from ORT_DYLIB_PATH) cannot be loaded: "),
            "{message}"
        );
        assert!(message.ends_with("correct or unset ORT_DYLIB_PATH"), "{message}");
    }

    #[test]
    fn a_broken_file_is_an_error_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAMES[0]);
        let installed = Places { installed: Some(folder.path().to_owned()), ..Places::of_this_process() };
        let installed = Places { variable: None, ..installed };
        for bytes in [&b""[..], b"not a library", &[0x7f, b'E', b'L', b'F', 1, 1, 1]] {
            std::fs::write(&path, bytes).unwrap();
            let error = installed.find().unwrap_err();
            assert!(matches!(&error, LoadError::Unloadable { origin: Origin::Installed, .. }), "{error}");
            assert!(error.to_string().ends_with("run `vaekit runtime install` again"), "{error}");
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    fn half_a_library_is_not_loaded() {
        let (program, folder) = (std::env::current_exe().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(cut_off(&program), None);
        let (whole, path) = (std::fs::read(program).unwrap(), folder.path().join(NAMES[0]));
        for n in [64, 4096, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..n]).unwrap();
            let error =
                Places { installed: Some(folder.path().to_owned()), ..nowhere() }.find().unwrap_err().to_string();
            assert!(error.contains(&format!("it is cut off: it has {n} bytes, expected ")), "{error}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn another_library_is_not_taken_for_onnx_runtime() {
        let error = Places { variable: Some("libc.so.6".into()), ..nowhere() }.find().unwrap_err();
        assert_eq!(
            error.to_string(),
            "libc.so.6 (from ORT_DYLIB_PATH) is not ONNX Runtime: it has no OrtGetApiBase; correct or unset ORT_DYLIB_PATH"
        );
    }
}
