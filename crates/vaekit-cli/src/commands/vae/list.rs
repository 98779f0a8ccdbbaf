//! `vaekit vae list`: VAEs by name and short hash.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use vaekit_checkpoint::Sameness;
use vaekit_library::{Entry, Kind, SHORT_HASH_DIGITS};

use super::known::Known;
use crate::args::VaeListArgs;
use crate::checkpoint::STARTER;
use crate::hub;
use crate::library::Shelf;
use crate::ui::Ui;

/// What is there.
#[derive(Debug, Serialize)]
pub struct VaeList {
    /// The folders that were listed.
    pub folders: Vec<PathBuf>,
    /// What is remembered by `vaekit vae use`.
    pub default: Option<String>,
    /// The VAEs in them.
    pub vaes: Vec<Listed>,
    /// The VAEs that can be fetched or have been.
    pub known: Vec<Known>,
    /// The file of the user's own registry, whether or not there is one.
    pub registry: Option<PathBuf>,
    /// For people: the folders, or how to name one.
    #[serde(skip)]
    pub advice: String,
}

/// One VAE.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Its path below the folder.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The first digits of the file's sha256, as the web UI shows them; absent where the file has not been read, for model
    /// folders, and for two files.
    pub short_hash: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Its files, or its folder.
    pub paths: Vec<PathBuf>,
    /// An earlier one of the list that is the same VAE.
    pub same_as: Option<SameAs>,
    /// The known VAE that it is, by the hash of its file.
    pub known_as: Option<String>,
}

/// Another name for the same VAE.
#[derive(Debug, Serialize)]
pub struct SameAs {
    /// The other's name.
    pub name: String,
    /// Whether the files are copies, byte by byte.
    pub same_file: bool,
    /// How far the weights are the same.
    pub weights: Option<Sameness>,
}

/// Lists; with `--hash`, reads what was not read before.
///
/// # Errors
/// [`crate::failure::Kind::BadInput`] if a folder that was named cannot be listed.
pub fn run(args: &VaeListArgs, ui: &Ui) -> Result<VaeList> {
    let mut shelf = Shelf::open(&args.library, ui)?;
    if args.hash {
        shelf.hash_files(ui);
        shelf.hash_weights(ui);
    }
    let copies = copies(&shelf);
    let (registry, hub) = (hub::registry(ui)?, hub::open()?);
    let listed = |(entry, same_as): (&Entry, Option<SameAs>)| Listed {
        name: entry.name.clone(),
        kind: entry.kind,
        short_hash: sha256(&shelf, entry).map(|hash| hash[..SHORT_HASH_DIGITS].to_owned()),
        size: entry.size(),
        paths: entry.paths(),
        same_as,
        known_as: sha256(&shelf, entry).and_then(|hash| registry.of_content(hash)).map(|known| known.name.clone()),
    };
    let default = crate::library::remembered()?.map(|remembered| remembered.vae);
    let advice = shelf.where_to_look();
    let known = registry.entries().iter().map(|entry| Known::new(entry, &registry, &hub));
    let known = known.filter(|known| known.fetched.is_some() || !args.installed).collect();
    Ok(VaeList {
        known,
        registry: hub::users_registry(),
        default,
        advice,
        vaes: shelf.entries.iter().zip(copies).map(listed).collect(),
        folders: shelf.folders,
    })
}

/// Of a VAE in one file, if that has been read.
fn sha256<'a>(shelf: &'a Shelf, entry: &Entry) -> Option<&'a str> {
    match (entry.kind, entry.files.as_slice()) {
        (Kind::File | Kind::Diffusers, [file]) => shelf.index.known_sha256(file),
        _ => None,
    }
}

/// For each entry the first one of the list that is known to be the same.
fn copies(shelf: &Shelf) -> Vec<Option<SameAs>> {
    // One table for each way to be the same, the closest first.
    let mut files = HashMap::new();
    let mut weights: [HashMap<String, &str>; 3] = Default::default();
    let same_as = |entry| {
        let entry: &Entry = entry;
        let file = sha256(shelf, entry);
        // A model folder is a conversion: its manifest says of what, and reading ten thousand of those takes time.
        let known = shelf.index.known_weights(&entry.files).cloned();
        let of_weights = known.map(|known| [Some(known.f32), known.f16, known.bf16]).unwrap_or_default();
        let same_file = file.and_then(|file| files.get(file).copied());
        let how = [Sameness::Exact, Sameness::F16, Sameness::Bf16];
        let same_weights = of_weights
            .iter()
            .zip(&weights)
            .zip(how)
            .find_map(|((hash, known), how)| Some((*known.get(hash.as_ref()?)?, how)));
        if let Some(file) = file {
            files.entry(file).or_insert(entry.name.as_str());
        }
        for (hash, known) in of_weights.into_iter().zip(&mut weights) {
            if let Some(hash) = hash {
                known.entry(hash).or_insert(&entry.name);
            }
        }
        let name = same_file.or(same_weights.map(|(name, _)| name))?;
        Some(SameAs { name: name.into(), same_file: same_file.is_some(), weights: same_weights.map(|(_, how)| how) })
    };
    shelf.entries.iter().map(same_as).collect()
}

impl fmt::Display for SameAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.same_file, self.weights) {
            (false, Some(how)) => write!(f, "{how} as {}", self.name),
            _ => write!(f, "a copy of {}", self.name),
        }
    }
}

impl fmt::Display for VaeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.vaes.iter().map(|vae| vae.name.chars().count()).max().unwrap_or(0).clamp(STARTER.len(), 60);
        let marked = |stem: &str| if self.default.as_deref() == Some(stem) { "*" } else { " " };
        writeln!(f, "{} {STARTER:<width$}  {:SHORT_HASH_DIGITS$}  {:>9}  embedded", marked(STARTER), "", "")?;
        for vae in &self.vaes {
            let hash = match (&vae.short_hash, vae.kind) {
                (Some(hash), _) => hash,
                (None, Kind::File | Kind::Diffusers) => "not read",
                (None, Kind::Halves) => "two files",
                (None, Kind::Model) => "converted",
            };
            let megabytes = format!("{:.1} MB", vae.size as f64 / 1e6);
            write!(f, "{} {:<width$}  {hash:<SHORT_HASH_DIGITS$}  {megabytes:>9}", marked(stem(vae)), vae.name)?;
            match (&vae.same_as, &vae.known_as) {
                (Some(same), _) => writeln!(f, "  {same}")?,
                (None, Some(known)) => writeln!(f, "  known as {known}")?,
                (None, None) => writeln!(f)?,
            }
        }
        match self.vaes.len() {
            0 => writeln!(f, "nothing else is installed: {}", self.advice)?,
            n => writeln!(f, "{n} installed {}", self.advice)?,
        }
        if let Some(default) = &self.default {
            writeln!(f, "* default: {default}, remembered by `vaekit vae use`")?;
        }
        self.fmt_known(f)
    }
}

impl VaeList {
    fn fmt_known(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.known.is_empty() {
            return Ok(());
        }
        let width =
            |text: &dyn Fn(&Known) -> String| self.known.iter().map(|known| text(known).len()).max().unwrap_or(0);
        let models = |known: &Known| known.entry.models.join(", ");
        let (names, purposes) = (width(&|known| known.entry.name.clone()), width(&models));
        let all_fetched = self.known.iter().all(|known| known.fetched.is_some());
        let heading =
            if all_fetched { "fetched from the hub:" } else { "known, to be fetched with `vaekit vae fetch NAME`:" };
        writeln!(f, "\n{heading}")?;
        for known in &self.known {
            let marked = if self.default.as_deref() == Some(&known.entry.name) { "*" } else { " " };
            let (name, size, state) = (&known.entry.name, known.size(), known.state());
            let line = format!("{marked} {name:<names$}  {:<purposes$}  {size:>9}  {state}", models(known));
            writeln!(f, "{}", line.trim_end())?;
        }
        if let Some(registry) = &self.registry {
            writeln!(f, "`vaekit vae info NAME` says what one is good for; add your own in {}", registry.display())?;
        }
        Ok(())
    }
}

fn stem(vae: &Listed) -> &str {
    let name = vae.name.rsplit('/').next().unwrap_or(&vae.name);
    match vae.kind {
        Kind::File => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
        _ => name,
    }
}
