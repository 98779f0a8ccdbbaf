//! `vaekit decode`: latents to pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ndarray::{Axis, Slice, concatenate};
use serde::Serialize;
use vaekit::{Domain, Half, Images, Latents, block_on};
use vaekit_latents::{Format, ImageSize, LatentFile, Precision, Provenance, ReadOptions};
use vaekit_onnx::ModelFolder;

use crate::args::{ChoiceArgs, DecodeArgs};
use crate::failure::{Kind, OfKind};
use crate::made_by::{self, Found};
use crate::outputs::{self, Run};
use crate::picture::{self, Extras};
use crate::ui::{Stages, Ui};
use crate::watch::Watch;
use crate::{engine, files, locate};

/// What was decoded.
#[derive(Debug, Serialize)]
pub struct DecodeReport {
    /// What ran.
    #[serde(flatten)]
    pub run: Run,
    /// Why this VAE, where none was asked for.
    pub chosen: Option<String>,
    /// Each picture.
    pub files: Vec<Decoded>,
}

/// One picture.
#[derive(Debug, Serialize)]
pub struct Decoded {
    /// The file of latents.
    pub latents: PathBuf,
    /// The PNG written.
    pub image: PathBuf,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// What the latents were taken for.
    pub domain: Domain,
}

/// One latent on its way through.
struct Item<'a> {
    file: &'a Path,
    output: PathBuf,
    latents: Latents,
    provenance: Provenance,
}

/// Decodes latents. Neighbours of one shape go through the decoder together, `--batch` at most.
///
/// # Errors
/// Of the kinds of [`Kind`].
pub fn run(args: &DecodeArgs, ui: &Ui) -> Result<DecodeReport> {
    let outputs = outputs::paths(&args.files, &args.output, &["png"])?;
    let mut seconds = Stages::default();
    let read_all = || args.files.iter().map(|file| read(file, args)).collect::<Result<Vec<_>>>();
    let files = seconds.time("read", read_all)?;
    let (folder, reason) = seconds.time("convert", || vae(args, &files, ui))?;
    let mut items = Vec::new();
    for ((file, output), latents) in args.files.iter().zip(&outputs).zip(files) {
        items.extend(fit(file, output, latents, args, &folder, ui)?);
    }
    outputs::ensure_new(&args.files, &items.iter().map(|item| item.output.clone()).collect::<Vec<_>>())?;
    let mut opened = seconds.time("open", || engine::open(&folder, &[Half::Decoder], &args.vae.engine, ui))?;

    let (mut decoded, mut tiles) = (Vec::new(), None);
    let alike = |a: &Item<'_>, b: &Item<'_>| {
        a.latents.domain == b.latents.domain && a.latents.data.dim() == b.latents.data.dim()
    };
    for batch in items.chunk_by(alike).flat_map(|run| run.chunks(args.batch.max(1))) {
        let views: Vec<_> = batch.iter().map(|item| item.latents.data.view()).collect();
        let latents = Latents { data: concatenate(Axis(0), &views)?, domain: batch[0].latents.domain };
        let mut watch = Watch::batch("decoding", decoded.len(), batch.len(), items.len(), ui);
        let images = seconds.time("decode", || block_on(opened.vae.decode_with(latents, &mut watch)))?;
        let cut = watch.finish(args.vae.engine.tiles, ui);
        if let Some(path) = &args.dump {
            dump(&images, path, items.len())?;
        }
        for (position, item) in batch.iter().enumerate() {
            let image = Images { data: images.data.slice_axis(Axis(0), Slice::from(position..=position)).into_owned() };
            let image = cropped_back(image, &item.provenance, folder.config().latents.image_multiple());
            let made_by = outputs::provenance(&folder, &opened.report.engine, &image, cut.as_ref());
            let extras = Extras { sixteen_bit: args.sixteen_bit, ..Extras::default() };
            let text = [(Provenance::KEY, made_by.to_json())];
            seconds.time("write", || picture::write_png(&item.output, &image, 0, &extras, &text))?;
            let (height, width) = image.size();
            let (latents, image) = (item.file.to_owned(), item.output.clone());
            decoded.push(Decoded { latents, image, width, height, domain: item.latents.domain });
        }
        tiles = cut.or(tiles);
    }
    Ok(DecodeReport { run: Run::new(&folder, opened.report, tiles, seconds), chosen: reason, files: decoded })
}

fn read(file: &Path, args: &DecodeArgs) -> Result<LatentFile> {
    let read = || -> Result<LatentFile> {
        let bytes = fs::read(file)?;
        let options = ReadOptions {
            domain: args.latents.map(Domain::from),
            token_size: args.token_size,
            tensor: args.tensor.clone(),
        };
        Ok(vaekit_latents::read(&file.to_string_lossy(), &bytes, &options)?)
    };
    read().with_context(|| format!("cannot decode {}", file.display())).of_kind(Kind::BadInput)
}

/// The VAE that is asked for, else the one that made the latents, and why that one.
fn vae(args: &DecodeArgs, files: &[LatentFile], ui: &Ui) -> Result<(ModelFolder, Option<String>)> {
    let ChoiceArgs { vae, of, .. } = &args.vae.choice;
    if vae.is_some() || of.is_some() {
        return Ok((locate::locate(&args.vae, ui)?, None));
    }
    let of_files = args.files.iter().map(PathBuf::as_path).zip(files.iter().map(|file| file.provenance.as_ref()));
    let Found { folder, reason } = made_by::find(&of_files.collect::<Vec<_>>(), &args.vae, ui)?;
    ui.note(format_args!("decoding with `{}`: {reason}", locate::name(&folder)));
    Ok((folder, Some(reason)))
}

/// The latents of one file, one item each.
fn fit<'a>(
    file: &'a Path,
    output: &Path,
    found: LatentFile,
    args: &DecodeArgs,
    folder: &ModelFolder,
    ui: &Ui,
) -> Result<Vec<Item<'a>>> {
    let fit = || -> Result<Vec<Item<'a>>> {
        let provenance = found.provenance.clone().unwrap_or_default();
        if !args.force {
            check_fit(&provenance, folder)?;
        }
        if found.n_non_finite > 0 {
            ui.note(format_args!("{}: {} values are NaN or infinite", file.display(), found.n_non_finite));
        }
        let latents = found.into_latents()?;
        folder.config().latents.check(&latents)?;
        let n = latents.data.len_of(Axis(0));
        let item = |index: usize| Item {
            file,
            output: if n == 1 { output.to_owned() } else { numbered(output, index) },
            latents: Latents {
                data: latents.data.slice_axis(Axis(0), Slice::from(index..=index)).into_owned(),
                ..latents
            },
            provenance: provenance.clone(),
        };
        Ok((0..n).map(item).collect())
    };
    fit().with_context(|| format!("cannot decode {}", file.display())).of_kind(Kind::BadInput)
}

/// `NAME-3.png`
fn numbered(path: &Path, index: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{index}")).with_added_extension("png")
}

/// Refuses latents of a VAE whose latents are others: decoded all the same they would be washed out or noise.
fn check_fit(provenance: &Provenance, folder: &ModelFolder) -> Result<()> {
    let Some(made_by) = &provenance.vae else { return Ok(()) };
    let Some(theirs) = &made_by.latents else { return Ok(()) };
    let ours = &folder.config().latents;
    if let Some(reason) = theirs.misfit(ours) {
        bail!(
            "it was made by the VAE `{}` and does not fit `{}`: {reason}; decode it with --vae {}, or with --force all the same",
            made_by.name,
            locate::name(folder),
            made_by.name
        );
    }
    Ok(())
}

/// Takes off what encoding padded.
fn cropped_back(images: Images, provenance: &Provenance, multiple: usize) -> Images {
    match provenance.size_before_padding(images.size(), multiple) {
        Some(ImageSize { width, height }) => images.cropped(height, width),
        None => images,
    }
}

fn dump(images: &Images, path: &Path, n_items: usize) -> Result<()> {
    let write = || -> Result<()> {
        ensure!(
            n_items == images.n_images(),
            "--dump takes one file of latents, decoded in one run; raise --batch to {n_items}"
        );
        let is_npy = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        ensure!(is_npy, "{} does not end in .npy", path.display());
        Ok(())
    };
    write().of_kind(Kind::Usage)?;
    // The domain is of no account: a .npy has none.
    let values = Latents { data: images.data.clone(), domain: Domain::Raw };
    files::write_atomically(path, &vaekit_latents::write(&values, None, Format::Npy, Precision::F32)?)
}

impl std::fmt::Display for DecodeReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for file in &self.files {
            let Decoded { latents, image, width, height, domain } = file;
            writeln!(f, "{} ({domain}) -> {}: {width} by {height}", latents.display(), image.display())?;
        }
        self.run.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padding_is_cropped() {
        let crop = |width, height| {
            let images = Images { data: ndarray::Array4::zeros((1, 3, 16, 24)) };
            let provenance = Provenance { image_size: Some(ImageSize { width, height }), ..Provenance::default() };
            cropped_back(images, &provenance, 8).size()
        };
        assert_eq!(crop(17, 15), (15, 17));
        assert_eq!(crop(24, 16), (16, 24));
        assert_eq!(crop(3, 15), (16, 24));
        assert_eq!(crop(32, 16), (16, 24));
    }
}
