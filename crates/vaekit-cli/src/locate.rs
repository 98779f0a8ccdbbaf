//! Which VAE `--vae` means, as a model folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use etcetera::BaseStrategy;
use vaekit_onnx::{ModelFolder, Precision};

use crate::args::{PrecisionArg, VaeArgs};
use crate::checkpoint::{self, Checkpoint, STARTER};
use crate::convert::{Conversion, convert};
use crate::failure::{Kind, OfKind};
use crate::ui::Ui;

/// Opens the VAE that is asked for: `starter`, a model folder, a `model.onnx`, or a checkpoint (or diffusers' folder with
/// one), which is converted into the cache unless it is there already.
///
/// # Errors
/// [`Kind::BadInput`] if there is no such VAE or it is broken, [`Kind::Usage`] if options of a checkpoint are given for a
/// model that is converted already.
pub fn locate(args: &VaeArgs, ui: &Ui) -> Result<ModelFolder> {
    let path = Path::new(&args.vae);
    if args.vae == STARTER && !path.exists() {
        return cached(&checkpoint::open_starter()?, STARTER, args.precision, ui);
    }
    let metadata = path.metadata().with_context(|| {
        format!("there is no VAE `{}`: it is neither `{STARTER}` nor a checkpoint nor a model folder", args.vae)
    });
    let is_folder = metadata.of_kind(Kind::BadInput)?.is_dir();
    match (is_folder, diffusers_weights(path)) {
        (true, Some(weights)) => converted(&weights, name_of(path), args, ui),
        (false, _) if !has_extension(path, "onnx") => converted(path, name_of(path), args, ui),
        _ => {
            let options = args.checkpoint.config.is_some() || args.checkpoint.scaling.is_some();
            ensure_unneeded(options, &args.vae)?;
            let folder = ModelFolder::open(path).of_kind(Kind::BadInput)?;
            ensure_precision(&folder, args)?;
            Ok(folder)
        }
    }
}

/// The name of a VAE for people: given at conversion, else that of its folder or file.
pub fn name(folder: &ModelFolder) -> String {
    let given = folder.facts().and_then(|facts| facts.name.clone());
    given.unwrap_or_else(|| name_of(folder.path()))
}

fn name_of(path: &Path) -> String {
    // `.` and `..` have names too.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    stem.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn has_extension(path: &Path, expected: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(expected))
}

/// The checkpoint of a folder that diffusers wrote.
pub(crate) fn diffusers_weights(folder: &Path) -> Option<PathBuf> {
    let names = ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"];
    names.map(|name| folder.join(name)).into_iter().find(|path| path.is_file())
}

fn ensure_unneeded(options: bool, vae: &str) -> Result<()> {
    let check = || -> Result<()> {
        ensure!(!options, "--config and --scaling are for checkpoints, and {vae} is converted already");
        Ok(())
    };
    check().of_kind(Kind::Usage)
}

/// A model that is converted already computes in what it was converted to.
fn ensure_precision(folder: &ModelFolder, args: &VaeArgs) -> Result<()> {
    let check = || -> Result<()> {
        let (Some(asked), Some(facts)) = (args.precision.map(Precision::from), folder.facts()) else { return Ok(()) };
        let found = facts.precision;
        ensure!(asked == found, "{} is {found}; convert its checkpoint with --precision {asked}", args.vae);
        Ok(())
    };
    check().of_kind(Kind::Usage)
}

fn converted(path: &Path, name: String, args: &VaeArgs, ui: &Ui) -> Result<ModelFolder> {
    let checkpoint = checkpoint::open(&[path.to_owned()], &args.checkpoint, false, ui)?;
    cached(&checkpoint, &name, args.precision, ui)
}

/// A conversion that is kept under the hash of the weights and whatever else its bytes depend on.
fn cached(checkpoint: &Checkpoint, name: &str, precision: Option<PrecisionArg>, ui: &Ui) -> Result<ModelFolder> {
    let precision = precision.map_or(Precision::Fp32, Precision::from);
    let conversion = Conversion { checkpoint, name: Some(name.to_owned()), precision, verify: false };
    let folder = cache()?.join(conversion.key()?);
    if let Ok(cached) = ModelFolder::open(&folder) {
        return Ok(cached);
    }
    ui.note(format_args!("converting {name} once, into {}", folder.display()));
    convert(&conversion, &folder, ui)?;
    ModelFolder::open(&folder).of_kind(Kind::BadInput)
}

/// Where conversions are kept: `VAEKIT_CACHE`, else a folder of the system's for caches.
fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("VAEKIT_CACHE") {
        return Ok(cache.into());
    }
    let Ok(user) = etcetera::choose_base_strategy() else {
        bail!("this system has no folder for caches; set VAEKIT_CACHE to one")
    };
    Ok(user.cache_dir().join("vaekit").join("converted"))
}
