//! Picture files to images and back: PNG, JPEG, WebP and TIFF in, PNG out.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use vaekit::{Images, Sample};

use crate::failure::{Kind, OfKind};
use crate::files;

/// Longest side that is read; a VAE's memory for more would not fit any machine.
const MAX_SIDE: u32 = 1 << 16;
/// Most pixels that are read, at 12 bytes each: some eight times the largest that cameras make.
const MAX_PIXELS: u64 = 1 << 30;
/// Most memory that decoding one file may take.
const MAX_BYTES: u64 = 4 << 30;

/// A picture as read: turned upright by its EXIF orientation, grey spread over RGB.
pub struct Picture {
    /// One image, `[1, 3, H, W]` in [-1, 1].
    pub images: Images,
    /// What it has beside its colours.
    pub extras: Extras,
}

/// What a picture has beside its colours, put back on the picture that comes out.
#[derive(Clone, Default)]
pub struct Extras {
    /// Alpha, row by row, 16 bit; absent where the picture has no such channel.
    pub alpha: Option<Vec<u16>>,
    /// The picture has 16 bits a sample.
    pub sixteen_bit: bool,
    /// An ICC profile for RGB. Without it a wide-gamut photograph would come back washed out.
    pub icc_profile: Option<Vec<u8>>,
}

/// Reads a picture, whose format is told by its content.
///
/// # Errors
/// [`Kind::BadInput`] with the path and the reason.
pub fn read(path: &Path) -> Result<Picture> {
    decode(path).with_context(|| format!("cannot read the picture {}", path.display())).of_kind(Kind::BadInput)
}

fn decode(path: &Path) -> Result<Picture> {
    let mut reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    ensure!(reader.format().is_some(), "it is none of PNG, JPEG, WebP, TIFF");
    let mut decoder = reader.into_decoder()?;
    // Before anything of its size is allocated: a small file may say that it is a huge picture.
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    ensure!(pixels <= MAX_PIXELS, "{width} by {height} are more pixels than the {MAX_PIXELS} that are read");
    limits.reserve(decoder.total_bytes())?;
    // A broken EXIF block is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let icc_profile = decoder.icc_profile().unwrap_or(None).filter(|profile| is_rgb_profile(profile));
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    ensure!(image.width() > 0 && image.height() > 0, "it holds no pixels");

    let color = image.color();
    let sixteen_bit = color.bytes_per_pixel() / color.channel_count() > 1;
    let alpha = color.has_alpha().then(|| image.to_luma_alpha16().pixels().map(|pixel| pixel.0[1]).collect());
    let (width, height) = (image.width() as usize, image.height() as usize);
    let images = if sixteen_bit {
        Images::from_rgb(width, height, image.into_rgb16().as_raw())?
    } else {
        Images::from_rgb(width, height, image.into_rgb8().as_raw())?
    };
    Ok(Picture { images, extras: Extras { alpha, sixteen_bit, icc_profile } })
}

/// The profile's data colour space (ICC.1:2022, 7.2.8) is RGB; a CMYK or grey profile does not fit what is written.
fn is_rgb_profile(profile: &[u8]) -> bool {
    profile.get(16..20) == Some(b"RGB ")
}

/// Writes image `index` as PNG with text chunks, under its name only when it is whole.
///
/// # Errors
/// If the image holds values that are no numbers, or the file cannot be written.
pub fn write_png(path: &Path, images: &Images, index: usize, extras: &Extras, text: &[(&str, String)]) -> Result<()> {
    let bytes = encode_png(images, index, extras, text)?;
    files::write_atomically(path, &bytes)
}

/// As [`write_png`], but into memory.
///
/// # Errors
/// If the image holds values that are no numbers.
pub fn encode_png(images: &Images, index: usize, extras: &Extras, text: &[(&str, String)]) -> Result<Vec<u8>> {
    let (height, width) = images.size();
    let mut info = png::Info::with_size(u32::try_from(width)?, u32::try_from(height)?);
    info.color_type = if extras.alpha.is_some() { png::ColorType::Rgba } else { png::ColorType::Rgb };
    info.bit_depth = if extras.sixteen_bit { png::BitDepth::Sixteen } else { png::BitDepth::Eight };
    info.icc_profile = extras.icc_profile.as_deref().map(Cow::Borrowed);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::with_info(&mut bytes, info)?;
    encoder.set_compression(png::Compression::Fast);
    for (keyword, value) in text {
        encoder.add_itxt_chunk((*keyword).to_owned(), value.clone())?;
    }
    let mut writer = encoder.write_header()?;
    let samples = if extras.sixteen_bit {
        let samples = with_alpha(images.to_rgb::<u16>(index)?, extras.alpha.as_deref(), |alpha| alpha);
        samples.into_iter().flat_map(u16::to_be_bytes).collect()
    } else {
        with_alpha(images.to_rgb::<u8>(index)?, extras.alpha.as_deref(), |alpha| (alpha / 257) as u8)
    };
    writer.write_image_data(&samples)?;
    writer.finish()?;
    Ok(bytes)
}

fn with_alpha<T: Sample>(rgb: Vec<T>, alpha: Option<&[u16]>, narrow: impl Fn(u16) -> T) -> Vec<T> {
    match alpha {
        None => rgb,
        Some(alpha) => {
            rgb.chunks_exact(3).zip(alpha).flat_map(|(rgb, &alpha)| [rgb[0], rgb[1], rgb[2], narrow(alpha)]).collect()
        }
    }
}
