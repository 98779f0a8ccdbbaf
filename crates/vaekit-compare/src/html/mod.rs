//! The report as one HTML file that loads nothing.

mod page;
mod pictures;
mod plots;
mod tables;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

pub use page::render;

use crate::views::Shown;

/// A picture as a file's bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `image/png` ...
    pub mime: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Encoded {
    /// The picture as the address of an image that needs no file.
    fn data_uri(&self) -> String {
        let mut uri = format!("data:{};base64,", self.mime);
        BASE64_STANDARD.encode_string(&self.bytes, &mut uri);
        uri
    }
}

/// What is shown of one picture.
#[derive(Clone, Debug)]
pub struct Views {
    /// How large the picture is shown.
    pub shown: Shown,
    /// How many pixels of the picture, each way, became one of what is shown whole; 1 shows it as it is.
    pub reduced: usize,
    /// The picture.
    pub original: Encoded,
    /// What came out of each variant.
    pub decoded: Vec<Encoded>,
    /// Where each differs from the original.
    pub heat: Vec<Encoded>,
    /// The regions, pixel by pixel.
    pub crops: Vec<Crop>,
}

impl Views {
    /// Bytes of all files in it.
    pub fn bytes(&self) -> usize {
        let of_crops = self.crops.iter().flat_map(|crop| std::iter::once(&crop.original).chain(&crop.decoded));
        let all = std::iter::once(&self.original).chain(&self.decoded).chain(&self.heat).chain(of_crops);
        all.map(|encoded| encoded.bytes.len()).sum()
    }
}

/// What is shown of one region.
#[derive(Clone, Debug)]
pub struct Crop {
    /// Of the picture.
    pub original: Encoded,
    /// Of what came out of each variant.
    pub decoded: Vec<Encoded>,
}
