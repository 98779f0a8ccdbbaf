//! Which VAE a command line means. Nothing is opened.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use vaekit_hub::{HubError, LocalFile, Registry, UnknownName};
use vaekit_library::{Choice, Entry, FindError, Kind as EntryKind, Remembered, diffusers_weights, own_vae};

use crate::args::{ChoiceArgs, LibraryArgs};
use crate::checkpoint::STARTER;
use crate::failure::{Kind, OfKind};
use crate::hub;
use crate::library::{self, Shelf};
use crate::ui::Ui;

/// A VAE that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// Why this one, for people.
    pub reason: String,
    /// How its latents are scaled, as `--scaling` has it, where the user's own registry says so.
    pub scaling: Option<String>,
}

/// The reason of a VAE that nobody chose.
pub const NOTHING_CHOSEN: &str = "no other was chosen";

/// Where a VAE is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "paths", rename_all = "snake_case")]
pub enum Place {
    /// Embedded in the program.
    Starter,
    /// A model folder or a model.onnx.
    Model(PathBuf),
    /// A checkpoint in one file or two.
    Checkpoint(Vec<PathBuf>),
}

impl Place {
    /// What is at a path, by its name and what lies in it.
    pub fn at(path: &Path) -> Self {
        let is_onnx = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
        // A pipeline of diffusers' has its VAE in a folder of that name.
        match diffusers_weights(path).or_else(|| diffusers_weights(&path.join("vae"))) {
            Some(weights) => Place::Checkpoint(vec![weights]),
            None if path.is_dir() || is_onnx => Place::Model(path.to_owned()),
            None => Place::Checkpoint(vec![path.to_owned()]),
        }
    }

    /// Its files or folder; none for the embedded one.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Place::Starter => &[],
            Place::Model(path) => std::slice::from_ref(path),
            Place::Checkpoint(paths) => paths,
        }
    }
}

/// The VAE that is asked for, else the remembered one, else `Automatic` for a checkpoint that is given, else the starter.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE or several, [`Kind::Usage`] if the choice needs a checkpoint and none is given.
pub fn choose(args: &ChoiceArgs, ui: &Ui) -> Result<Chosen> {
    if let Some(asked) = &args.vae {
        return resolve(asked, args, "asked for with --vae", ui);
    }
    if let Some(remembered) = library::remembered()? {
        return recall(&remembered, args, ui);
    }
    if args.of.is_some() {
        return resolve("Automatic", args, "chosen for --checkpoint", ui);
    }
    Ok(starter(NOTHING_CHOSEN.into()))
}

fn starter(reason: String) -> Chosen {
    Chosen { name: STARTER.into(), place: Place::Starter, reason, scaling: None }
}

fn recall(remembered: &Remembered, args: &ChoiceArgs, ui: &Ui) -> Result<Chosen> {
    let reason = "remembered by `vaekit vae use`";
    if !remembered.paths.is_empty() && remembered.paths.iter().all(|path| path.exists()) {
        let place = match remembered.paths.as_slice() {
            [path] => Place::at(path),
            halves => Place::Checkpoint(halves.to_vec()),
        };
        return Ok(Chosen {
            name: remembered.vae.clone(),
            scaling: scaling_of(remembered, ui),
            place,
            reason: reason.into(),
        });
    }
    let lost = || {
        let vae = &remembered.vae;
        format!("the remembered VAE `{vae}` cannot be used; choose another with --vae or `vaekit vae use`")
    };
    // `context` would hide the kind, which the error already has.
    resolve(&remembered.vae, args, reason, ui).map_err(|error| error.context(lost()))
}

/// The VAE that a text names, with a reason that says who named it.
fn resolve(asked: &str, args: &ChoiceArgs, by: &str, ui: &Ui) -> Result<Chosen> {
    let choice: Choice = asked.parse().unwrap_or_else(|never| match never {});
    match choice {
        Choice::Automatic => automatic(of(args, "Automatic")?, args, by, ui),
        Choice::None => Ok(built_in(of(args, "None")?, format!("the VAE in the checkpoint; None, {by}"))),
        Choice::Named(name) => named(&name, &args.library, by, ui),
    }
}

/// The VAE that a text names, for commands that are about one VAE and no checkpoint.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE or several, [`Kind::Usage`] for `Automatic` and `None`, which need a checkpoint.
pub fn by_name(asked: &str, library: &LibraryArgs, ui: &Ui) -> Result<Chosen> {
    let choice: Choice = asked.parse().unwrap_or_else(|never| match never {});
    let Choice::Named(name) = choice else {
        let needs = anyhow!(
            "`{choice}` chooses the VAE of a checkpoint, and this command takes none; \
             `vaekit vae which --vae {choice} --checkpoint FILE` says which VAE that is"
        );
        return Err(needs).of_kind(Kind::Usage);
    };
    named(&name, library, "asked for", ui)
}

fn of<'a>(args: &'a ChoiceArgs, choice: &str) -> Result<&'a Path> {
    let missing =
        || anyhow!("`{choice}` chooses the VAE of a checkpoint; say which with --checkpoint FILE, or name a VAE");
    let of = args.of.as_deref().ok_or_else(missing).of_kind(Kind::Usage)?;
    of.metadata().with_context(|| format!("cannot open the checkpoint {}", of.display())).of_kind(Kind::BadInput)?;
    Ok(of)
}

fn automatic(of: &Path, args: &ChoiceArgs, by: &str, ui: &Ui) -> Result<Chosen> {
    let shelf = Shelf::open(&args.library, ui)?;
    match own_vae(of, &shelf.entries).of_kind(Kind::BadInput)? {
        Some(path) => {
            let reason = format!("the checkpoint's own VAE file; Automatic, {by}");
            Ok(Chosen { name: name_of(&path), place: Place::Checkpoint(vec![path]), reason, scaling: None })
        }
        None => Ok(built_in(of, format!("the VAE in the checkpoint, which has no file of its own; Automatic, {by}"))),
    }
}

fn built_in(of: &Path, reason: String) -> Chosen {
    Chosen { name: name_of(of), place: Place::at(of), reason, scaling: None }
}

fn named(asked: &str, library: &LibraryArgs, by: &str, ui: &Ui) -> Result<Chosen> {
    let path = Path::new(asked);
    if path.exists() {
        return Ok(Chosen { name: name_of(path), place: Place::at(path), reason: by.into(), scaling: None });
    }
    if asked.eq_ignore_ascii_case(STARTER) {
        return Ok(starter(by.into()));
    }
    let mut shelf = Shelf::open(library, ui)?;
    // What lies in a folder goes before what was fetched, and a known name before the search for a hash.
    let is_hash = match shelf.search(asked, ui) {
        Err(FindError::Unknown { is_hash, .. }) => Some(is_hash),
        Err(FindError::Unread { .. }) => Some(false),
        Ok(_) | Err(FindError::Ambiguous { .. }) => None,
    };
    let unknown = match is_hash {
        Some(is_hash) => {
            let registry = hub::registry(ui)?;
            match registry.find(asked) {
                // A hash may be that of a file in a folder which was not read yet.
                Ok(entry) if is_hash && hub::open()?.locate(entry).is_none() && shelf.find(asked, ui).is_ok() => {
                    UnknownName::of(asked)
                }
                Ok(entry) => return fetched(entry, &registry, by),
                Err(unknown) => unknown,
            }
        }
        None => UnknownName::of(asked),
    };
    let nowhere = || {
        let suggestion = unknown.suggestion().map(|suggestion| format!(" ({suggestion})")).unwrap_or_default();
        format!("there is no VAE `{asked}`: it is neither `{STARTER}` nor a file or folder nor a known VAE{suggestion}")
    };
    match shelf.find(asked, ui) {
        Ok(entry) => Ok(of_entry(entry, by.into())),
        Err(error) => Err(error.context(nowhere())),
    }
}

/// A VAE of the registry, which must have been fetched.
fn fetched(entry: &vaekit_hub::Entry, registry: &Registry, by: &str) -> Result<Chosen> {
    let files = hub::open()?.locate(entry);
    let files = files.ok_or_else(|| HubError::NotInstalled { name: entry.name.clone() }).of_kind(Kind::BadInput)?;
    Ok(of_fetched(entry, files, registry, format!("a known VAE, {by}")))
}

/// A VAE of the registry that lies in these files.
pub fn of_fetched(entry: &vaekit_hub::Entry, files: Vec<LocalFile>, registry: &Registry, reason: String) -> Chosen {
    let weights = files.into_iter().filter(|file| file.is_weights).map(|file| file.path).collect();
    // What vaekit knows of its own is in the checkpoint reader too; only a user knows the user's.
    let scaling = entry.scaling().filter(|_| registry.is_users(entry));
    Chosen { name: entry.name.clone(), place: Place::Checkpoint(weights), reason, scaling }
}

/// What the user's own registry says of a VAE that is remembered by its path.
fn scaling_of(remembered: &Remembered, ui: &Ui) -> Option<String> {
    let registry = hub::registry(ui).ok()?;
    let chosen = fetched(registry.find(&remembered.vae).ok()?, &registry, "").ok()?;
    chosen.scaling.filter(|_| chosen.place.paths() == remembered.paths)
}

/// An installed VAE.
pub fn of_entry(entry: &Entry, reason: String) -> Chosen {
    let place = match entry.kind {
        EntryKind::Model => Place::Model(entry.folder.clone()),
        _ => Place::Checkpoint(entry.paths()),
    };
    Chosen { name: entry.stem().to_owned(), place, reason, scaling: None }
}

/// The name of a file or folder for people.
pub fn name_of(path: &Path) -> String {
    // `.` and `..` have names too; a link (the hub's cache is full of them) keeps its own.
    let path = if path.file_name().is_some() { path.to_owned() } else { path.canonicalize().unwrap_or_default() };
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    stem.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
