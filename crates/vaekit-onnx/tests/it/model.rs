//! Writing models, and what stands in them.

use std::io::Cursor;

use expect_test::{Expect, expect};
use vaekit::{Half, KlHalf, Network, VaeConfig, Weights};
use vaekit_onnx::{
    Export, Facts, Folding, METADATA_KEY, ModelInfo, Precision, Ranges, Source, SourceFile, WriteError, Written,
    write_model,
};

use crate::vaes::{families, kl, tiny};
use crate::weights::Seeded;

pub(crate) fn source() -> Source {
    Source {
        files: vec![SourceFile { name: "vae.safetensors".into(), sha256: None }],
        weights_sha256: "00".repeat(32),
        layout: "diffusers".into(),
        format: "safetensors".into(),
        scaling: "config.json".into(),
        ignored: vec!["loss.logvar".into()],
    }
}

fn write(export: &Export<'_>, half: Half) -> Result<(Vec<u8>, Written), WriteError> {
    let mut bytes = Vec::new();
    let written = write_model(export, half, &mut bytes, &mut |_| {})?;
    Ok((bytes, written))
}

pub(crate) fn model(config: &VaeConfig, half: Half, precision: Precision) -> Vec<u8> {
    let weights = Seeded::new(config);
    let export = Export::with(config, &weights, source(), precision, Vec::new());
    write(&export, half).unwrap().0
}

#[test]
fn every_family_is_what_it_says() {
    for (name, config) in families() {
        for (half, precision) in
            Half::BOTH.into_iter().flat_map(|half| [(half, Precision::Fp32), (half, Precision::Fp16)])
        {
            let bytes = model(&config, half, precision);
            let info = ModelInfo::read(Cursor::new(&bytes)).unwrap();
            let n_weights: usize = vaekit::arch::tensors(&config, half).len();
            let floats = &info.initializers;
            let n_found: usize = floats.values().map(|of_type| of_type.n).sum();
            assert!(n_found >= n_weights, "{name} {half}: {n_found} of {n_weights} initializers");
            assert_eq!((info.inputs.len(), info.outputs.len()), (1, 1), "{name} {half}");
            assert!(info.weight_bytes() < bytes.len() as u64);
            let facts = Facts::from_json(&info.metadata[METADATA_KEY]).unwrap();
            assert_eq!((facts.config, facts.precision), (config.clone(), precision), "{name} {half}");
        }
    }
}

#[test]
fn ends_are_optimums() {
    check_ends(
        &kl(4, |_| {}),
        Half::Encoder,
        expect![
            "sample: float [batch, 3, height, width] -> latent_parameters: float [batch, 8, latent_height, latent_width]"
        ],
    );
    check_ends(
        &kl(4, |_| {}),
        Half::Decoder,
        expect![
            "latent_sample: float [batch, 4, latent_height, latent_width] -> sample: float [batch, 3, height, width]"
        ],
    );
    check_ends(
        &tiny(16, false, None),
        Half::Encoder,
        expect![
            "sample: float [batch, 3, height, width] -> latent_sample: float [batch, 16, latent_height, latent_width]"
        ],
    );
}

fn check_ends(config: &VaeConfig, half: Half, expected: Expect) {
    for precision in [Precision::Fp32, Precision::Fp16] {
        let info = ModelInfo::read(Cursor::new(model(config, half, precision))).unwrap();
        expected.assert_eq(&format!("{} -> {}", info.inputs[0], info.outputs[0]));
    }
}

/// The bytes are part of what vaekit promises: if this changes, so must the graphs' `producer_version`.
#[test]
fn equal_exports_have_equal_bytes() {
    check_sha256(
        &kl(4, |_| {}),
        Precision::Fp32,
        expect!["25034a1729892bc0416b757a4826d9d44fcb36d8ef37267db0d56fac94d84272"],
    );
    check_sha256(
        &kl(4, |_| {}),
        Precision::Fp16,
        expect!["52c5f050e2c20ee289e60f67082da73310017322b668639083d1acedca5ef4ae"],
    );
    check_sha256(
        &tiny(4, true, None),
        Precision::Fp32,
        expect!["e17e1539844d1eb64459d2aa70e40ce75e50c5f4e0cad01dcff14382d5d8f50e"],
    );
}

fn check_sha256(config: &VaeConfig, precision: Precision, expected: Expect) {
    let weights = Seeded::new(config);
    let export = Export::with(config, &weights, source(), precision, Vec::new());
    let (bytes, written) = write(&export, Half::Decoder).unwrap();
    assert_eq!(bytes.len() as u64, written.size);
    assert_eq!((bytes, written.clone()), write(&export, Half::Decoder).unwrap());
    expected.assert_eq(&written.sha256);
}

#[test]
fn progress_ends_at_the_whole() {
    let config = tiny(4, false, None);
    let weights = Seeded::new(&config);
    let mut last = None;
    let export = Export::fp32(&config, &weights, source());
    write_model(&export, Half::Encoder, &mut std::io::sink(), &mut |progress| last = Some(progress)).unwrap();
    let last = last.unwrap();
    assert_eq!((last.half, last.written), (Half::Encoder, last.total));
}

fn check_error(config: &VaeConfig, weights: &dyn Weights, precision: Precision, expected: Expect) {
    let export = Export::with(config, weights, source(), precision, Vec::new());
    expected.assert_eq(&write(&export, Half::Decoder).unwrap_err().to_string());
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let config = kl(4, |_| {});
    let mut weights = Seeded::new(&config);
    weights.first.insert("decoder.conv_out.weight".into(), f32::NAN);
    check_error(
        &config,
        &weights,
        Precision::Fp32,
        expect!["tensor `decoder.conv_out.weight` holds NaN at 0, expected numbers; the checkpoint is broken"],
    );
    weights.first.insert("decoder.conv_out.weight".into(), 1e5);
    check_error(
        &config,
        &weights,
        Precision::Fp16,
        expect!["tensor `decoder.conv_out.weight` holds 100000 at 0, expected at most 65504 in fp16; use fp32"],
    );
}

#[test]
fn tensors_that_are_not_there_or_too_short_are_refused_by_name() {
    let config = kl(4, |_| {});
    check_error(
        &config,
        &Seeded::new(&tiny(4, false, None)),
        Precision::Fp32,
        expect!["tensor `post_quant_conv.weight`: not there"],
    );
    let narrow = kl(4, |kl| kl.decoder = Some(KlHalf { block_out_channels: vec![4, 4], resnets_per_block: 2 }));
    check_error(
        &config,
        &Seeded::new(&narrow),
        Precision::Fp32,
        expect!["tensor `decoder.conv_in.weight` holds 144 values, expected 288 for [8, 4, 3, 3]"],
    );
}

#[test]
fn what_protobuf_cannot_hold_is_refused_before_anything_is_read() {
    let config = kl(4, |kl| kl.decoder = Some(KlHalf { block_out_channels: vec![4096; 4], resnets_per_block: 3 }));
    let nothing = Seeded::new(&tiny(4, false, None));
    check_error(
        &config,
        &nothing,
        Precision::Fp32,
        expect![
            "the decoder would take 18994478976 bytes in fp32, and an ONNX file holds at most 2147483647 (protobuf's limit); fp16 halves it"
        ],
    );
    check_error(
        &config,
        &nothing,
        Precision::Fp16,
        expect![
            "the decoder would take 9497280724 bytes in fp16, and an ONNX file holds at most 2147483647 (protobuf's limit)"
        ],
    );
}

#[test]
fn a_half_that_is_not_there_is_refused() {
    let config = kl(4, |kl| kl.decoder = None);
    check_error(
        &config,
        &Seeded::new(&config),
        Precision::Fp32,
        expect!["the checkpoint has no decoder, so there is no decoder to write"],
    );
}

#[test]
fn the_metadata_says_what_was_folded() {
    let config = kl(4, |_| {});
    let weights = Seeded::new(&config);
    let mut ranges = all_ones(&config);
    ranges.record("decoder.up_blocks.0.resnets.0", 1e5);
    let export = Export::fp16(&config, &weights, source(), &ranges).unwrap();
    let info = ModelInfo::read(Cursor::new(write(&export, Half::Decoder).unwrap().0)).unwrap();
    let facts = Facts::from_json(&info.metadata[METADATA_KEY]).unwrap();
    assert_eq!(facts.folded, [Folding { half: Half::Decoder, stream: 4, conv1: Default::default() }]);
    assert_eq!(&facts, export.facts());
}

/// A range of 1 for whatever the plan asks for, found by asking.
fn all_ones(config: &VaeConfig) -> Ranges {
    let mut ranges = Ranges::new();
    for half in Half::BOTH {
        while let Err(vaekit_onnx::RangeError::NotProbed { activation }) = Folding::plan(config, half, &ranges) {
            ranges.record(&activation, 1.0);
        }
    }
    ranges
}

#[test]
fn hints_follow_the_precision() {
    let config = kl(4, |_| {});
    let weights = Seeded::new(&config);
    let largest = |precision| {
        let export = Export::with(&config, &weights, source(), precision, Vec::new());
        export.facts().hints.decoder.clone().unwrap().largest_bytes.at(1)
    };
    assert!(largest(Precision::Fp32) >= largest(Precision::Fp16));
    let encoder_only = match kl(4, |_| {}) {
        VaeConfig { network: Network::Kl(kl), latents } => {
            VaeConfig { network: Network::Kl(vaekit::Kl { decoder: None, ..kl }), latents }
        }
        _ => unreachable!(),
    };
    assert_eq!(Export::fp32(&encoder_only, &weights, source()).facts().hints.decoder, None);
}
