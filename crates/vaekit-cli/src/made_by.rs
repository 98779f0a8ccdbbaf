//! The VAE for files of latents that say which one made them.

use std::path::Path;

use anyhow::{Result, anyhow};
use vaekit::{LatentSpace, Scaling};
use vaekit_latents::{Provenance, VaeId};
use vaekit_onnx::{ModelFolder, Precision};

use crate::args::{CheckpointArgs, VaeArgs};
use crate::choose::{Place, choose};
use crate::failure::{Kind, OfKind};
use crate::installed::{Here, Installed, fits, fits_space};
use crate::ui::Ui;
use crate::{checkpoint, locate};

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
    let mut here = Installed::open(&args.choice.library, ui)?;
    // The latents know what a bare checkpoint may not tell: how its latents are scaled.
    let args = &VaeArgs { checkpoint: with_scaling(&args.checkpoint, made_by), ..args.clone() };
    let precision = args.precision.map_or(Precision::Fp32, Precision::from);
    if let Some(found) = here.by_weights(made_by, precision, ui)? {
        let folder = match found {
            Here::Chosen(chosen) => locate::open(&chosen, &for_place(args, &chosen.place), ui)?,
            Here::Converted(folder) => *folder,
        };
        return Ok(Found { folder, reason: "it made the latents, by the hash of its weights".into() });
    }
    if let Some(chosen) = here.by_name(made_by) {
        let folder = locate::open(chosen, &for_place(args, &chosen.place), ui)?;
        if fits(made_by, &folder) {
            if made_by.weights_sha256.is_some() {
                let name = &made_by.name;
                ui.note(format_args!("warning: this `{name}` has other weights than the one that made the latents"));
            }
            return Ok(Found { folder, reason: "it bears the name of the VAE that made the latents".into() });
        }
    }
    let chosen = choose(&args.choice, ui)?;
    let misfit = || anyhow!(here.missing(made_by, &chosen.name));
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
