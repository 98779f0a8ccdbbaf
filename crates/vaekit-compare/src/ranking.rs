//! Who is ahead on a measure, and whether by more than noise.

use serde::Serialize;

use crate::comparison::Comparison;
use crate::measure::Measure;
use crate::statistics::{Paired, holm};

/// Chance of calling noise a lead, for each measure.
pub const ALPHA: f64 = 0.05;
/// Fewest pictures that can make a winner: two differences may be alike by chance.
pub(crate) const FEWEST: usize = 3;

/// Who is ahead on one measure.
#[derive(Clone, Debug, Serialize)]
pub struct Ranking {
    /// [`Measure::key`].
    pub measure: &'static str,
    /// The variant with the best mean.
    pub best: usize,
    /// The best against each other variant.
    pub leads: Vec<Lead>,
}

/// The best variant against another.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lead {
    /// The other.
    pub over: usize,
    /// How much better the best is, picture by picture.
    #[serde(flatten)]
    pub paired: Paired,
    /// The mean is large enough to matter.
    pub matters: bool,
    /// It matters, and is more than noise.
    pub holds: bool,
}

impl Ranking {
    /// `None` where no picture gives the number for every variant.
    pub fn new(comparison: &Comparison, measure: &Measure) -> Option<Self> {
        let n = comparison.variants.len();
        let mean = |a: usize, b: usize| Paired::new(&measure.paired(comparison, a, b)).mean;
        if (1..n).any(|variant| measure.paired(comparison, 0, variant).is_empty()) {
            return None;
        }
        let best = (0..n).max_by(|&a, &b| mean(a, 0).total_cmp(&mean(b, 0)).then(b.cmp(&a)))?;
        let others: Vec<usize> = (0..n).filter(|&variant| variant != best).collect();
        let paired: Vec<Paired> =
            others.iter().map(|&other| Paired::new(&measure.paired(comparison, best, other))).collect();
        let p: Vec<f64> = paired.iter().map(|paired| paired.p.unwrap_or(1.0)).collect();
        let certain = holm(&p, ALPHA);
        let leads = others.iter().zip(paired).zip(certain).map(|((&over, paired), certain)| {
            let matters = paired.mean >= measure.least;
            Lead { over, paired, matters, holds: matters && certain && paired.n >= FEWEST }
        });
        Some(Ranking { measure: measure.key, best, leads: leads.collect() })
    }

    /// Whether the best leads all others.
    pub fn has_winner(&self) -> bool {
        self.leads.iter().all(|lead| lead.holds)
    }
}
