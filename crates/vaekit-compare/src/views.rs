//! What the report shows of a picture: reduced where it is large, regions as they are.

use ndarray::{Array4, s};
use vaekit::Images;

use crate::heat;
use crate::html::{Crop, Encoded, Views};
use crate::regions::Region;
use crate::score::{Decoded, Original};

/// How large a picture is shown in the report. Its regions are always shown pixel by pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// As it is, unless it is a large one.
    Large,
    /// Small enough for many in one report.
    Small,
}

/// Bytes of embedded pictures after which further ones are shown small: about six photographs through three VAEs.
const LARGE_BYTES: usize = 96_000_000;
/// Bytes after which further ones are not shown. As base64 they take a third more.
const ALL_BYTES: usize = 160_000_000;

impl Shown {
    /// The next picture of a report that holds so many bytes of pictures already; `None` if that is all that a browser opens
    /// with ease.
    pub fn after(bytes: usize) -> Option<Self> {
        match bytes {
            ..LARGE_BYTES => Some(Shown::Large),
            LARGE_BYTES..ALL_BYTES => Some(Shown::Small),
            _ => None,
        }
    }

    /// Longest side of a picture that is shown whole and not reduced.
    fn max_side(self) -> usize {
        match self {
            Shown::Large => 1600,
            Shown::Small => 400,
        }
    }

    /// The same for a map of differences, which has nothing fine to see.
    fn max_heat_side(self) -> usize {
        match self {
            Shown::Large => 640,
            Shown::Small => 400,
        }
    }
}

/// What colours an image holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// The picture's own, to be shown with its colour profile.
    Picture,
    /// sRGB.
    Map,
}

/// Prepares a picture's views; `encode` makes a file of an image `[1, 3, H, W]` in [-1, 1].
///
/// # Errors
/// What `encode` returns.
pub fn views<E>(
    original: &Original,
    decoded: &[Decoded],
    regions: &[Region],
    shown: Shown,
    encode: impl Fn(&Images, Colours) -> Result<Encoded, E>,
) -> Result<Views, E> {
    let reduced = factor(original.size(), shown.max_side());
    let whole = |images: &Images| encode(&reduce(images, reduced), Colours::Picture);
    let heat = |decoded| {
        let map = heat::map(original, decoded);
        encode(&reduce(&map, factor(original.size(), shown.max_heat_side())), Colours::Map)
    };
    let crop = |region: &Region| {
        let cut = |images: &Images| encode(&cut(images, region), Colours::Picture);
        let decoded = decoded.iter().map(|decoded| cut(decoded.images())).collect::<Result<_, E>>()?;
        Ok(Crop { original: cut(original.images())?, decoded })
    };
    Ok(Views {
        shown,
        reduced,
        original: whole(original.images())?,
        decoded: decoded.iter().map(|decoded| whole(decoded.images())).collect::<Result<_, E>>()?,
        heat: decoded.iter().map(heat).collect::<Result<_, E>>()?,
        crops: regions.iter().map(crop).collect::<Result<_, E>>()?,
    })
}

/// The whole number to divide by so that the longer side is at most `max`; no more than the shorter side has.
fn factor((height, width): (usize, usize), max: usize) -> usize {
    height.max(width).div_ceil(max).clamp(1, height.min(width).max(1))
}

/// Means of squares of pixels; what is left over at the right and the bottom is cut off.
fn reduce(images: &Images, factor: usize) -> Images {
    let (height, width) = images.size();
    if factor == 1 {
        return images.clone();
    }
    let data = Array4::from_shape_fn((1, 3, height / factor, width / factor), |(_, c, y, x)| {
        let (y, x) = (y * factor, x * factor);
        images.data.slice(s![0, c, y..y + factor, x..x + factor]).mean().unwrap_or(0.0)
    });
    Images { data }
}

fn cut(images: &Images, region: &Region) -> Images {
    let Region { x, y, width, height } = *region;
    Images { data: images.data.slice(s![.., .., y..y + height, x..x + width]).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_does_not_grow_without_end() {
        // Six photographs of 4 MB through three VAEs, with maps and regions.
        let (mut bytes, mut large, mut small) = (0, 0, 0);
        while let Some(shown) = Shown::after(bytes) {
            (bytes, large, small) = match shown {
                Shown::Large => (bytes + 17_000_000, large + 1, small),
                Shown::Small => (bytes + 1_400_000, large, small + 1),
            };
        }
        assert_eq!((large, small), (6, 42));
        assert!(bytes < 170_000_000);
    }

    #[test]
    fn large_pictures_are_reduced_evenly() {
        assert_eq!(factor((1600, 20), 1600), 1);
        assert_eq!(factor((1601, 900), 1600), 2);
        assert_eq!(factor((9000, 1), 1600), 1);
        let images = Images { data: Array4::from_shape_fn((1, 3, 5, 4), |(_, _, y, x)| (y * 4 + x) as f32) };
        let reduced = reduce(&images, 2);
        assert_eq!(reduced.size(), (2, 2));
        assert_eq!(reduced.data[(0, 0, 0, 0)], (0.0 + 1.0 + 4.0 + 5.0) / 4.0);
    }
}
