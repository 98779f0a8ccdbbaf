//! Pictures as a VAE sees them, and the way from and to 8 and 16 bit pixels.

use ndarray::{Array3, Array4, ArrayView3, Axis, concatenate, s};

/// Images `[N, 3, H, W]`, f32 RGB, nominally in [-1, 1] (a decoder may overshoot a little).
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// The values.
    pub data: Array4<f32>,
}

/// Why pixels are no images, or images no pixels.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ImageError {
    /// The buffer does not hold width * height RGB pixels.
    #[error("{found} values are not {width} by {height} RGB pixels, which take {expected}")]
    Length {
        /// Values in the buffer.
        found: usize,
        /// Values expected.
        expected: usize,
        /// Width.
        width: usize,
        /// Height.
        height: usize,
    },
    /// A batch holds images of one size.
    #[error("a batch holds images of one size, found {first:?} and {other:?} (height, width)")]
    Sizes {
        /// Size of the first image.
        first: (usize, usize),
        /// Another size.
        other: (usize, usize),
    },
    /// NaN or infinite values, which would be black or white spots.
    #[error("{count} of {total} values of the image are NaN or infinite; if the model is fp16, convert it as fp32")]
    NonFinite {
        /// Values that are not finite.
        count: usize,
        /// Values in all.
        total: usize,
    },
}

/// An integer sample of a pixel.
pub trait Sample: Copy + Default {
    /// The largest value.
    const MAX: f32;
    /// The value as f32.
    fn to_f32(self) -> f32;
    /// The nearest sample; saturates.
    fn from_f32(value: f32) -> Self;
}

impl Sample for u8 {
    const MAX: f32 = 255.0;
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn from_f32(value: f32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    const MAX: f32 = 65535.0;
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    fn from_f32(value: f32) -> Self {
        value as u16
    }
}

impl Images {
    /// One image `[1, 3, height, width]` from interleaved RGB samples, row by row; 0 becomes -1, the largest sample 1.
    ///
    /// # Errors
    /// [`ImageError::Length`] if `pixels` does not hold 3 * width * height samples.
    pub fn from_rgb<T: Sample>(width: usize, height: usize, pixels: &[T]) -> Result<Self, ImageError> {
        let expected = width.saturating_mul(height).saturating_mul(3);
        if pixels.len() != expected {
            return Err(ImageError::Length { found: pixels.len(), expected, width, height });
        }
        let mut data = Array4::zeros((1, 3, height, width));
        for (channel, mut plane) in data.index_axis_mut(Axis(0), 0).outer_iter_mut().enumerate() {
            for (to, from) in plane.iter_mut().zip(pixels[channel.min(pixels.len())..].iter().step_by(3)) {
                *to = from.to_f32() / T::MAX * 2.0 - 1.0;
            }
        }
        Ok(Images { data })
    }

    /// Image `index` as interleaved RGB samples, row by row: rounded to the nearest, clamped.
    ///
    /// # Errors
    /// [`ImageError::NonFinite`]: a NaN is never shown as a pixel.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn to_rgb<T: Sample>(&self, index: usize) -> Result<Vec<T>, ImageError> {
        let image = self.data.index_axis(Axis(0), index);
        let count = image.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            return Err(ImageError::NonFinite { count, total: image.len() });
        }
        let mut pixels = vec![T::default(); image.len()];
        for (channel, plane) in image.outer_iter().enumerate() {
            for (to, &from) in pixels.iter_mut().skip(channel).step_by(3).zip(plane) {
                *to = T::from_f32(((from * 0.5 + 0.5).clamp(0.0, 1.0) * T::MAX).round());
            }
        }
        Ok(pixels)
    }

    /// Images of one size as one batch.
    ///
    /// # Errors
    /// [`ImageError::Sizes`] if the sizes differ.
    ///
    /// # Panics
    /// If `images` is empty.
    pub fn batch(images: &[&Images]) -> Result<Self, ImageError> {
        let first = images[0].size();
        if let Some(other) = images.iter().map(|image| image.size()).find(|&size| size != first) {
            return Err(ImageError::Sizes { first, other });
        }
        let views: Vec<_> = images.iter().map(|images| images.data.view()).collect();
        Ok(Images { data: concatenate(Axis(0), &views).expect("the sizes were compared") })
    }

    /// Height and width.
    pub fn size(&self) -> (usize, usize) {
        let (_, _, height, width) = self.data.dim();
        (height, width)
    }

    /// N.
    pub fn n_images(&self) -> usize {
        self.data.len_of(Axis(0))
    }

    /// Whether both sides are multiples of `multiple`.
    pub fn is_aligned(&self, multiple: usize) -> bool {
        let (height, width) = self.size();
        height.is_multiple_of(multiple) && width.is_multiple_of(multiple)
    }

    /// The images with rows and columns added at the bottom and the right, up to the next multiple, by reflection.
    pub fn padded(&self, multiple: usize) -> Images {
        let (height, width) = self.size();
        let (tall, wide) = (height.next_multiple_of(multiple), width.next_multiple_of(multiple));
        let data = Array4::from_shape_fn((self.n_images(), 3, tall, wide), |(n, c, y, x)| {
            self.data[(n, c, reflected(y, height), reflected(x, width))]
        });
        Images { data }
    }

    /// The top left `height` by `width` of every image.
    ///
    /// # Panics
    /// If the images are smaller.
    pub fn cropped(self, height: usize, width: usize) -> Images {
        if self.size() == (height, width) {
            return self;
        }
        Images { data: self.data.slice(s![.., .., ..height, ..width]).to_owned() }
    }

    /// The middle of every image, both sides cut to multiples; an odd row or column more goes at the bottom and the right, as
    /// in ComfyUI. `None` if nothing would be left.
    pub fn center_cropped(&self, multiple: usize) -> Option<Images> {
        let (height, width) = self.size();
        let (tall, wide) = (height - height % multiple, width - width % multiple);
        let (top, left) = ((height - tall) / 2, (width - wide) / 2);
        let middle = s![.., .., top..top + tall, left..left + wide];
        (tall > 0 && wide > 0).then(|| Images { data: self.data.slice(middle).to_owned() })
    }

    /// One image, `[3, H, W]`.
    ///
    /// # Panics
    /// If there is no image `index`.
    pub fn image(&self, index: usize) -> ArrayView3<'_, f32> {
        self.data.index_axis(Axis(0), index)
    }
}

impl From<Array3<f32>> for Images {
    fn from(image: Array3<f32>) -> Self {
        Images { data: image.insert_axis(Axis(0)) }
    }
}

/// The index that `i` mirrors to in 0..n, the edge itself not repeated: `... 2 1 | 0 1 2 3 | 2 1 0 1 ...`.
fn reflected(i: usize, n: usize) -> usize {
    if n == 1 {
        return 0;
    }
    let folded = i % (2 * (n - 1));
    folded.min(2 * (n - 1) - folded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_sample_survives_the_way_there_and_back() {
        let all8: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v ^ 85]).collect();
        assert_eq!(Images::from_rgb(16, 16, &all8).unwrap().to_rgb::<u8>(0).unwrap(), all8);
        let all16: Vec<u16> = (0..=65535).flat_map(|v| [v, 65535 - v, v ^ 0x5555]).collect();
        assert_eq!(Images::from_rgb(256, 256, &all16).unwrap().to_rgb::<u16>(0).unwrap(), all16);
    }

    #[test]
    fn ends_of_the_range() {
        let image = Images::from_rgb(1, 1, &[0u8, 255, 0]).unwrap();
        assert_eq!(image.data.as_slice().unwrap(), [-1.0, 1.0, -1.0]);
        let wild = Images { data: ndarray::arr1(&[-7.0, 1.5, 0.0]).into_shape_with_order((1, 3, 1, 1)).unwrap() };
        assert_eq!(wild.to_rgb::<u8>(0).unwrap(), [0, 255, 128]);
    }

    #[test]
    fn a_nan_is_an_error_not_a_black_pixel() {
        let mut image = Images::from_rgb(2, 1, &[9u8; 6]).unwrap();
        image.data[(0, 1, 0, 0)] = f32::NAN;
        assert_eq!(image.to_rgb::<u8>(0), Err(ImageError::NonFinite { count: 1, total: 6 }));
    }

    #[test]
    fn a_short_buffer_is_an_error() {
        let error = Images::from_rgb(4, 3, &[0u8; 35]).unwrap_err();
        assert_eq!(error.to_string(), "35 values are not 4 by 3 RGB pixels, which take 36");
        assert!(Images::from_rgb(usize::MAX, 3, &[0u8; 35]).is_err());
        assert!(Images::from_rgb::<u8>(0, 3, &[]).is_ok());
    }

    #[test]
    fn reflection() {
        let mirrored: Vec<usize> = (0..9).map(|i| reflected(i, 4)).collect();
        assert_eq!(mirrored, [0, 1, 2, 3, 2, 1, 0, 1, 2]);
        assert!((0..9).all(|i| reflected(i, 1) == 0));
    }

    #[test]
    fn cropping_is_even() {
        let image = Images { data: Array4::from_shape_fn((1, 3, 19, 11), |(_, _, y, x)| (100 * y + x) as f32) };
        let cropped = image.center_cropped(8).unwrap();
        assert_eq!(cropped.size(), (16, 8));
        assert_eq!(cropped.data[(0, 0, 0, 0)], 101.0);
        assert_eq!(image.center_cropped(16), None);
    }

    proptest! {
        #[test]
        fn padding_is_undone_by_cropping(h in 1usize..20, w in 1usize..20, multiple in 1usize..33) {
            let image = Images { data: Array4::from_shape_fn((2, 3, h, w), |(n, c, y, x)| (n + c + 7 * y + 31 * x) as f32) };
            let padded = image.padded(multiple);
            prop_assert!(padded.is_aligned(multiple));
            prop_assert_eq!(padded.cropped(h, w), image);
        }
    }
}
