//! What a person would say of a variant's pictures.

use serde::Serialize;

use crate::colour::{self, Colour};
use crate::comparison::{Comparison, Trip};
use crate::measure::Measure;

/// A word for a variant's pictures, and the number behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// What comes after "the pictures are".
    pub word: String,
    /// What was measured.
    pub measured: String,
}

impl Remark {
    pub(crate) fn new(word: impl Into<String>, measured: impl Into<String>) -> Self {
        Remark { word: word.into(), measured: measured.into() }
    }
}

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.word, self.measured)
    }
}

/// High frequencies below which pictures look soft.
const SOFT: f64 = 0.85;
/// Energy of high frequencies that did not come from the original, over the original's, above which texture was made up: what
/// is left where half of the original came back in its place and all of its energy is there.
const INVENTED: f64 = 0.75;

/// Remarks on the mean over all pictures; empty where nothing is notable.
pub(crate) fn character(comparison: &Comparison, variant: usize) -> Vec<Remark> {
    let mut remarks = colour::remarks(&mean_colour(comparison, variant));
    let mean = |key: &str| Measure::by_key(key).mean(comparison, variant);
    if let (Some(energy), Some(kept)) = (mean("high_frequency_energy"), mean("detail_kept")) {
        // What a picture has beside its share of the original: |d - k o|^2 / |o|^2 for high frequencies d and o.
        let invented = energy - kept * kept;
        if energy < SOFT {
            remarks.push(Remark::new("soft", format!("high frequencies {:.0} %", energy * 100.0)));
        }
        if invented > INVENTED {
            let share = format!("{:.0} % of the original's energy", invented * 100.0);
            remarks.push(Remark::new("full of texture that is not the original's", share));
        }
    }
    remarks
}

fn mean_colour(comparison: &Comparison, variant: usize) -> Colour {
    let mean = |of: &dyn Fn(&Colour) -> Option<f64>| {
        let values: Vec<f64> = comparison.trips(variant).filter_map(|trip: &Trip| of(&trip.score.colour)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Colour {
        delta_e_mean: mean(&|colour| Some(colour.delta_e_mean)).unwrap_or(0.0),
        delta_e_p95: mean(&|colour| Some(colour.delta_e_p95)).unwrap_or(0.0),
        saturation: mean(&|colour| colour.saturation),
        contrast: mean(&|colour| colour.contrast),
        lightness: mean(&|colour| Some(colour.lightness)).unwrap_or(0.0),
        tint: [0, 1].map(|axis| mean(&|colour| Some(colour.tint[axis])).unwrap_or(0.0)),
        hue_shift: mean(&|colour| colour.hue_shift),
    }
}
