//! `vaekit roundtrip`: a picture to latents and back, and how alike the two are.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use vaekit::{Half, Images, Posterior, block_on, metrics};
use vaekit_latents::Provenance;

use crate::args::RoundtripArgs;
use crate::outputs::{self, Run};
use crate::ui::{Stages, Ui};
use crate::watch::Watch;
use crate::{engine, locate, picture};

/// How alike a picture and its decoding are.
#[derive(Debug, Serialize)]
pub struct RoundtripReport {
    /// What ran.
    #[serde(flatten)]
    pub run: Run,
    /// The picture.
    pub image: PathBuf,
    /// The PNG written.
    pub output: PathBuf,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `[1, C, h, w]`.
    pub latents: Vec<usize>,
    /// Peak signal-to-noise ratio in dB, of pixels as written; absent where the two are equal.
    pub psnr: Option<f64>,
    /// Structural similarity; absent for pictures with a side below 11 pixels.
    pub ssim: Option<f64>,
    /// Divergence of the posterior from the standard normal in nats, where there is a posterior.
    pub kl: Option<f64>,
}

/// A round trip, with the pictures themselves.
pub struct Roundtrip {
    /// How alike the pictures are.
    pub report: RoundtripReport,
    /// The picture as read.
    pub original: Images,
    /// What the encoder made of it.
    pub posterior: Posterior,
    /// The picture as decoded, cropped to the original's size, rounded to the pixels that were written.
    pub decoded: Images,
}

/// Encodes a picture to the posterior's mean, decodes it, and writes it with the original's alpha and colour profile.
///
/// # Errors
/// Of the kinds of [`crate::failure::Kind`].
pub fn run(args: &RoundtripArgs, ui: &Ui) -> Result<RoundtripReport> {
    Ok(roundtrip(args, ui)?.report)
}

/// As [`run`], and gives the pictures too.
///
/// # Errors
/// As [`run`].
pub fn roundtrip(args: &RoundtripArgs, ui: &Ui) -> Result<Roundtrip> {
    let output = outputs::paths(std::slice::from_ref(&args.image), &args.output, &["png"])?.remove(0);
    let mut seconds = Stages::default();
    let picture = seconds.time("read", || picture::read(&args.image))?;
    let original = picture.images;
    let folder = seconds.time("convert", || locate::locate(&args.vae, ui))?;
    let mut opened = seconds.time("open", || engine::open(&folder, &Half::BOTH, &args.vae.engine, ui))?;

    let tiles = args.vae.engine.tiles;
    let mut watch = Watch::new("encoding", ui);
    let posterior = seconds.time("encode", || block_on(opened.vae.encode_with(&original, &mut watch)))?;
    let encoded_in = watch.finish(tiles, ui);
    let latents = posterior.mode();
    let shape = latents.data.shape().to_vec();
    let mut watch = Watch::new("decoding", ui);
    let decoded = seconds.time("decode", || block_on(opened.vae.decode_with(latents, &mut watch)))?;
    let tiles = watch.finish(tiles, ui).or(encoded_in);

    let (height, width) = original.size();
    let decoded = decoded.cropped(height, width);
    let provenance = outputs::provenance(&folder, &opened.report.engine, &original, tiles.as_ref());
    let text = [(Provenance::KEY, provenance.to_json())];
    seconds.time("write", || picture::write_png(&output, &decoded, 0, &picture.extras, &text))?;

    let decoded = Images::from_rgb(width, height, &decoded.to_rgb::<u8>(0)?)?;
    let psnr = metrics::psnr(original.image(0), decoded.image(0));
    let report = RoundtripReport {
        image: args.image.clone(),
        output,
        width,
        height,
        latents: shape,
        psnr: psnr.is_finite().then_some(psnr),
        ssim: metrics::ssim(original.image(0), decoded.image(0)),
        kl: posterior.kl().map(|kl| kl[0]),
        run: Run::new(&folder, opened.report, tiles, seconds),
    };
    Ok(Roundtrip { report, original, posterior, decoded })
}

impl std::fmt::Display for RoundtripReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (image, output) = (self.image.display(), self.output.display());
        writeln!(f, "{image} -> {output}: {} by {}, latents {:?}", self.width, self.height, self.latents)?;
        match self.psnr {
            Some(psnr) => write!(f, "PSNR    {psnr:.2} dB")?,
            None => write!(f, "PSNR    infinite: every pixel is the same")?,
        }
        match self.ssim {
            Some(ssim) => writeln!(f, ", SSIM {ssim:.4}")?,
            None => writeln!(f)?,
        }
        self.run.fmt(f)
    }
}
