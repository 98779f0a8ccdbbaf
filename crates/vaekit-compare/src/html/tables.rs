//! The tables. A button in each head sorts.

use maud::{Markup, html};

use crate::comparison::{Comparison, pairs};
use crate::measure::MEASURES;
use crate::summary::{self, Cell, heading};
use crate::verdict::Verdict;
use crate::words::{duration, list, megabytes, short};

/// A row's head, and its cells.
struct Row {
    head: Vec<String>,
    cells: Vec<Cell>,
}

fn table(heads: &[&str], columns: &[String], rows: &[Row]) -> Markup {
    html! {
        div.scroll {
            table.sortable {
                thead { tr {
                    @for (index, name) in heads.iter().copied().chain(columns.iter().map(String::as_str)).enumerate() {
                        th scope="col" class=[(index >= heads.len()).then_some("number")] { button type="button" { (name) } }
                    }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (index, head) in row.head.iter().enumerate() {
                                @if index == 0 { th scope="row" { (head) } } @else { td { (head) } }
                            }
                            @for cell in &row.cells {
                                td.number.best[cell.best] data-key=[cell.value] { (cell.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The means of each variant. What leads by more than noise is marked.
pub(super) fn summary(comparison: &Comparison, verdict: &Verdict) -> Markup {
    let summary = summary::summary(comparison, verdict);
    let labels = comparison.variants.iter().map(|variant| vec![variant.label.clone()]);
    let rows: Vec<Row> = labels.zip(summary.rows).map(|(head, cells)| Row { head, cells }).collect();
    let columns: Vec<String> = summary.columns.into_iter().map(|column| column.name).collect();
    html! {
        (table(&["Variant"], &columns, &rows))
        p.hint { "Means over all pictures. Marked: ahead of all others by more than noise. ↑ more is better, ↓ less, → as the original." }
        dl.variants {
            @for (variant, remarks) in comparison.variants.iter().zip(&verdict.characters) {
                dt { (variant.label) }
                dd {
                    (variant.vae)
                    @if let Some(hash) = &variant.weights_sha256 { " (weights " (short(hash)) ")" }
                    ", " (variant.family)
                    ", " (megabytes(variant.model_bytes))
                    @if let Some(precision) = &variant.precision { ", " (precision) }
                    ", " (variant.engine)
                    @if let Some(seconds) = variant.open_seconds { ", opened in " (duration(seconds)) }
                    @if !remarks.is_empty() {
                        @let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
                        ". Its pictures are " (list(&remarks)) "."
                    }
                }
            }
        }
    }
}

/// Every picture through every variant.
pub(super) fn trips(comparison: &Comparison) -> Markup {
    let rows: Vec<Row> = comparison
        .pictures
        .iter()
        .flat_map(|picture| picture.trips.iter().zip(&comparison.variants).map(move |trip| (picture, trip)))
        .map(|(picture, (trip, variant))| {
            let measures = MEASURES.iter().map(|measure| Cell::number((measure.of)(trip), |value| measure.show(value)));
            let others = [
                Cell::number(trip.latents.kl_per_value, |kl| format!("{kl:.2}")),
                Cell::number(Some(trip.encode_seconds), duration),
                Cell::number(Some(trip.decode_seconds), duration),
            ];
            Row { head: vec![picture.name.clone(), variant.label.clone()], cells: measures.chain(others).collect() }
        })
        .collect();
    let others = ["KL a value", "Encoding", "Decoding"].map(str::to_owned);
    let columns: Vec<String> = MEASURES.iter().map(heading).chain(others).collect();
    table(&["Picture", "Variant"], &columns, &rows)
}

/// The latents of each variant, over all pictures.
pub(super) fn latents(comparison: &Comparison) -> Markup {
    let rows: Vec<Row> = (0..comparison.variants.len())
        .map(|index| {
            let (variant, latents) = (&comparison.variants[index], comparison.latents(index));
            let space = &variant.latents;
            let scaling = space.scaling.as_ref().map_or_else(|| "not known".into(), ToString::to_string);
            let source = variant.scaling_source.clone().unwrap_or_default();
            let two = |value: f64| format!("{value:.2}");
            let cells = vec![
                Cell::number(Some(space.channels as f64), |channels| format!("{channels:.0}")),
                Cell::number(Some(space.downsample_factor as f64), |factor| format!("{factor:.0}")),
                Cell::number(latents.kl_per_value, two),
                Cell::number(latents.scaled.map(|scaled| scaled.mean), two),
                Cell::number(latents.scaled.map(|scaled| scaled.deviation), two),
            ];
            Row { head: vec![variant.label.clone(), scaling, source], cells }
        })
        .collect();
    let columns = ["Channels", "Factor", "KL a value (nats)", "Scaled mean", "Scaled deviation"].map(str::to_owned);
    table(&["Variant", "Scaling", "Learned from"], &columns, &rows)
}

/// The variants against each other.
pub(super) fn agreement(comparison: &Comparison) -> Markup {
    let label = |variant: usize| comparison.variants[variant].label.clone();
    let rows: Vec<Row> = pairs(comparison.variants.len())
        .map(|(a, b)| {
            let agreement = comparison.agreement(a, b);
            let psnr = agreement.psnr.map_or_else(|| "equal".into(), |psnr| format!("{psnr:.1} dB"));
            let cells = vec![
                Cell { text: psnr, value: Some(agreement.psnr.unwrap_or(f64::MAX)), best: false },
                Cell::number(Some(f64::from(agreement.largest_step)), |step| format!("{step} of 255")),
                Cell::number(Some(agreement.equal), |equal| format!("{:.2} %", equal * 100.0)),
            ];
            Row { head: vec![label(a), label(b)], cells }
        })
        .collect();
    let columns = ["PSNR between them", "Largest step", "Equal samples"].map(str::to_owned);
    table(&["Variant", "and"], &columns, &rows)
}
