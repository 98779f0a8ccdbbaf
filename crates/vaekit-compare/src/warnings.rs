//! What is wrong with a variant: weights that give two answers, and scalings that are another VAE's.

use serde::Serialize;
use vaekit::{KnownScaling, Scaling};

use crate::comparison::{Comparison, pairs};
use crate::latents::Suspicion;
use crate::words::capitalised;

/// Pictures from which on their latents are told without reserve.
const ENOUGH: usize = 5;

/// Something wrong with one or two variants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The variants.
    pub variants: Vec<String>,
    /// In words.
    pub text: String,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// The same weights give different pictures.
    SameWeightsDiffer,
    /// The same weights under different scalings.
    SameWeightsOtherScaling,
    /// The scaling looks like another VAE's.
    Scaling,
}

/// What is wrong with the variants, most certain first. `known` are the published scalings.
pub(crate) fn warnings(comparison: &Comparison, known: &[KnownScaling]) -> Vec<Warning> {
    let variants = &comparison.variants;
    let label = |variant: usize| variants[variant].label.clone();
    let same_weights: Vec<(usize, usize)> = pairs(variants.len())
        .filter(|&(a, b)| {
            variants[a].weights_sha256.is_some() && variants[a].weights_sha256 == variants[b].weights_sha256
        })
        .collect();
    let as_cut = |&&(a, b): &&(usize, usize)| variants[a].tiles == variants[b].tiles;
    let differ = same_weights.iter().filter(as_cut).filter_map(|&(a, b)| {
        let agreement = comparison.agreement(a, b);
        let psnr = agreement.psnr.filter(|_| !agreement.is_close())?;
        Some(Warning {
            kind: WarningKind::SameWeightsDiffer,
            variants: vec![label(a), label(b)],
            text: format!(
                "{} and {} hold the same weights and give different pictures: {psnr:.1} dB between them, up to {} of 255 steps. \
                 One of the two engines, conversions or precisions is at fault.",
                comparison.quoted(a),
                comparison.quoted(b),
                agreement.largest_step
            ),
        })
    });
    let scaling = |variant: usize| variants[variant].latents.scaling.as_ref();
    let mixed_up: Vec<(usize, usize)> = same_weights
        .iter()
        .copied()
        .filter(|&(a, b)| scaling(a).is_some() && scaling(b).is_some() && scaling(a) != scaling(b))
        .collect();
    let scalings = mixed_up.iter().filter_map(|&(a, b)| {
        Some(Warning {
            kind: WarningKind::SameWeightsOtherScaling,
            variants: vec![label(a), label(b)],
            text: other_scaling(comparison, a, b, scaling(a)?, scaling(b)?, known),
        })
    });
    let is_told = |variant: usize| mixed_up.iter().any(|&(a, b)| a == variant || b == variant);
    let suspicions = (0..variants.len()).filter_map(|variant| {
        // A mix-up has told the deviation already.
        let suspicion =
            comparison.suspicion(variant, known).filter(|found| found.fits.is_some() || !is_told(variant))?;
        Some(Warning {
            kind: WarningKind::Scaling,
            variants: vec![label(variant)],
            text: suspicious(comparison, variant, &suspicion),
        })
    });
    differ.chain(scalings).chain(suspicions).collect()
}

fn other_scaling(
    comparison: &Comparison,
    a: usize,
    b: usize,
    one: &Scaling,
    other: &Scaling,
    known: &[KnownScaling],
) -> String {
    let deviation = |variant| comparison.latents(variant).scaled.map(|scaled| scaled.deviation);
    let called = |scaling: &Scaling| {
        let known = known.iter().find(|known| known.scaling == *scaling);
        known.map_or_else(|| scaling.to_string(), |known| format!("{} of {}", known.scaling, known.name))
    };
    let mut text = format!(
        "Scale mix-up: {} and {} hold the same weights, scaled by {} and by {}. One of them is wrong. The pictures here are \
         the same, because a round trip undoes its own scaling; a diffusion model would meet latents it does not know.",
        comparison.quoted(a),
        comparison.quoted(b),
        called(one),
        called(other)
    );
    if let (Some(first), Some(second)) = (deviation(a), deviation(b)) {
        let right = if first.ln().abs() <= second.ln().abs() { a } else { b };
        text += &format!(
            " Scaled latents should deviate by about 1; these deviate by {first:.2} and {second:.2}, which speaks for {}.",
            comparison.quoted(right)
        );
    }
    text
}

fn suspicious(comparison: &Comparison, variant: usize, suspicion: &Suspicion) -> String {
    let Suspicion { deviation, used, fits } = suspicion;
    let name = comparison.quoted(variant);
    let found =
        format!("the scaled latents of {name} deviate by {deviation:.2}, where a right scaling makes it about 1");
    let scaling = comparison.variants[variant].latents.scaling.as_ref().map_or_else(String::new, ToString::to_string);
    let consequence = if *deviation > 1.0 { "flat and washed out" } else { "harsh and burnt out" };
    let few = match deviation {
        _ if comparison.pictures.len() < ENOUGH => " A few pictures may deviate so much by themselves: try more.",
        ..1.0 => " Drawings and plain grounds deviate less than photographs: try some.",
        _ => "",
    };
    match fits {
        Some(fit) => {
            let used = used.as_ref().map_or_else(|| scaling.clone(), |used| format!("that of {used} ({scaling})"));
            format!(
                "Scale mix-up? {} With the scaling of {} ({}) it would be {:.2}: this looks like a VAE of {} under another \
                 one's scaling, {used}. A round trip does not show it, because it undoes its own scaling; pictures of a \
                 diffusion model would come out {consequence}.{few}",
                capitalised(&format!("{found}.")),
                fit.name,
                fit.scaling,
                fit.deviation,
                fit.name
            )
        }
        None => format!(
            "{}, and no published scaling fits better{}.{few}",
            capitalised(&found),
            if scaling.is_empty() { String::new() } else { format!(" than {scaling}") }
        ),
    }
}
