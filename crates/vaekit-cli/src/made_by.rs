//! The VAE that made a file: is it here, and where?

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use vaekit::{LatentSpace, Scaling};
use vaekit_latents::{Provenance, VaeId};
use vaekit_library::Entry;
use vaekit_onnx::ModelFolder;

use crate::args::{CheckpointArgs, VaeArgs};
use crate::checkpoint::{self, STARTER};
use crate::choose::{Chosen, Place, choose, of_entry};
use crate::failure::{Kind, OfKind};
use crate::library::Shelf;
use crate::ui::Ui;
use crate::{cache, locate};

/// A VAE that was found for files of latents.
pub struct Found {
    /// It.
    pub folder: ModelFolder,
    /// Why this one, for people.
    pub reason: String,
}

/// The VAE for latents that nobody named one for: the one that made them, by its weights, then by its name; else the default,
/// if it has the same latents.
///
/// # Errors
/// [`Kind::Usage`] if nothing says what made the latents and no default was chosen, or files were made by different VAEs;
/// [`Kind::BadInput`] if their VAE is not here and the default has other latents.
pub fn find(files: &[(&Path, Option<&Provenance>)], args: &VaeArgs, ui: &Ui) -> Result<Found> {
    let Some(made_by) = common(files).of_kind(Kind::Usage)? else {
        let chosen = choose(&args.choice, ui)?;
        if chosen.reason == crate::choose::NOTHING_CHOSEN {
            let file = files.first().map(|(file, _)| file.display().to_string()).unwrap_or_default();
            let unknown =
                anyhow!("{file} does not say which VAE made it; name one with --vae, or with `vaekit vae use`");
            return Err(unknown).of_kind(Kind::Usage);
        }
        return Ok(Found { folder: locate::open(&chosen, args, ui)?, reason: chosen.reason });
    };
    let mut shelf = Shelf::open(&args.choice.library, ui)?;
    // The latents know what a bare checkpoint may not tell: how its latents are scaled.
    let args = &VaeArgs { checkpoint: with_scaling(&args.checkpoint, made_by), ..args.clone() };
    if let Some(here) = by_weights(made_by, &mut shelf, ui)? {
        let folder = match here {
            Here::Chosen(chosen) => locate::open(&chosen, &for_place(args, &chosen.place), ui)?,
            Here::Converted(folder) => *folder,
        };
        return Ok(Found { folder, reason: "it made the latents, by the hash of its weights".into() });
    }
    if let Some(entry) = by_name(made_by, &shelf.entries) {
        let chosen = of_entry(entry, "it bears the name of the VAE that made the latents".into());
        let folder = locate::open(&chosen, &for_place(args, &chosen.place), ui)?;
        if fits(made_by, &folder) {
            if made_by.weights_sha256.is_some() {
                let name = &made_by.name;
                ui.note(format_args!("warning: this `{name}` has other weights than the one that made the latents"));
            }
            return Ok(Found { folder, reason: chosen.reason });
        }
    }
    let chosen = choose(&args.choice, ui)?;
    let misfit = || anyhow!(missing(made_by, &chosen.name, &shelf));
    // The starter is not converted for nothing.
    if chosen.place == Place::Starter && !fits_space(made_by, &checkpoint::open_starter()?.vae.config().latents) {
        return Err(misfit()).of_kind(Kind::BadInput);
    }
    let folder = locate::open(&chosen, &for_place(args, &chosen.place), ui)?;
    if !fits(made_by, &folder) {
        return Err(misfit()).of_kind(Kind::BadInput);
    }
    ui.note(format_args!(
        "warning: `{}`, which made the latents, is not here; `{}` has the same latents and is used instead",
        made_by.name, chosen.name
    ));
    Ok(Found { folder, reason: format!("its latents are those of `{}`, which is not here", made_by.name) })
}

/// Where a VAE is that a file names, without reading any weights.
///
/// # Errors
/// If the folders of VAEs cannot be listed.
pub fn whereabouts(made_by: &VaeId, shelf: &Shelf) -> Result<Option<String>> {
    Ok(by_known_weights(made_by, shelf)?.map(|here| match here {
        Here::Chosen(Chosen { place: Place::Starter, .. }) => "embedded in vaekit".into(),
        Here::Chosen(chosen) => {
            chosen.place.paths().iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
        }
        Here::Converted(folder) => folder.path().display().to_string(),
    }))
}

/// The VAE that made all files; `None` if none says.
fn common<'a>(files: &[(&'a Path, Option<&'a Provenance>)]) -> Result<Option<&'a VaeId>> {
    let of = |(file, provenance): &(&'a Path, Option<&'a Provenance>)| (*file, provenance.and_then(|p| p.vae.as_ref()));
    let Some((first, made_by)) = files.first().map(of) else { return Ok(None) };
    let named = |vae: Option<&VaeId>| vae.map_or("a VAE that it does not name".into(), |vae| format!("`{}`", vae.name));
    for (file, other) in files.iter().map(of) {
        let same = match (made_by, other) {
            (Some(a), Some(b)) if a.weights_sha256.is_some() => a.weights_sha256 == b.weights_sha256,
            (a, b) => a.map(|vae| &vae.name) == b.map(|vae| &vae.name),
        };
        if !same {
            return Err(anyhow!(
                "{} was made by {} and {} by {}; decode them one by one, or name one with --vae",
                first.display(),
                named(made_by),
                file.display(),
                named(other)
            ));
        }
    }
    Ok(made_by)
}

enum Here {
    Chosen(Chosen),
    /// The checkpoint is not in a known folder, its conversion is.
    Converted(Box<ModelFolder>),
}

/// The VAE with these weights. Beside what is known, those of its name are read.
fn by_weights(made_by: &VaeId, shelf: &mut Shelf, ui: &Ui) -> Result<Option<Here>> {
    if let Some(here) = by_known_weights(made_by, shelf)? {
        return Ok(Some(here));
    }
    let Some(wanted) = &made_by.weights_sha256 else { return Ok(None) };
    let namesakes: Vec<Entry> = shelf.entries.iter().filter(|entry| is_namesake(entry, made_by)).cloned().collect();
    let read = |entry: &&Entry| shelf.index.weights(entry).is_ok_and(|weights| weights.f32 == *wanted);
    let found = namesakes.iter().find(read).map(|entry| Here::Chosen(of_entry(entry, String::new())));
    shelf.save(ui);
    Ok(found)
}

fn by_known_weights(made_by: &VaeId, shelf: &Shelf) -> Result<Option<Here>> {
    let Some(wanted) = &made_by.weights_sha256 else { return Ok(None) };
    if made_by.name == STARTER && checkpoint::open_starter()?.weights_sha256()? == wanted {
        let chosen = Chosen { name: STARTER.into(), place: Place::Starter, reason: String::new(), scaling: None };
        return Ok(Some(Here::Chosen(chosen)));
    }
    let is_it = |entry: &&Entry| shelf.known_weights(entry).is_some_and(|weights| weights.f32 == *wanted);
    // Of several copies the one of that name.
    let mut same: Vec<&Entry> = shelf.entries.iter().filter(is_it).collect();
    same.sort_by_key(|entry| !is_namesake(entry, made_by));
    if let Some(entry) = same.first() {
        return Ok(Some(Here::Chosen(of_entry(entry, String::new()))));
    }
    Ok(converted(made_by, wanted)?.map(|folder| Here::Converted(Box::new(folder))))
}

/// A kept conversion of these weights, with these latents.
fn converted(made_by: &VaeId, wanted: &str) -> Result<Option<ModelFolder>> {
    let Ok(kept) = fs::read_dir(cache::conversions()?) else { return Ok(None) };
    let folders = kept.filter_map(|entry| ModelFolder::open(entry.ok().filter(|e| e.path().is_dir())?.path()).ok());
    let is_it = |folder: &ModelFolder| {
        folder.facts().is_some_and(|facts| facts.source.weights_sha256 == *wanted) && fits(made_by, folder)
    };
    let found = folders.into_iter().find(is_it);
    Ok(found.map(|folder| {
        let files = folder.facts().map(|facts| facts.source.files.clone()).unwrap_or_default();
        folder.known_as(made_by.name.clone(), files)
    }))
}

fn by_name<'a>(made_by: &VaeId, entries: &'a [Entry]) -> Option<&'a Entry> {
    let mut namesakes = entries.iter().filter(|entry| is_namesake(entry, made_by));
    namesakes.next().filter(|_| namesakes.next().is_none())
}

fn is_namesake(entry: &Entry, made_by: &VaeId) -> bool {
    [entry.stem(), entry.bare(), entry.base_name()].contains(&made_by.name.as_str())
}

/// Whether a VAE is known to decode latents of that one: the same space, scaling and all.
fn fits(made_by: &VaeId, folder: &ModelFolder) -> bool {
    fits_space(made_by, &folder.config().latents)
}

fn fits_space(made_by: &VaeId, ours: &LatentSpace) -> bool {
    made_by.latents.as_ref().is_some_and(|theirs| theirs.scaling.is_some() && theirs == ours)
}

fn with_scaling(given: &CheckpointArgs, made_by: &VaeId) -> CheckpointArgs {
    let latents: Option<&LatentSpace> = made_by.latents.as_ref();
    let known = latents.and_then(|latents| match &latents.scaling {
        Some(Scaling::Affine { scaling_factor, shift_factor }) => Some(format!("{scaling_factor},{shift_factor}")),
        _ => None,
    });
    CheckpointArgs { scaling: given.scaling.clone().or(known), ..given.clone() }
}

/// Options of a checkpoint are for checkpoints alone.
fn for_place(args: &VaeArgs, place: &Place) -> VaeArgs {
    match place {
        Place::Checkpoint(_) => args.clone(),
        _ => VaeArgs { checkpoint: CheckpointArgs::default(), ..args.clone() },
    }
}

fn missing(made_by: &VaeId, default: &str, shelf: &Shelf) -> String {
    let name = &made_by.name;
    let weights = made_by.weights_sha256.as_ref().map(|hash| format!(" (weights {})", short(hash))).unwrap_or_default();
    let looked = shelf.where_to_look();
    let unread = match shelf.entries.iter().filter(|entry| shelf.known_weights(entry).is_none()).count() {
        0 => String::new(),
        n => format!("; {n} installed VAEs have not been read yet, `vaekit vae list --hash` does that"),
    };
    format!(
        "the latents were made by the VAE `{name}`{weights}, which is not installed ({looked}), and `{default}` has other \
         latents; give it with --vae FILE{unread}"
    )
}

/// The first digits of a hash that may be anything.
pub fn short(hash: &str) -> String {
    hash.chars().take(vaekit_library::SHORT_HASH_DIGITS).collect()
}
