//! The table above all others: the means of each variant, as people read them.

use serde::Serialize;

use crate::comparison::Comparison;
use crate::measure::{Better, MEASURES, Measure};
use crate::verdict::Verdict;
use crate::words::{duration, megabytes};

/// A row for each variant, in their order.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The heads.
    pub columns: Vec<Column>,
    /// For each variant, a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Debug, Serialize)]
pub struct Column {
    /// Its head: ↑ where more is better, ↓ less, → as the original.
    pub name: String,
    /// What it says, and what it does not.
    pub about: &'static str,
}

/// What is read, and what is sorted by.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// What is read.
    pub text: String,
    /// The number behind it.
    pub value: Option<f64>,
    /// Ahead of all other variants by more than noise.
    pub best: bool,
}

impl Cell {
    pub(crate) fn number(value: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        Cell { text: value.map_or_else(|| "–".into(), show), value, best: false }
    }
}

/// The means over all pictures.
pub fn summary(comparison: &Comparison, verdict: &Verdict) -> Summary {
    let measures = || MEASURES.iter().filter(|measure| measure.in_summary);
    let columns = measures().map(|measure| Column { name: heading(measure), about: measure.about });
    let cost = [
        ("Time a megapixel", "Seconds to encode and decode, of one run each, by the picture's size."),
        ("Memory", "The most that was held while the VAE ran."),
    ];
    let cost = cost.map(|(name, about)| Column { name: name.to_owned(), about });
    let leads = |measure: &Measure, variant: usize| {
        let ranking = verdict.rankings.iter().find(|ranking| ranking.measure == measure.key);
        ranking.is_some_and(|ranking| ranking.best == variant && !ranking.leads.is_empty() && ranking.has_winner())
    };
    let row = |variant: usize| {
        let measured = measures().map(|measure| Cell {
            best: leads(measure, variant),
            ..Cell::number(measure.mean(comparison, variant), |value| measure.show(value))
        });
        let memory = comparison.variants[variant].peak_memory_bytes.map(|bytes| bytes as f64);
        let cost = [
            Cell::number(Some(comparison.seconds_per_megapixel(variant)), duration),
            Cell::number(memory, |bytes| megabytes(bytes as u64)),
        ];
        measured.chain(cost).collect()
    };
    Summary { columns: columns.chain(cost).collect(), rows: (0..comparison.variants.len()).map(row).collect() }
}

pub(crate) fn heading(measure: &Measure) -> String {
    let arrow = match measure.better {
        Better::Higher => "↑",
        Better::Lower => "↓",
        Better::Near(_) => "→",
    };
    format!("{} {arrow}", measure.name)
}
