//! The page: verdict, summary, pictures, plots, and how it was measured.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Views, pictures, plots, tables};
use crate::comparison::Comparison;
use crate::measure::{Better, MEASURES};
use crate::verdict::Verdict;
use crate::views::Shown;
use crate::words::list;

/// The whole report. `views` are those of the first pictures, in their order; the others are not shown, and that is said.
///
/// # Panics
/// If there are more views than pictures, or not as many pictures in a view as variants.
pub fn render(comparison: &Comparison, verdict: &Verdict, views: &[Views]) -> String {
    assert!(views.len() <= comparison.pictures.len(), "each view is one of a picture");
    let n_variants = comparison.variants.len();
    assert!(views.iter().all(|view| view.decoded.len() == n_variants && view.heat.len() == n_variants));
    let counts = format!("{}, {}", count(n_variants, "variant"), count(comparison.pictures.len(), "picture"));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing can be loaded, whatever a picture's or a VAE's name holds.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                title { "VAEs compared: " (counts) }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                header {
                    h1 { "VAEs compared" }
                    p.counts { (counts) " · vaekit " (env!("CARGO_PKG_VERSION")) }
                    button #scheme type="button" aria-label="Light or dark" title="Light or dark" { "◐" }
                }
                nav aria-label="Sections" {
                    a href="#pictures" { "Pictures" } " "
                    a href="#plots" { "Plots" } " "
                    a href="#latents" { "Latents" } " "
                    a href="#numbers" { "All numbers" } " "
                    a href="#method" { "How it was measured" }
                }
                main {
                    section #verdict aria-label="Verdict" {
                        p.verdict { strong { (verdict.headline) } (verdict.text.strip_prefix(&verdict.headline).unwrap_or("")) }
                        @for warning in &verdict.warnings { p.warning role="note" { (warning.text) } }
                        (tables::summary(comparison, verdict))
                    }
                    section #pictures {
                        h2 { "Pictures" }
                        p.hint {
                            "Drag the divider, or use the arrow keys on it. The keys 1 to 9 choose what is on the right, 0 the \
                             original; hold the space bar to see only the left."
                        }
                        @if let Some(less) = shown_less(comparison, views) { p.hint { (less) } }
                        @for (index, (picture, view)) in comparison.pictures.iter().zip(views).enumerate() {
                            (pictures::picture(comparison, picture, view, index))
                        }
                    }
                    section #plots {
                        h2 { "Plots" }
                        p.hint { "A dot is a picture, the bar their mean. Point at a dot for its name." }
                        div.plots { @for measure in MEASURES { (plots::measure(comparison, measure)) } }
                        (plots::cost(comparison))
                    }
                    section #latents {
                        h2 { "Latents" }
                        p.hint {
                            "The standard deviation of each channel, over all pictures, as a diffusion model sees the latents. All \
                             channels together should come to about 1: that is what the scaling factor is for. A round trip undoes \
                             its own scaling, so a wrong one shows here and nowhere else."
                        }
                        div.plots { (plots::latents(comparison)) }
                        (tables::latents(comparison))
                    }
                    section #numbers {
                        h2 { "All numbers" }
                        (tables::trips(comparison))
                        @if n_variants > 1 {
                            h3 { "How alike the variants are to each other" }
                            (tables::agreement(comparison))
                        }
                    }
                    section #method {
                        h2 { "How it was measured" }
                        (method(verdict))
                    }
                }
                script { (PreEscaped(include_str!("report.js"))) }
            }
        }
    };
    page.into_string()
}

/// What is not shown in full, and why.
fn shown_less(comparison: &Comparison, views: &[Views]) -> Option<String> {
    let small = views.iter().filter(|view| view.shown == Shown::Small).count();
    let absent = comparison.pictures.len() - views.len();
    let large = count(views.len() - small, "picture");
    let less = [
        (small > 0).then(|| format!("{small} are shown smaller, their regions pixel by pixel all the same")),
        (absent > 0).then(|| format!("{absent} are not shown, and only the plots and tables have them")),
    ];
    let less: Vec<String> = less.into_iter().flatten().collect();
    (!less.is_empty()).then(|| format!("So that a browser can open this file, after {large} in full {}.", list(&less)))
}

fn method(verdict: &Verdict) -> Markup {
    html! {
        p {
            "Each picture was encoded to the mean of its posterior and decoded again, padded by reflection where its sides are no \
             multiple of the VAE's factor, and cropped back. The result was rounded to 8 bits, as it would be written. Alpha is left \
             out, and every picture is taken for sRGB."
        }
        p { (verdict.noise) }
        dl {
            @for measure in MEASURES {
                dt {
                    (measure.name) " "
                    small {
                        (direction(measure.better)) "; differences below "
                        (measure.show(measure.least)) " do not count"
                    }
                }
                dd { (measure.about) }
            }
        }
        p {
            "Regions were chosen by the machine: where the decoded pictures lie furthest apart in L*a*b*, or, where they are all \
             alike, where they lie furthest from the original."
        }
        p {
            "Times are of one run each, the first with its warming up, on a machine that may have done other things. Memory is the \
             most that the whole program, or in a browser the variant's WebAssembly, held while a variant was open; variants run \
             one after the other, and what an earlier one left behind counts."
        }
    }
}

/// Which way is better, in words.
pub(super) fn direction(better: Better) -> &'static str {
    match better {
        Better::Higher => "more is better",
        Better::Lower => "less is better",
        Better::Near(_) => "as the original is best",
    }
}

fn count(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}
