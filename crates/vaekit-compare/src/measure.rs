//! The measures, one line each: what they are called, which way is better, what they cannot tell.

use crate::comparison::{Comparison, Trip};

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// Nearer to this.
    Near(f64),
}

/// A number that says how like its original a picture is.
pub struct Measure {
    /// Its name in JSON and CSV.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// After the number.
    pub unit: &'static str,
    /// Which way is better.
    pub better: Better,
    /// The least difference that may count: what is smaller, nobody sees or the measure does not mean.
    pub least: f64,
    /// Digits after the point.
    pub digits: usize,
    /// Factor from the number to what people read (100 for a share in percent).
    pub shown_times: f64,
    /// What it says, and what it does not.
    pub about: &'static str,
    /// Whether the summary shows it; the report's other parts show all.
    pub in_summary: bool,
    /// The number; absent where the picture does not give it.
    pub of: fn(&Trip) -> Option<f64>,
}

/// The measure that the verdict follows.
pub const PRIMARY: &Measure = &MEASURES[0];

/// All measures, the most telling first.
pub static MEASURES: &[Measure] = &[
    Measure {
        key: "ssimulacra2",
        name: "SSIMULACRA2",
        unit: "",
        better: Better::Higher,
        least: 0.5,
        digits: 1,
        shown_times: 1.0,
        about: "How alike people would find the two: 90 hardly to be told apart, 70 good, 50 fair, below 0 bad. It was fitted to \
                what people say of compressed photographs at normal size. It knows nothing of faces or text, and takes invented \
                texture for an error even where it looks right.",
        in_summary: true,
        of: |trip| Some(trip.score.ssimulacra2),
    },
    Measure {
        key: "ms_ssim",
        name: "MS-SSIM",
        unit: "",
        better: Better::Higher,
        least: 0.001,
        digits: 4,
        shown_times: 1.0,
        about: "Likeness of structure at five scales, 1 where equal. Colour counts as little more than brightness. Needs 176 \
                pixels a side.",
        in_summary: true,
        of: |trip| trip.score.ms_ssim,
    },
    Measure {
        key: "ssim",
        name: "SSIM",
        unit: "",
        better: Better::Higher,
        least: 0.002,
        digits: 4,
        shown_times: 1.0,
        about: "Likeness of structure at the finest scale, 1 where equal. Noise and grain weigh more than people would weigh them.",
        in_summary: false,
        of: |trip| trip.score.ssim,
    },
    Measure {
        key: "psnr",
        name: "PSNR",
        unit: " dB",
        better: Better::Higher,
        least: 0.1,
        digits: 2,
        shown_times: 1.0,
        about: "The mean squared error, in decibels. It prefers soft to wrong: a blurred picture can score well.",
        in_summary: true,
        of: |trip| trip.score.psnr,
    },
    Measure {
        key: "delta_e_mean",
        name: "Colour error",
        unit: "",
        better: Better::Lower,
        least: 0.1,
        digits: 2,
        shown_times: 1.0,
        about: "CIEDE2000, mean over the pixels: 1 is about the least that is seen in flat areas. Takes every picture for sRGB.",
        in_summary: true,
        of: |trip| Some(trip.score.colour.delta_e_mean),
    },
    Measure {
        key: "delta_e_p95",
        name: "Colour error, worst 5 %",
        unit: "",
        better: Better::Lower,
        least: 0.3,
        digits: 2,
        shown_times: 1.0,
        about: "CIEDE2000 that 95 % of the pixels stay below.",
        in_summary: false,
        of: |trip| Some(trip.score.colour.delta_e_p95),
    },
    Measure {
        key: "saturation",
        name: "Saturation",
        unit: " %",
        better: Better::Near(1.0),
        least: 0.01,
        digits: 1,
        shown_times: 100.0,
        about: "Mean chroma against the original's: above 100 % more vivid, below washed out.",
        in_summary: true,
        of: |trip| trip.score.colour.saturation,
    },
    Measure {
        key: "detail_kept",
        name: "Detail kept",
        unit: " %",
        better: Better::Higher,
        least: 0.01,
        digits: 1,
        shown_times: 100.0,
        about: "The share of the original's structures below about 5 pixels that came back in their place: lashes, letters, grain.",
        in_summary: true,
        of: |trip| trip.score.detail.detail_kept,
    },
    Measure {
        key: "high_frequency_energy",
        name: "High frequencies",
        unit: " %",
        better: Better::Near(1.0),
        least: 0.02,
        digits: 1,
        shown_times: 100.0,
        about: "Energy of the same structures against the original's. Much more than the detail kept means invented texture; less \
                than 100 % looks soft.",
        in_summary: true,
        of: |trip| trip.score.detail.high_frequency_energy,
    },
    Measure {
        key: "sharpness",
        name: "Sharpness",
        unit: " %",
        better: Better::Near(1.0),
        least: 0.01,
        digits: 1,
        shown_times: 100.0,
        about: "Mean gradient of the brightness against the original's.",
        in_summary: false,
        of: |trip| trip.score.detail.sharpness,
    },
];

impl Measure {
    /// The measure with this key.
    ///
    /// # Panics
    /// If there is none.
    pub fn by_key(key: &str) -> &'static Measure {
        MEASURES.iter().find(|measure| measure.key == key).expect("keys are written in the source")
    }

    /// The same number, made so that more is better.
    pub fn goodness(&self, value: f64) -> f64 {
        match self.better {
            Better::Higher => value,
            Better::Lower => -value,
            Better::Near(target) => -(value - target).abs(),
        }
    }

    /// As people read it.
    pub fn show(&self, value: f64) -> String {
        format!("{:.*}{}", self.digits, value * self.shown_times, self.unit)
    }

    /// The mean over all pictures that give the number; absent where none does.
    pub fn mean(&self, comparison: &Comparison, variant: usize) -> Option<f64> {
        let values: Vec<f64> = comparison.trips(variant).filter_map(self.of).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// How much better `a` is than `b`, on each picture that gives both numbers.
    pub fn paired(&self, comparison: &Comparison, a: usize, b: usize) -> Vec<f64> {
        let goodness = |trip| (self.of)(trip).map(|value| self.goodness(value));
        let pairs = comparison.trips(a).zip(comparison.trips(b));
        pairs.filter_map(|(a, b)| Some(goodness(a)? - goodness(b)?)).collect()
    }
}
