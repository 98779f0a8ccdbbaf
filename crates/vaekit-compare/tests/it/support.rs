//! Comparisons made of numbers.

use vaekit::{Domain, KnownScaling, LatentSpace, Scaling};
use vaekit_compare::{
    Agreement, Colour, Comparison, Detail, LatentStatistics, Moments, Picture, Reason, Score, Trip, Variant, pairs,
};

pub(crate) fn variant(label: &str) -> Variant {
    Variant {
        label: label.into(),
        vae: label.into(),
        family: "AutoencoderKL".into(),
        model_bytes: 334_000_000,
        engine: "tract 0.23.9 on cpu".into(),
        precision: Some("fp32".into()),
        tiles: None,
        weights_sha256: Some(format!("hash of {label}")),
        latents: LatentSpace {
            channels: 4,
            downsample_factor: 8,
            native: Domain::Raw,
            scaling: Some(Scaling::factor(0.18215)),
            packed: false,
        },
        scaling_source: None,
        open_seconds: Some(0.5),
        peak_memory_bytes: Some(1_600_000_000),
    }
}

/// A trip of this SSIMULACRA2; everything else is as the original.
pub(crate) fn trip(ssimulacra2: f64) -> Trip {
    Trip {
        score: Score {
            ssimulacra2,
            psnr: Some(30.0),
            ssim: Some(0.9),
            ms_ssim: Some(0.98),
            colour: Colour {
                delta_e_mean: 2.0,
                delta_e_p95: 5.0,
                saturation: Some(1.0),
                contrast: Some(1.0),
                lightness: 0.0,
                tint: [0.0, 0.0],
                hue_shift: Some(0.0),
            },
            detail: Detail { sharpness: Some(0.95), high_frequency_energy: Some(0.9), detail_kept: Some(0.8) },
        },
        latents: latents(1.0 / 0.18215, 0.18215),
        encode_seconds: 0.25,
        decode_seconds: 0.75,
    }
}

/// Latents whose raw channels have this deviation.
pub(crate) fn latents(raw_deviation: f64, factor: f64) -> LatentStatistics {
    let moments = |deviation| Moments { n: 1000, mean: 0.0, deviation };
    LatentStatistics {
        kl_per_value: Some(2.0),
        channels: vec![moments(raw_deviation); 4],
        scaled: Some(moments(raw_deviation * factor)),
    }
}

/// Pictures of a megapixel; `trips[variant][picture]`. Any two variants are 30 dB apart.
pub(crate) fn comparison(labels: &[&str], trips: Vec<Vec<Trip>>) -> Comparison {
    let apart = Agreement { psnr: Some(30.0), largest_step: 90, equal: 0.2 };
    let picture = |index: usize| Picture {
        name: format!("picture {index}.png"),
        path: format!("photos/picture {index}.png"),
        width: 1000,
        height: 1000,
        regions_for: Reason::Disagreement,
        regions: Vec::new(),
        trips: trips.iter().map(|trips| trips[index].clone()).collect(),
        agreement: pairs(labels.len()).map(|_| apart).collect(),
    };
    Comparison {
        variants: labels.iter().map(|label| variant(label)).collect(),
        pictures: (0..trips[0].len()).map(picture).collect(),
    }
}

/// Two variants with these SSIMULACRA2.
pub(crate) fn two(a: &[f64], b: &[f64]) -> Comparison {
    let trips = |scores: &[f64]| scores.iter().map(|&score| trip(score)).collect();
    comparison(&["a", "b"], vec![trips(a), trips(b)])
}

pub(crate) fn known() -> Vec<KnownScaling> {
    let known = |name: &str, factor| KnownScaling { name: name.into(), channels: 4, scaling: Scaling::factor(factor) };
    vec![known("sd1", 0.18215), known("sdxl", 0.13025)]
}
