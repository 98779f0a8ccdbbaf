//! From the VAE that a command line means to a model folder that is open.

use anyhow::{Result, ensure};
use vaekit_onnx::ModelFolder;

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
    match &chosen.place {
        Place::Starter => cache::converted(&checkpoint::open_starter()?, &chosen.name, ui),
        Place::Checkpoint(paths) => {
            let mut index = library::index()?;
            let of = args.choice.of.as_deref();
            let options = args.checkpoint.clone().or_scaling(&chosen.scaling);
            let checkpoint = checkpoint::open_indexed(paths, &options, of, false, &mut index, ui)?;
            cache::converted(&checkpoint, &chosen.name, ui)
        }
        Place::Model(path) => {
            ensure_no_options(&args.checkpoint, &chosen.name).of_kind(Kind::Usage)?;
            ModelFolder::open(path).of_kind(Kind::BadInput)
        }
    }
}

fn ensure_no_options(args: &CheckpointArgs, vae: &str) -> Result<()> {
    let given = args.config.is_some() || args.scaling.is_some();
    ensure!(!given, "--config and --scaling are for checkpoints, and {vae} is converted already");
    Ok(())
}

/// The name of a VAE for people: given at conversion, else that of its folder or file.
pub fn name(folder: &ModelFolder) -> String {
    let given = folder.facts().and_then(|facts| facts.name.clone());
    given.unwrap_or_else(|| name_of(folder.path()))
}
