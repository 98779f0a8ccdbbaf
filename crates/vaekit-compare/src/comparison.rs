//! What was compared, and every number that came out.

use serde::Serialize;
use vaekit::{KnownScaling, LatentSpace};

use crate::latents::{LatentStatistics, Suspicion, suspicion};
use crate::regions::{Reason, Region, regions};
use crate::score::{Decoded, Original, Score};

/// One of the things compared: a VAE on an engine at a precision.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// What people call it here; no two are the same.
    pub label: String,
    /// The VAE's name.
    pub vae: String,
    /// Its class.
    pub family: String,
    /// Size of its two models.
    pub model_bytes: u64,
    /// What ran, with its version.
    pub engine: String,
    /// What the graphs compute in.
    pub precision: Option<String>,
    /// The tiles that were asked for, which make a picture another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiles: Option<String>,
    /// The hash of the weights: two variants that share it, and their tiles, must come out equal.
    pub weights_sha256: Option<String>,
    /// Its latents.
    pub latents: LatentSpace,
    /// Where the scaling was learned from.
    pub scaling_source: Option<String>,
    /// Seconds to load both halves, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_seconds: Option<f64>,
    /// The most memory that the whole program held while this variant was open and ran, where the system tells.
    pub peak_memory_bytes: Option<u64>,
}

/// A picture that went through every variant.
#[derive(Clone, Debug, Serialize)]
pub struct Picture {
    /// Its name, unlike all others here.
    pub name: String,
    /// Where it was read from.
    pub path: String,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// Why its regions were chosen.
    pub regions_for: Reason,
    /// Where to look.
    pub regions: Vec<Region>,
    /// What came out of each variant, in their order.
    pub trips: Vec<Trip>,
    /// How alike the pictures of two variants are, for each pair in the order of [`pairs`].
    pub agreement: Vec<Agreement>,
}

/// What a picture's way through one variant took, and its latents.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Its latents.
    pub latents: LatentStatistics,
    /// Seconds to encode.
    pub encode_seconds: f64,
    /// Seconds to decode.
    pub decode_seconds: f64,
}

/// One picture through one variant and back.
#[derive(Clone, Debug, Serialize)]
pub struct Trip {
    /// How like the original the picture is.
    #[serde(flatten)]
    pub score: Score,
    /// Its latents.
    pub latents: LatentStatistics,
    /// Seconds to encode.
    pub encode_seconds: f64,
    /// Seconds to decode.
    pub decode_seconds: f64,
}

/// How alike the pictures of two variants are, in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// In dB; absent where every sample is equal.
    pub psnr: Option<f64>,
    /// The largest difference, of 255.
    pub largest_step: u8,
    /// The share of samples that are equal.
    pub equal: f64,
}

impl Agreement {
    /// Of two pictures of one size.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn new(a: &Decoded, b: &Decoded) -> Self {
        let psnr = vaekit::metrics::psnr(a.images.image(0), b.images.image(0));
        let steps = a.images.data.iter().zip(&b.images.data).map(|(a, b)| ((a - b).abs() * 127.5).round() as u8);
        let (largest_step, equal) =
            steps.fold((0, 0), |(most, equal), step| (most.max(step), equal + usize::from(step == 0)));
        Agreement {
            psnr: psnr.is_finite().then_some(psnr),
            largest_step,
            equal: equal as f64 / a.images.data.len() as f64,
        }
    }

    /// What design and tests of vaekit ask of the same weights on other engines or in fp16.
    pub fn is_close(&self) -> bool {
        self.psnr.is_none_or(|psnr| psnr >= CLOSE)
    }
}

/// PSNR in dB from which two pictures are the same for a person.
pub const CLOSE: f64 = 50.0;

/// The pairs of `n` variants: (0, 1), (0, 2) ... (1, 2) ...
pub fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What was compared.
    pub variants: Vec<Variant>,
    /// On which pictures, with the numbers.
    pub pictures: Vec<Picture>,
}

/// `wanted`, with a number after it where another variant is called so already.
pub fn label(wanted: &str, others: &[&str]) -> String {
    let numbered = (2..).map(|n| format!("{wanted} ({n})"));
    let mut labels = std::iter::once(wanted.to_owned()).chain(numbered);
    labels.find(|label| !others.contains(&label.as_str())).expect("there are more numbers than variants")
}

impl Comparison {
    /// The label of a variant, in quotation marks.
    pub(crate) fn quoted(&self, variant: usize) -> String {
        format!("“{}”", self.variants[variant].label)
    }

    /// The trips of one variant, one a picture.
    pub fn trips(&self, variant: usize) -> impl Iterator<Item = &Trip> + Clone {
        self.pictures.iter().map(move |picture| &picture.trips[variant])
    }

    /// The latents of one variant, over all pictures.
    pub fn latents(&self, variant: usize) -> LatentStatistics {
        LatentStatistics::pooled(self.trips(variant).map(|trip| &trip.latents))
    }

    /// Whether a variant's scaling may be another VAE's.
    pub fn suspicion(&self, variant: usize, known: &[KnownScaling]) -> Option<Suspicion> {
        suspicion(&self.latents(variant), &self.variants[variant].latents, known)
    }

    /// How alike two variants are over all pictures: the mean squared errors together, the largest step of all.
    pub fn agreement(&self, a: usize, b: usize) -> Agreement {
        let index = pairs(self.variants.len()).position(|pair| pair == (a.min(b), a.max(b)));
        let of_pair = || self.pictures.iter().filter_map(|picture| Some((picture, picture.agreement.get(index?)?)));
        let total: f64 = of_pair().map(|(picture, _)| picture.pixels()).sum();
        let mean =
            |of: &dyn Fn(&Agreement) -> f64| of_pair().map(|(p, found)| p.pixels() * of(found)).sum::<f64>() / total;
        let error = mean(&|found| found.psnr.map_or(0.0, |psnr| 10f64.powf(-psnr / 10.0)));
        Agreement {
            psnr: (error > 0.0).then(|| -10.0 * error.log10()),
            largest_step: of_pair().map(|(_, found)| found.largest_step).max().unwrap_or(0),
            equal: mean(&|found| found.equal),
        }
    }

    /// Seconds to encode and decode a megapixel, over all pictures.
    pub fn seconds_per_megapixel(&self, variant: usize) -> f64 {
        let seconds: f64 = self.trips(variant).map(Trip::seconds).sum();
        seconds / self.pictures.iter().map(Picture::pixels).sum::<f64>() * 1e6
    }
}

impl Trip {
    /// Seconds to encode and decode.
    pub fn seconds(&self) -> f64 {
        self.encode_seconds + self.decode_seconds
    }
}

impl Picture {
    /// What came of a picture: one decoded picture and one passage for each variant, in their order.
    pub fn new(name: String, path: String, original: &Original, decoded: &[Decoded], passages: Vec<Passage>) -> Self {
        let (height, width) = original.size();
        let (regions_for, regions) = regions(original, decoded);
        let trip = |(decoded, passage): (&Decoded, Passage)| Trip {
            score: decoded.score.clone(),
            latents: passage.latents,
            encode_seconds: passage.encode_seconds,
            decode_seconds: passage.decode_seconds,
        };
        Picture {
            name,
            path,
            width,
            height,
            regions_for,
            regions,
            trips: decoded.iter().zip(passages).map(trip).collect(),
            agreement: pairs(decoded.len()).map(|(a, b)| Agreement::new(&decoded[a], &decoded[b])).collect(),
        }
    }

    /// Pixels.
    pub(crate) fn pixels(&self) -> f64 {
        (self.width * self.height) as f64
    }
}
