//! Every VAE on this machine, to find the one that made a file.

use std::fs;

use anyhow::Result;
use vaekit::LatentSpace;
use vaekit_hub::Registry;
use vaekit_latents::VaeId;
use vaekit_library::Entry;
use vaekit_onnx::{Facts, ModelFolder, Precision};

use crate::args::LibraryArgs;
use crate::checkpoint::{self, STARTER};
use crate::choose::{Chosen, Place, of_entry, of_fetched};
use crate::library::Shelf;
use crate::ui::Ui;
use crate::{cache, hub};

/// Every VAE on this machine that may have made a file: in folders, and fetched.
pub struct Installed {
    vaes: Vec<(Entry, Chosen)>,
    shelf: Shelf,
    registry: Registry,
}

/// How a VAE is here.
pub(crate) enum Here {
    /// Its files are.
    Chosen(Chosen),
    /// The checkpoint is not in a known folder, its conversion is.
    Converted(Box<ModelFolder>),
}

impl Installed {
    /// Lists folders and the hub's cache. Nothing is read.
    ///
    /// # Errors
    /// [`crate::failure::Kind::BadInput`] if a folder that was named cannot be listed, or the user's registry not be read.
    pub fn open(args: &LibraryArgs, ui: &Ui) -> Result<Self> {
        let (shelf, registry, hub) = (Shelf::open(args, ui)?, hub::registry(ui)?, hub::open()?);
        let in_folders = shelf.entries.iter().map(|entry| (entry.clone(), of_entry(entry, String::new())));
        let fetched = registry.entries().iter().filter(|entry| entry.family.runs()).filter_map(|entry| {
            let chosen = of_fetched(entry, hub.locate(entry)?, &registry, String::new());
            Some((Entry::of_files(&chosen.name, chosen.place.paths()).ok()?, chosen))
        });
        let vaes = in_folders.chain(fetched).collect();
        Ok(Installed { vaes, shelf, registry })
    }

    /// Where a VAE is that a file names, without reading any weights.
    ///
    /// # Errors
    /// If the cache of conversions has no place.
    pub fn whereabouts(&self, made_by: &VaeId) -> Result<Option<String>> {
        let of_file = || self.of_file(made_by.source_sha256.as_ref()?);
        Ok(match self.by_known_weights(made_by, None)? {
            Some(Here::Chosen(Chosen { place: Place::Starter, .. })) => Some("embedded in vaekit".into()),
            Some(Here::Chosen(chosen)) => Some(paths(&chosen)),
            Some(Here::Converted(folder)) => of_file().or_else(|| Some(folder.path().display().to_string())),
            None => of_file(),
        })
    }

    /// Where the VAE is whose file has this sha256, or begins with it, as far as that is known.
    pub fn of_file(&self, hash: &str) -> Option<String> {
        if let Ok(entry) = vaekit_library::find(&self.shelf.entries, hash, &self.shelf.index) {
            return Some(paths(&of_entry(entry, String::new())));
        }
        let known = self.registry.of_content(hash)?;
        self.vaes.iter().find(|(_, chosen)| chosen.name == known.name).map(|(_, chosen)| paths(chosen))
    }

    /// The name to fetch a VAE by, if the registry knows it by the sha256 of its file, or the first digits of that. Where none
    /// is given its name must do; where one is given, a VAE of that name with another hash is another one.
    pub fn known(&self, name: &str, hash: Option<&str>) -> Option<&str> {
        let known = match hash {
            Some(hash) => self.registry.of_content(hash),
            None => self.registry.find(name).ok(),
        };
        known.map(|known| known.name.as_str())
    }

    /// The VAE with these weights. Beside what is known, those that are likely to be it are read. A kept conversion has to be in
    /// this precision.
    pub(crate) fn by_weights(&mut self, made_by: &VaeId, precision: Precision, ui: &Ui) -> Result<Option<Here>> {
        if let Some(here) = self.by_known_weights(made_by, Some(precision))? {
            return Ok(Some(here));
        }
        let Some(wanted) = &made_by.weights_sha256 else { return Ok(None) };
        let of_file = made_by.source_sha256.as_ref().and_then(|hash| self.registry.of_content(hash));
        let Installed { vaes, shelf, .. } = self;
        let is_likely = |(entry, chosen): &&(Entry, Chosen)| {
            is_namesake(entry, made_by) || of_file.is_some_and(|known| known.name == chosen.name)
        };
        let is_it =
            |(entry, _): &&(Entry, Chosen)| shelf.index.weights(entry).is_ok_and(|weights| weights.f32 == *wanted);
        let found = vaes.iter().filter(is_likely).find(is_it).map(|(_, chosen)| Here::Chosen(chosen.clone()));
        shelf.save(ui);
        Ok(found)
    }

    fn by_known_weights(&self, made_by: &VaeId, precision: Option<Precision>) -> Result<Option<Here>> {
        let Some(wanted) = &made_by.weights_sha256 else { return Ok(None) };
        if made_by.name == STARTER && checkpoint::open_starter()?.weights_sha256()? == wanted {
            let chosen = Chosen { name: STARTER.into(), place: Place::Starter, reason: String::new(), scaling: None };
            return Ok(Some(Here::Chosen(chosen)));
        }
        let is_it = |(entry, _): &&(Entry, Chosen)| {
            self.shelf.known_weights(entry).is_some_and(|weights| weights.f32 == *wanted)
        };
        // Of several copies the one of that name.
        let same = self.vaes.iter().filter(is_it).min_by_key(|(entry, _)| !is_namesake(entry, made_by));
        if let Some((_, chosen)) = same {
            return Ok(Some(Here::Chosen(chosen.clone())));
        }
        Ok(converted(made_by, wanted, precision)?.map(|folder| Here::Converted(Box::new(folder))))
    }

    /// The only VAE of that name.
    pub(crate) fn by_name(&self, made_by: &VaeId) -> Option<&Chosen> {
        let mut namesakes = self.vaes.iter().filter(|(entry, _)| is_namesake(entry, made_by));
        namesakes.next().filter(|_| namesakes.next().is_none()).map(|(_, chosen)| chosen)
    }

    /// That it is not here, what to do, and that `default` will not do.
    pub(crate) fn missing(&self, made_by: &VaeId, default: &str) -> String {
        let VaeId { name, weights_sha256, source_sha256, .. } = made_by;
        let weights = weights_sha256.as_ref().map(|hash| format!(" (weights {})", short(hash))).unwrap_or_default();
        let looked = self.shelf.where_to_look();
        let fetch = self.known(name, source_sha256.as_deref());
        let fetch = fetch.map(|known| format!("fetch it with `vaekit vae fetch {known}`, or ")).unwrap_or_default();
        let unread = match self.shelf.entries.iter().filter(|entry| self.shelf.known_weights(entry).is_none()).count() {
            0 => String::new(),
            n => format!("; {n} installed VAEs have not been read yet, `vaekit vae list --hash` does that"),
        };
        let kept = weights_sha256.as_ref().and_then(|wanted| converted(made_by, wanted, None).ok()?);
        let kept = kept.and_then(|folder| Some(folder.facts()?.precision));
        let kept =
            kept.map(|kept| format!("; its conversion to {kept} is kept: --precision {kept}")).unwrap_or_default();
        format!(
            "the latents were made by the VAE `{name}`{weights}, which is not installed ({looked}), and `{default}` has other \
             latents; {fetch}give it with --vae FILE{kept}{unread}"
        )
    }
}

fn paths(chosen: &Chosen) -> String {
    chosen.place.paths().iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A kept conversion of these weights, with these latents, in this precision or any; of several the first by its key.
fn converted(made_by: &VaeId, wanted: &str, precision: Option<Precision>) -> Result<Option<ModelFolder>> {
    let Ok(kept) = fs::read_dir(cache::conversions()?) else { return Ok(None) };
    let folders = kept.filter_map(|entry| ModelFolder::open(entry.ok().filter(|e| e.path().is_dir())?.path()).ok());
    let is_it = |folder: &ModelFolder| {
        let right = |facts: &Facts| {
            facts.source.weights_sha256 == *wanted && precision.is_none_or(|precision| facts.precision == precision)
        };
        folder.facts().is_some_and(right) && fits(made_by, folder)
    };
    let found = folders.filter(is_it).min_by(|a, b| a.path().cmp(b.path()));
    Ok(found.map(|folder| {
        let files = folder.facts().map(|facts| facts.source.files.clone()).unwrap_or_default();
        folder.known_as(made_by.name.clone(), files)
    }))
}

fn is_namesake(entry: &Entry, made_by: &VaeId) -> bool {
    [entry.stem(), entry.bare(), entry.base_name()].contains(&made_by.name.as_str())
}

/// Whether a VAE is known to decode latents of that one: the same space, scaling and all.
pub(crate) fn fits(made_by: &VaeId, folder: &ModelFolder) -> bool {
    fits_space(made_by, &folder.config().latents)
}

/// The same of its latents alone.
pub(crate) fn fits_space(made_by: &VaeId, ours: &LatentSpace) -> bool {
    made_by.latents.as_ref().is_some_and(|theirs| theirs.scaling.is_some() && theirs == ours)
}

/// The first digits of a hash that may be anything.
pub fn short(hash: &str) -> String {
    hash.chars().take(vaekit_library::SHORT_HASH_DIGITS).collect()
}
