//! Fetches ONNX Runtime through the user's own package clients, and unpacks the libraries that are needed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::{DeflateDecoder, GzDecoder};
use rawzip::{CompressionMethod, ZipArchive};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::library::{Found, LoadError, NAMES, Origin};
use crate::packages::{self, Archive, Client, Package};
use crate::provider::Provider;

/// The folder of the libraries, in vaekit's [`home`](crate::home). There is one: a process loads one ONNX Runtime, and each
/// has the CPU beside its other providers.
const FOLDER: &str = "runtime";
/// What is in the folder.
const MANIFEST: &str = "runtime.json";

/// An ONNX Runtime that vaekit installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// What it was installed for.
    pub provider: Provider,
    /// The package it is from.
    pub package: String,
    /// The package's version, which is ONNX Runtime's.
    pub version: String,
    /// The client that fetched it.
    pub client: Client,
    /// Bytes of the files.
    pub bytes: u64,
    /// The library.
    #[serde(skip)]
    pub library: PathBuf,
}

/// An ONNX Runtime that can be installed on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// What it is for.
    pub provider: Provider,
    /// The package it is in.
    pub package: &'static str,
    /// The package's version, which is ONNX Runtime's.
    pub version: &'static str,
    /// The client that fetches it.
    pub client: Client,
    /// Whether that client is here.
    pub client_is_here: bool,
    /// Bytes to fetch.
    pub bytes: u64,
}

/// What an installation is doing. Prints as a line for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client fetches a package. The clients do not tell how far they are.
    Fetching {
        /// Who fetches.
        client: Client,
        /// What is fetched.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// Its bytes.
        bytes: u64,
    },
    /// The hash of what was fetched is compared.
    Checking(&'static str),
    /// A library is unpacked.
    Unpacking(&'static str),
    /// The library is loaded, to see whether this machine can.
    Trying,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Fetching { client, package, version, bytes } => {
                write!(f, "fetching {package} {version} with {client} ({} MB)", bytes.div_ceil(1_000_000))
            }
            Step::Checking(file) => write!(f, "checking {file}"),
            Step::Unpacking(member) => write!(f, "unpacking {member}"),
            Step::Trying => f.write_str("loading it"),
        }
    }
}

/// An installation that failed. What was installed before is still there.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No package brings the provider here.
    #[error("{provider} cannot be installed: {}", packages::advice(*provider))]
    NoPackage {
        /// The provider.
        provider: Provider,
    },
    /// The user has no client that could fetch it.
    #[error(
        "{} fetches {package} {version}, and is not here: install {}, or get ONNX Runtime {version} by other means and set ORT_DYLIB_PATH to its library",
        list(clients, " or "), list(&clients.iter().map(bringer).collect::<Vec<_>>(), " or ")
    )]
    NoClient {
        /// Those that could.
        clients: Vec<Client>,
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
    },
    /// The client failed.
    #[error("`{command}` failed: {reason}")]
    Client {
        /// What was run.
        command: String,
        /// The last it said.
        reason: String,
    },
    /// What came is not what vaekit was tested with.
    #[error(
        "{file} has sha256 {found}, expected {expected}: it is not the file vaekit was tested with; nothing was installed"
    )]
    Hash {
        /// The file.
        file: &'static str,
        /// Its hash.
        found: String,
        /// The pinned hash.
        expected: &'static str,
    },
    /// A file is not in the package.
    #[error("{file} holds no {member}; nothing was installed")]
    Missing {
        /// The package's file.
        file: &'static str,
        /// What it should hold.
        member: String,
    },
    /// This machine cannot load the library.
    #[error("{package} {version} does not run on this machine: {reason}; nothing was installed")]
    Unusable {
        /// The package.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// What the system's loader says.
        reason: String,
    },
    /// The disk failed, or is full.
    #[error("could not {what} {}: {reason}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

fn list<T: ToString>(items: &[T], between: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}

/// What to install to have a client.
fn bringer(client: &Client) -> &'static str {
    match client {
        Client::Pip => "Python",
        Client::Npm => "Node.js",
    }
}

/// Makes an error of the system's into one that names the file.
fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    move |reason| InstallError::Io { what, path: path.to_owned(), reason }
}

/// What is installed in a [`home`](crate::home).
pub fn installed(home: &Path) -> Option<Installed> {
    let folder = home.join(FOLDER);
    let manifest = fs::read(folder.join(MANIFEST)).ok()?;
    let installed: Installed = serde_json::from_slice(&manifest).ok()?;
    let library = folder.join(NAMES[0]);
    library.exists().then_some(Installed { library, ..installed })
}

/// What can be installed on this machine, each provider in each way there is.
pub fn offers() -> Vec<Offer> {
    let here = [Client::Pip, Client::Npm].into_iter().filter(|client| client.find().is_some()).collect::<Vec<_>>();
    let offer = |(provider, package): (Provider, &'static Package)| Offer {
        provider,
        package: package.name(),
        version: package.version(),
        client: package.client,
        client_is_here: here.contains(&package.client),
        bytes: package.bytes(),
    };
    let all = Provider::ALL.into_iter();
    all.flat_map(|provider| {
        packages::packages(provider, packages::this_system()).map(move |package| (provider, package))
    })
    .map(offer)
    .collect()
}

/// Installs an ONNX Runtime that has the provider into a [`home`](crate::home), in place of the one that is there.
///
/// Fetched is one pinned version with the user's `pip` or `npm`, whichever is there, the smaller file first. Its sha256 is
/// compared, the libraries are unpacked beside the installed ones, loaded once, and only then take their place. All that
/// happens in `work`, an empty folder in `home`, which is the caller's to remove afterwards.
///
/// # Errors
/// [`InstallError`], which says what to do; nothing is changed then.
pub fn install(
    provider: Provider,
    home: &Path,
    work: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Installed, InstallError> {
    let routes: Vec<_> = packages::packages(provider, packages::this_system()).collect();
    let first = routes.first().ok_or(InstallError::NoPackage { provider })?;
    let route = routes.iter().find_map(|package| Some((*package, package.client.find()?)));
    let (package, client) = route.ok_or_else(|| InstallError::NoClient {
        clients: routes.iter().map(|package| package.client).collect(),
        package: first.name(),
        version: first.version(),
    })?;

    for archive in package.archives {
        let Archive { name: package, version, bytes, .. } = *archive;
        progress(Step::Fetching { client: client.client, package, version, bytes });
        client.fetch(archive, work)?;
    }
    assemble(provider, package, home, work, progress)
}

/// Makes an installation of the archives that lie in `work`, a folder in `home`.
fn assemble(
    provider: Provider,
    package: &'static Package,
    home: &Path,
    work: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<Installed, InstallError> {
    let new = work.join("new");
    fs::create_dir(&new).map_err(io_error("create", &new))?;
    let mut bytes = 0;
    for archive in package.archives {
        let file = work.join(archive.file);
        progress(Step::Checking(archive.file));
        check(archive, &file)?;
        bytes += unpack(package, archive, &file, &new, progress)?;
    }

    progress(Step::Trying);
    let library = new.join(NAMES[0]);
    // On Windows an open file cannot be moved: the library is closed again at the end of this statement.
    Found::open(library, Origin::Installed).map(drop).map_err(|error| InstallError::Unusable {
        package: package.name(),
        version: package.version(),
        reason: match error {
            LoadError::Unloadable { reason, .. } => reason,
            other => other.to_string(),
        },
    })?;

    let installed = Installed {
        provider,
        package: package.name().into(),
        version: package.version().into(),
        client: package.client,
        bytes,
        library: home.join(FOLDER).join(NAMES[0]),
    };
    let manifest = new.join(MANIFEST);
    let text = serde_json::to_vec_pretty(&installed).unwrap_or_default();
    fs::write(&manifest, text).map_err(io_error("write", &manifest))?;
    replace(&home.join(FOLDER), &new, &work.join("old"))?;
    Ok(installed)
}

/// Puts the new folder in the place of the current one, which goes to `old`.
fn replace(current: &Path, new: &Path, old: &Path) -> Result<(), InstallError> {
    let had_one = current.exists();
    if had_one {
        fs::rename(current, old).map_err(io_error("replace (is it in use?)", current))?;
    }
    fs::rename(new, current).map_err(|reason| {
        if had_one {
            // Nothing better can be done if this fails as well.
            let _ = fs::rename(old, current);
        }
        io_error("write", current)(reason)
    })
}

fn check(archive: &Archive, path: &Path) -> Result<(), InstallError> {
    let read = || -> io::Result<_> {
        let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hash.finalize()),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    let digest = read().map_err(io_error("read", path))?;
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found != archive.sha256 {
        return Err(InstallError::Hash { file: archive.file, found, expected: archive.sha256 });
    }
    Ok(())
}

/// Unpacks an archive's members into a folder, and gives their bytes.
fn unpack(
    package: &Package,
    archive: &Archive,
    path: &Path,
    folder: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<u64, InstallError> {
    let mut missing = archive.members.to_vec();
    let mut bytes = 0;
    let mut take = |name: &[u8], data: &mut dyn Read| -> io::Result<()> {
        let member = name.strip_prefix(archive.folder.as_bytes());
        let Some(at) = missing.iter().position(|wanted| Some(wanted.as_bytes()) == member) else { return Ok(()) };
        let member = missing.swap_remove(at);
        progress(Step::Unpacking(member));
        let mut file = File::create_new(folder.join(package.installed_name(member)))?;
        bytes += io::copy(data, &mut file)?;
        file.flush()
    };
    match package.client {
        Client::Pip => each_of_wheel(path, &mut take),
        Client::Npm => each_of_tarball(path, &mut take),
    }
    .map_err(io_error("unpack", path))?;
    match missing.first() {
        Some(member) => {
            Err(InstallError::Missing { file: archive.file, member: format!("{}{member}", archive.folder) })
        }
        None => Ok(bytes),
    }
}

/// Called with the name and the content of a member; it need not read the content.
type Take<'a> = dyn FnMut(&[u8], &mut dyn Read) -> io::Result<()> + 'a;

fn each_of_wheel(path: &Path, take: &mut Take<'_>) -> io::Result<()> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(File::open(path)?, &mut buffer).map_err(io::Error::other)?;
    let mut entries = archive.entries(&mut buffer);
    while let Some(record) = entries.next_entry().map_err(io::Error::other)? {
        let entry = archive.get_entry(record.wayfinder()).map_err(io::Error::other)?;
        let (name, method) = (record.file_path().as_ref().to_vec(), record.compression_method());
        match method {
            CompressionMethod::DEFLATE => take(&name, &mut DeflateDecoder::new(entry.reader()))?,
            CompressionMethod::STORE => take(&name, &mut entry.reader())?,
            _ => return Err(io::Error::other("it is packed in an unknown way")),
        }
    }
    Ok(())
}

fn each_of_tarball(path: &Path, take: &mut Take<'_>) -> io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path_bytes().into_owned();
        take(&name, &mut entry)?;
    }
    Ok(())
}

/// A client that is here: a program, and what to tell it first.
struct Caller {
    client: Client,
    program: &'static str,
    arguments: &'static [&'static str],
}

impl Client {
    /// How it may be called, the likeliest first.
    fn calls(self) -> &'static [(&'static str, &'static [&'static str])] {
        match self {
            Client::Pip if cfg!(windows) => &[("py", &["-m", "pip"]), ("python", &["-m", "pip"]), ("pip", &[])],
            Client::Pip => &[("python3", &["-m", "pip"]), ("python", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])],
            Client::Npm if cfg!(windows) => &[("npm.cmd", &[])],
            Client::Npm => &[("npm", &[])],
        }
    }

    fn find(self) -> Option<Caller> {
        self.calls().iter().find_map(|&(program, arguments)| {
            let answer = Command::new(program).args(arguments).arg("--version").output().ok()?;
            answer.status.success().then_some(Caller { client: self, program, arguments })
        })
    }
}

impl Caller {
    /// Fetches an archive into a folder.
    fn fetch(&self, archive: &Archive, folder: &Path) -> Result<(), InstallError> {
        let mut command = Command::new(self.program);
        command.args(self.arguments).current_dir(folder);
        let wanted = match self.client {
            Client::Pip => {
                command.args(["download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
                command.args([
                    "--only-binary=:all:",
                    "--implementation",
                    "cp",
                    "--python-version",
                    "3.12",
                    "--abi",
                    "cp312",
                ]);
                command.args(["--platform", archive.tag, "--dest", "."]);
                format!("{}=={}", archive.name, archive.version)
            }
            Client::Npm => {
                command.args(["pack", "--silent", "--ignore-scripts", "--pack-destination", "."]);
                format!("{}@{}", archive.name, archive.version)
            }
        };
        command.arg(&wanted);
        let failed = |reason: String| InstallError::Client {
            command: format!(
                "{} {} {wanted}",
                self.client,
                if self.client == Client::Pip { "download" } else { "pack" }
            ),
            reason,
        };
        let answer = command.output().map_err(|error| failed(error.to_string()))?;
        if !answer.status.success() {
            return Err(failed(last_line(&answer)));
        }
        if !folder.join(archive.file).exists() {
            return Err(failed(format!("it did not bring {}", archive.file)));
        }
        Ok(())
    }
}

/// The last line that a client wrote about what went wrong.
fn last_line(answer: &Output) -> String {
    let text = String::from_utf8_lossy(&answer.stderr);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let told = lines().rfind(|line| line.to_ascii_lowercase().starts_with("error") || line.starts_with("npm error"));
    told.or_else(|| lines().next_back()).map_or_else(|| answer.status.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests;
