//! From the VAE that a command line means to a model folder that is open.

use anyhow::{Result, bail, ensure};
use vaekit_checkpoint::ScalingChoice;
use vaekit_onnx::{ModelFolder, Precision};

use crate::args::{CheckpointArgs, VaeArgs};
use crate::choose::{Chosen, Place, choose, name_of};
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;
use crate::{cache, checkpoint, library};

/// Opens the VAE that is asked for, remembered, or the default; a checkpoint is converted into the cache unless it is there.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE or it is broken, [`Kind::Usage`] if options of a checkpoint are given for a
/// model that is converted already.
pub fn locate(args: &VaeArgs, ui: &Ui) -> Result<ModelFolder> {
    let chosen = choose(&args.choice, ui)?;
    ui.detail(format_args!("VAE `{}`, {}", chosen.name, chosen.reason));
    open(&chosen, args, ui)
}

/// Opens a VAE that was chosen.
///
/// # Errors
/// As [`locate`].
pub fn open(chosen: &Chosen, args: &VaeArgs, ui: &Ui) -> Result<ModelFolder> {
    let precision = args.precision.map_or(Precision::Fp32, Precision::from);
    match &chosen.place {
        Place::Starter => {
            ensure_no_options(&args.checkpoint, &chosen.name).of_kind(Kind::Usage)?;
            cache::converted(&checkpoint::open_starter()?, &chosen.name, precision, ui)
        }
        Place::Checkpoint(paths) => {
            let mut index = library::index()?;
            let of = args.choice.of.as_deref();
            let options = args.checkpoint.clone().or_scaling(&chosen.scaling);
            let checkpoint = checkpoint::open_indexed(paths, &options, of, false, &mut index, ui)?;
            cache::converted(&checkpoint, &chosen.name, precision, ui)
        }
        Place::Model(path) => {
            let folder = ModelFolder::open(path).of_kind(Kind::BadInput)?;
            ensure_precision(&folder, args, &chosen.name).of_kind(Kind::Usage)?;
            with_options(folder, &args.checkpoint, &chosen.name).of_kind(Kind::Usage)
        }
    }
}

fn ensure_no_options(args: &CheckpointArgs, vae: &str) -> Result<()> {
    let given = args.config.is_some() || args.scaling.is_some();
    ensure!(!given, "--config and --scaling are for checkpoints that do not say it themselves, and {vae} does");
    Ok(())
}

/// A model that does not say how its latents are scaled, as a tiny VAE of unknown parent, can be told.
fn with_options(folder: ModelFolder, args: &CheckpointArgs, vae: &str) -> Result<ModelFolder> {
    let latents = &folder.config().latents;
    if latents.scaling.is_some() || args.scaling.is_none() {
        ensure_no_options(args, vae)?;
        return Ok(folder);
    }
    ensure!(args.config.is_none(), "--config is for checkpoints, and {vae} is converted already");
    let choice: ScalingChoice = args.scaling.as_deref().unwrap_or_default().parse()?;
    if let Some(given) = choice.channels().filter(|&given| given != latents.channels) {
        bail!("--scaling is for {given} channels, and the latents of {vae} have {}", latents.channels);
    }
    Ok(folder.scaled_by(choice.scaling()))
}

/// A model that is converted already computes in what it was converted to.
fn ensure_precision(folder: &ModelFolder, args: &VaeArgs, vae: &str) -> Result<()> {
    let (Some(asked), Some(facts)) = (args.precision.map(Precision::from), folder.facts()) else { return Ok(()) };
    let found = facts.precision;
    ensure!(asked == found, "{vae} is {found}; convert its checkpoint with --precision {asked}");
    Ok(())
}

/// The name of a VAE for people: given at conversion, else that of its folder or file.
pub fn name(folder: &ModelFolder) -> String {
    let given = folder.facts().and_then(|facts| facts.name.clone());
    given.unwrap_or_else(|| name_of(folder.path()))
}
