//! Plots as inline SVG.

use maud::{Markup, html};

use super::page::direction;
use crate::comparison::Comparison;
use crate::latents::Moments;
use crate::measure::{Better, Measure};
use crate::words::{duration, list};

/// Width of a plot's coordinates; it takes the width that the page gives it.
const WIDTH: f64 = 340.0;
/// Free on both sides, so that dots and numbers at the ends are not cut.
const MARGIN: f64 = 18.0;
/// Height of a variant's row.
const ROW: f64 = 34.0;
/// Height below the rows, for the axis.
const AXIS: f64 = 22.0;

/// A round-numbered axis.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// Over these values: steps of 1, 2 or 5 times a power of ten, about four of them.
    fn over(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let span = (high - low).max(high.abs() * 1e-3).max(1e-6);
        let power = 10f64.powf((span / 4.0).log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| span / step <= 5.0).unwrap_or(power);
        let axis = |value: f64| value / step;
        let (low, high) = (axis(low).floor() * step, axis(high).ceil() * step);
        Axis { low, high: if high > low { high } else { low + step }, step }
    }

    fn x(&self, value: f64) -> f64 {
        MARGIN + (value - self.low) / (self.high - self.low) * (WIDTH - 2.0 * MARGIN)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        let n = ((self.high - self.low) / self.step).round() as usize;
        (0..=n).map(|i| self.low + i as f64 * self.step)
    }

    /// As many digits as the step has.
    fn label(&self, value: f64) -> String {
        let digits = (-self.step.log10().floor()).max(0.0) as usize;
        // No minus before a zero.
        format!("{:.digits$}", if value.abs() < self.step / 2.0 { 0.0 } else { value })
    }
}

/// Rows of dots: a row a variant, a dot a picture.
fn dots(comparison: &Comparison, title: &str, note: &str, rows: &[Vec<(f64, String)>], target: Option<f64>) -> Markup {
    let axis = Axis::over(rows.iter().flatten().map(|(value, _)| *value).chain(target));
    let height = rows.len() as f64 * ROW;
    html! {
        figure.plot {
            figcaption { b { (title) } " " span { (note) } }
            svg viewBox={ "0 0 " (WIDTH) " " (height + AXIS) } role="img" aria-label={ (title) ", " (note) } {
                @for tick in axis.ticks() {
                    line.grid x1=(axis.x(tick)) x2=(axis.x(tick)) y1="0" y2=(height) {}
                    text.tick x=(axis.x(tick)) y=(height + 15.0) text-anchor="middle" { (axis.label(tick)) }
                }
                @if let Some(target) = target {
                    line.target x1=(axis.x(target)) x2=(axis.x(target)) y1="0" y2=(height) {}
                }
                @for (index, (variant, row)) in comparison.variants.iter().zip(rows).enumerate() {
                    @let y = index as f64 * ROW;
                    text.label x="2" y=(y + 12.0) { (variant.label) }
                    g class={ "v" (index % 8) } {
                        @for (value, name) in row {
                            circle cx=(axis.x(*value)) cy=(y + 23.0) r="4.5" { title { (name) } }
                        }
                        @if !row.is_empty() {
                            @let mean = axis.x(row.iter().map(|(value, _)| value).sum::<f64>() / row.len() as f64);
                            line.mean x1=(mean) x2=(mean) y1=(y + 15.0) y2=(y + 31.0) {}
                        }
                    }
                }
            }
        }
    }
}

/// One measure; nothing where no picture gives it.
pub(super) fn measure(comparison: &Comparison, measure: &Measure) -> Markup {
    let row = |variant: usize| -> Vec<(f64, String)> {
        let trips = comparison.trips(variant).zip(&comparison.pictures);
        trips
            .filter_map(|(trip, picture)| {
                let value = (measure.of)(trip)?;
                Some((value * measure.shown_times, format!("{}: {}", picture.name, measure.show(value))))
            })
            .collect()
    };
    let rows: Vec<_> = (0..comparison.variants.len()).map(row).collect();
    let target = match measure.better {
        Better::Near(target) => Some(target * measure.shown_times),
        Better::Higher | Better::Lower => None,
    };
    let unit = measure.unit.trim();
    let title = if unit.is_empty() { measure.name.to_owned() } else { format!("{} ({unit})", measure.name) };
    html! { @if rows.iter().any(|row| !row.is_empty()) { (dots(comparison, &title, direction(measure.better), &rows, target)) } }
}

/// What each variant costs.
pub(super) fn cost(comparison: &Comparison) -> Markup {
    let of_pictures = |variant: usize| -> Vec<(f64, String)> {
        let trips = comparison.trips(variant).zip(&comparison.pictures);
        trips
            .map(|(trip, picture)| {
                let seconds = trip.seconds() / picture.pixels() * 1e6;
                let parts = [
                    format!("encoding {}", duration(trip.encode_seconds)),
                    format!("decoding {}", duration(trip.decode_seconds)),
                ];
                (seconds, format!("{}: {} a megapixel ({})", picture.name, duration(seconds), list(&parts)))
            })
            .collect()
    };
    let times: Vec<_> = (0..comparison.variants.len()).map(of_pictures).collect();
    let memory: Vec<_> = comparison
        .variants
        .iter()
        .map(|variant| {
            variant.peak_memory_bytes.map(|bytes| (bytes as f64 / 1e6, variant.label.clone())).into_iter().collect()
        })
        .collect();
    html! {
        div.plots {
            (dots(comparison, "Time (seconds a megapixel)", "less is better", &times, None))
            @if memory.iter().any(|row: &Vec<_>| !row.is_empty()) {
                (dots(comparison, "Memory (MB at most)", "less is better", &memory, None))
            }
        }
    }
}

/// The deviation of each channel, all variants to one scale.
pub(super) fn latents(comparison: &Comparison) -> Markup {
    let bars: Vec<Bars> = (0..comparison.variants.len()).map(|variant| Bars::new(comparison, variant)).collect();
    let top = |scaled: bool| {
        let deviations = bars.iter().filter(|bars| bars.scaled == scaled).flat_map(|bars| &bars.channels);
        deviations.map(|channel| channel.deviation).fold(if scaled { 1.2 } else { 1e-6 }, f64::max)
    };
    html! {
        @for (index, (variant, bars)) in comparison.variants.iter().zip(&bars).enumerate() {
            (bars.draw(&variant.label, index, top(bars.scaled)))
        }
    }
}

struct Bars {
    channels: Vec<Moments>,
    /// As a diffusion model sees them.
    scaled: bool,
}

impl Bars {
    fn new(comparison: &Comparison, variant: usize) -> Self {
        let latents = comparison.latents(variant);
        match latents.scaled_channels(&comparison.variants[variant].latents) {
            Some(channels) => Bars { channels, scaled: true },
            None => Bars { channels: latents.channels, scaled: false },
        }
    }

    fn draw(&self, label: &str, index: usize, top: f64) -> Markup {
        const HEIGHT: f64 = 110.0;
        let width = (WIDTH - 2.0 * MARGIN) / self.channels.len().max(1) as f64;
        let y = |deviation: f64| HEIGHT * (1.0 - deviation / top);
        html! {
            figure.plot {
                figcaption { b { (label) } " " span { (if self.scaled { "scaled; the line is at 1" } else { "raw" }) } }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT + AXIS) } role="img" aria-label={ "Deviation of the latents of " (label) } {
                    g class={ "v" (index % 8) } {
                        @for (channel, moments) in self.channels.iter().enumerate() {
                            @let x = MARGIN + channel as f64 * width;
                            @let y = y(moments.deviation);
                            rect x=(x + width * 0.1) y=(y) width=(width * 0.8) height=(HEIGHT - y) {
                                title { "Channel " (channel) ": " (format!("deviation {:.2}, mean {:.2}", moments.deviation, moments.mean)) }
                            }
                            // With many channels every fourth is numbered.
                            @if self.channels.len() <= 8 || channel % 4 == 0 {
                                text.tick x=(x + width / 2.0) y=(HEIGHT + 15.0) text-anchor="middle" { (channel) }
                            }
                        }
                    }
                    @if self.scaled { line.target x1=(MARGIN) x2=(WIDTH - MARGIN) y1=(y(1.0)) y2=(y(1.0)) {} }
                }
            }
        }
    }
}
