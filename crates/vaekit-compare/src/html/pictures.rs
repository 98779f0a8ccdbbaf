//! One picture: two of its versions under a divider, all of them side by side, and the regions that tell them apart.

use maud::{Markup, html};

use super::{Crop, Encoded, Views};
use crate::comparison::{Comparison, Picture};
use crate::heat;
use crate::measure::{Measure, PRIMARY};
use crate::regions::Reason;

/// Pictures after this many are folded, so that a long report opens quickly.
const OPEN: usize = 3;
/// Times that a region is enlarged at most.
const MAX_ZOOM: usize = 4;
/// Pixels that an enlarged region may be wide.
const CROP_WIDTH: usize = 288;

pub(super) fn picture(comparison: &Comparison, picture: &Picture, views: &Views, index: usize) -> Markup {
    let size = format!("{} × {}", picture.width, picture.height);
    html! {
        details.picture open[index < OPEN] {
            summary { h3 { (picture.name) } " " span.size { (size) } }
            (viewer(comparison, picture, views))
            @if !views.crops.is_empty() { (crops(comparison, picture, views)) }
        }
    }
}

/// Without scripts this is the row of versions; with them the divider comes to life above it.
fn viewer(comparison: &Comparison, picture: &Picture, views: &Views) -> Markup {
    let labels = || comparison.variants.iter().map(|variant| variant.label.as_str());
    let (width, height) = (picture.width / views.reduced, picture.height / views.reduced);
    html! {
        div.viewer hidden {
            div.scroll {
                div.stage tabindex="0" style=(format!("--w:{width};--h:{height}"))
                    aria-label={ "Comparison of " (picture.name) } {
                    img.left alt=""; img.right alt="";
                    span.tag.tag-left {} span.tag.tag-right {}
                    div.divider {}
                }
            }
            div.controls {
                label { "Left " select.pick-left {} }
                input.cut type="range" min="0" max="100" step="0.5" value="50"
                    aria-label={ "Divider of " (picture.name) };
                label { "Right " select.pick-right {} }
                label { "Size "
                    select.zoom {
                        option value="fit" { "fit" }
                        option value="1" { "100 %" } option value="2" { "200 %" } option value="4" { "400 %" }
                    }
                }
            }
            @if views.reduced > 1 {
                p.hint { "Shown at 1/" (views.reduced) " of its size; the regions below are not reduced." }
            }
        }
        div.versions style=(columns(comparison)) {
            (version(&views.original, "Original", ""))
            @for ((label, decoded), trip) in labels().zip(&views.decoded).zip(&picture.trips) {
                (version(decoded, label, &format!("{} {}", PRIMARY.name, PRIMARY.show(trip.score.ssimulacra2))))
            }
            (legend())
            @for ((label, map), trip) in labels().zip(&views.heat).zip(&picture.trips) {
                @let error = Measure::by_key("delta_e_mean");
                (version(map, &format!("{label}: difference"),
                    &format!("{} {}", error.name, error.show(trip.score.colour.delta_e_mean))))
            }
        }
    }
}

/// As many columns as there are versions.
fn columns(comparison: &Comparison) -> String {
    format!("--n:{}", comparison.variants.len() + 1)
}

fn version(picture: &Encoded, label: &str, note: &str) -> Markup {
    html! {
        figure {
            button type="button" title={ "Show " (label) " on the right" } {
                img src=(picture.data_uri()) alt=(label) data-label=(label) loading="lazy" decoding="async";
            }
            figcaption { b { (label) } @if !note.is_empty() { " " span { (note) } } }
        }
    }
}

/// What the colours of the difference maps mean.
fn legend() -> Markup {
    let steps = [0.0, 1.0, 2.0, 5.0, 10.0, heat::HOTTEST];
    html! {
        div.legend {
            "Where each differs from the original, in CIEDE2000:"
            ul {
                @for step in steps {
                    @let [r, g, b] = heat::colour(step);
                    li { span.swatch style=(format!("background:rgb({r} {g} {b})")) {} (step) @if step == heat::HOTTEST { " or more" } }
                }
            }
        }
    }
}

fn crops(comparison: &Comparison, picture: &Picture, views: &Views) -> Markup {
    let title = match picture.regions_for {
        Reason::Disagreement => "Where they disagree most",
        Reason::Error => "Where they are furthest from the original",
    };
    let cell = |encoded: &Encoded, label: &str, region: &crate::regions::Region| {
        let zoom = (CROP_WIDTH / region.width.max(1)).clamp(1, MAX_ZOOM);
        html! {
            figure {
                img src=(encoded.data_uri()) alt={ (label) ", enlarged " (zoom) " times" }
                    width=(region.width * zoom) height=(region.height * zoom) loading="lazy" decoding="async";
                figcaption { (label) }
            }
        }
    };
    html! {
        h4 { (title) }
        @for (Crop { original, decoded }, region) in views.crops.iter().zip(&picture.regions) {
            div.crops style=(columns(comparison)) role="group" aria-label={ "Region at " (region.x) ", " (region.y) } {
                (cell(original, "Original", region))
                @for (variant, decoded) in comparison.variants.iter().zip(decoded) { (cell(decoded, &variant.label, region)) }
            }
            p.hint { (region.width) " × " (region.height) " pixels at " (region.x) ", " (region.y) }
        }
    }
}
