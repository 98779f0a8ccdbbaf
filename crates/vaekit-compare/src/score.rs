//! One picture against its original: every measure at once.

use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Reference};
use serde::Serialize;
use vaekit::{ImageError, Images, metrics};

use crate::colour::{Colour, LabPixels, delta_e, lab};
use crate::detail::{Detail, Luma};

/// How like its original a picture is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// SSIMULACRA2: 100 equal, 90 hardly to be told apart, 70 good, 50 fair, below 0 bad.
    pub ssimulacra2: f64,
    /// Peak signal-to-noise ratio in dB; absent where every pixel is equal.
    pub psnr: Option<f64>,
    /// Structural similarity; absent for pictures with a side below 11 pixels.
    pub ssim: Option<f64>,
    /// Multi-scale structural similarity; absent for pictures with a side below 176 pixels.
    pub ms_ssim: Option<f64>,
    /// The colours.
    #[serde(flatten)]
    pub colour: Colour,
    /// The fine detail.
    #[serde(flatten)]
    pub detail: Detail,
}

/// A picture to be compared with, and what every comparison needs of it.
pub struct Original {
    pub(crate) images: Images,
    pub(crate) lab: LabPixels,
    luma: Luma,
    ssimulacra2: Ssimulacra2Reference,
}

/// A picture that went through a VAE and back.
pub struct Decoded {
    pub(crate) images: Images,
    pub(crate) lab: LabPixels,
    pub(crate) delta_e: Vec<f32>,
    /// How like its original it is.
    pub score: Score,
}

/// Why pictures cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// Values that are no numbers.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The two pictures have other sizes.
    #[error("the picture is {found:?} (height, width), its original {expected:?}")]
    Size {
        /// The picture's.
        found: (usize, usize),
        /// The original's.
        expected: (usize, usize),
    },
    /// SSIMULACRA2 refused, because the picture is too large.
    #[error("SSIMULACRA2: {0}")]
    Ssimulacra2(String),
}

impl Original {
    /// A picture, `[1, 3, H, W]` in [-1, 1]. Its values are taken for sRGB.
    ///
    /// # Errors
    /// [`ScoreError`] if it holds values that are no numbers, no pixels, or more than 16384 squared.
    ///
    /// # Panics
    /// If there is no image 0.
    pub fn new(images: Images) -> Result<Self, ScoreError> {
        let pixels = images.to_rgb::<u8>(0)?;
        let reference = slice(&pixels, images.size())?;
        let ssimulacra2 = Ssimulacra2Reference::new(&reference).map_err(refused)?;
        let (lab, luma) = (lab(images.image(0)), Luma::new(images.image(0)));
        Ok(Original { images, lab, luma, ssimulacra2 })
    }

    /// Compares a decoded picture, `[1, 3, H, W]` in [-1, 1], rounded to 8 bits as it would be written.
    ///
    /// # Errors
    /// [`ScoreError`] if the sizes differ or it holds values that are no numbers.
    pub fn compare(&self, decoded: &Images) -> Result<Decoded, ScoreError> {
        let (found, expected) = (decoded.size(), self.images.size());
        if found != expected {
            return Err(ScoreError::Size { found, expected });
        }
        let pixels = decoded.to_rgb::<u8>(0)?;
        let (height, width) = found;
        let images = Images::from_rgb(width, height, &pixels)?;
        let lab = lab(images.image(0));
        let delta_e = delta_e(&self.lab, &lab);
        let (before, after) = (self.images.image(0), images.image(0));
        let psnr = metrics::psnr(before, after);
        let score = Score {
            ssimulacra2: self.ssimulacra2.compare(&slice(&pixels, found)?).map_err(refused)?,
            psnr: psnr.is_finite().then_some(psnr),
            ssim: metrics::ssim(before, after),
            ms_ssim: metrics::ms_ssim(before, after),
            colour: Colour::new(&self.lab, &lab, &delta_e),
            detail: Detail::new(&self.luma, &Luma::new(after)),
        };
        Ok(Decoded { images, lab, delta_e, score })
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        self.images.size()
    }

    /// The picture itself.
    pub fn images(&self) -> &Images {
        &self.images
    }
}

impl Decoded {
    /// The picture, rounded to 8 bits.
    pub fn images(&self) -> &Images {
        &self.images
    }
}

fn slice(pixels: &[u8], (height, width): (usize, usize)) -> Result<PixelSlice<'_>, ScoreError> {
    let side = |side: usize| u32::try_from(side).map_err(refused);
    PixelSlice::new(pixels, side(width)?, side(height)?, 3 * width, PixelDescriptor::RGB8_SRGB).map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> ScoreError {
    ScoreError::Ssimulacra2(error.to_string())
}
