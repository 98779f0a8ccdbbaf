//! `vaekit encode`: pictures to latents.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use vaekit::{Domain, Half, Images, Latents, Posterior, block_on};
use vaekit_latents::{Format, Precision, Provenance};

use crate::args::{EncodeArgs, ResizeArg};
use crate::failure::{Kind, OfKind};
use crate::outputs::{self, Run};
use crate::ui::{Stages, Ui};
use crate::watch::Watch;
use crate::{engine, files, locate, picture};

/// What was encoded.
#[derive(Debug, Serialize)]
pub struct EncodeReport {
    /// What ran.
    #[serde(flatten)]
    pub run: Run,
    /// Each picture's latents.
    pub files: Vec<Encoded>,
}

/// One picture's latents.
#[derive(Debug, Serialize)]
pub struct Encoded {
    /// The picture.
    pub image: PathBuf,
    /// The file written.
    pub latents: PathBuf,
    /// `[1, C, h, w]`.
    pub shape: Vec<usize>,
    /// Raw or scaled.
    pub domain: Domain,
    /// Divergence of the posterior from the standard normal in nats, where there is a posterior.
    pub kl: Option<f64>,
}

/// A picture on its way through.
struct Item<'a> {
    index: usize,
    image: &'a Path,
    output: &'a Path,
    images: Images,
    reading: Duration,
}

/// Encodes pictures. Neighbours of one size go through the encoder together, `--batch` at most.
///
/// # Errors
/// Of the kinds of [`Kind`].
pub fn run(args: &EncodeArgs, ui: &Ui) -> Result<EncodeReport> {
    let outputs = outputs::paths(&args.images, &args.output, &Format::ALL.map(Format::extension))?;
    let mut seconds = Stages::default();
    let folder = seconds.time("convert", || locate::locate(&args.vae, ui))?;
    let space = &folder.config().latents;
    let domain = args.latents.map_or(space.native, Domain::from);
    space.scaling_between(space.native, domain).of_kind(Kind::Usage)?;
    let mut opened = seconds.time("open", || engine::open(&folder, &[Half::Encoder], &args.vae.engine, ui))?;

    let (mut encoded, mut tiles) = (Vec::new(), None);
    let multiple = space.image_multiple();
    let inputs = args.images.iter().zip(&outputs).enumerate();
    let mut items =
        inputs.map(|(index, (image, output))| Item::read(index, image, output, args.resize, multiple)).peekable();
    while let Some(first) = items.next().transpose()? {
        let size = first.images.size();
        let mut batch = vec![first];
        while batch.len() < args.batch
            && let Some(item) = items.next_if(|item| item.as_ref().is_ok_and(|item| item.images.size() == size))
        {
            batch.push(item?);
        }
        let stacked = Images::batch(&batch.iter().map(|item| &item.images).collect::<Vec<_>>())?;
        let mut watch = Watch::batch("encoding", encoded.len(), batch.len(), args.images.len(), ui);
        let posteriors = seconds.time("encode", || block_on(opened.vae.encode_with(&stacked, &mut watch)))?;
        let cut = watch.finish(args.vae.engine.tiles, ui);
        for (position, item) in batch.iter().enumerate() {
            seconds.add("read", item.reading);
            let posterior = posteriors.image(position);
            let latents = space.to_domain(draw(&posterior, args, item.index), domain).of_kind(Kind::Usage)?;
            let provenance = Provenance {
                posterior: posterior.logvar().map(|_| drawn(args)),
                ..outputs::provenance(&folder, &opened.report.engine, &item.images, cut.as_ref())
            };
            seconds.time("write", || write(&latents, &provenance, item.output))?;
            encoded.push(Encoded {
                image: item.image.to_owned(),
                latents: item.output.to_owned(),
                shape: latents.data.shape().to_vec(),
                domain,
                kl: posterior.kl().map(|kl| kl[0]),
            });
        }
        tiles = cut.or(tiles);
    }
    Ok(EncodeReport { run: Run::new(&folder, opened.report, tiles, seconds), files: encoded })
}

impl<'a> Item<'a> {
    fn read(index: usize, image: &'a Path, output: &'a Path, resize: ResizeArg, multiple: usize) -> Result<Self> {
        let begin = Instant::now();
        let mut images = picture::read(image)?.images;
        if resize == ResizeArg::Crop {
            let (height, width) = images.size();
            let too_small =
                || format!("{}: {width} by {height} pixels are less than the VAE's {multiple}", image.display());
            images = images.center_cropped(multiple).with_context(too_small).of_kind(Kind::BadInput)?;
        }
        Ok(Item { index, image, output, images, reading: begin.elapsed() })
    }
}

/// The mean, or a draw whose noise depends on the seed and the picture's place in the call alone.
fn draw(posterior: &Posterior, args: &EncodeArgs, index: usize) -> Latents {
    if args.sample { posterior.draw(args.seed, index as u64) } else { posterior.mode() }
}

fn drawn(args: &EncodeArgs) -> vaekit_latents::Posterior {
    if args.sample { vaekit_latents::Posterior::Sample { seed: args.seed } } else { vaekit_latents::Posterior::Mode }
}

fn write(latents: &Latents, provenance: &Provenance, path: &Path) -> Result<()> {
    let name = path.to_string_lossy();
    let format = Format::from_file_name(&name).context("the endings were checked")?;
    let bytes = vaekit_latents::write(latents, Some(provenance), format, Precision::F32);
    let bytes = bytes.with_context(|| format!("cannot write {name}")).of_kind(Kind::Usage)?;
    files::write_atomically(path, &bytes)
}

impl std::fmt::Display for EncodeReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for file in &self.files {
            write!(f, "{} -> {}: {} {:?}", file.image.display(), file.latents.display(), file.domain, file.shape)?;
            match file.kl {
                Some(kl) => writeln!(f, ", KL {kl:.0} nats")?,
                None => writeln!(f)?,
            }
        }
        self.run.fmt(f)
    }
}
