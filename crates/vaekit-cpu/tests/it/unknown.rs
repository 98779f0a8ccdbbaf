//! Files that are no VAE this engine knows.

use std::io::Cursor;
use std::num::NonZero;

use ndarray::Array4;
use vaekit::Half;
use vaekit_cpu::{CpuSession, Options};

use crate::weights::{Kind, weights};
use crate::{model, run, vaes};

fn decoder() -> Vec<u8> {
    let config = vaes::kl(4, |_| {});
    model(&config, &weights(&config, Kind::Random, 1), Half::Decoder)
}

fn error(model: &[u8]) -> vaekit_cpu::OpenError {
    CpuSession::open(Cursor::new(model), &Options::default()).err().expect("refused")
}

/// Replaces each `from` in the file by `to`, which is as long.
fn replaced(mut model: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..model.len() - from.len()).filter(|&at| model[at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| model[at..][..to.len()].copy_from_slice(to.as_bytes()));
    model
}

#[test]
fn an_operator_of_no_vae_is_named() {
    let error = error(&replaced(decoder(), "Sigmoid", "Softsin"));
    assert!(error.is_unsupported());
    assert_eq!(
        error.to_string(),
        "node `decoder.mid_block.resnets.0.norm1.silu.sigmoid` (Softsin) is an operator that no VAE of the known families has"
    );
}

#[test]
fn another_mode_is_not_taken_for_the_known_one() {
    let error = error(&replaced(decoder(), "asymmetric", "align_cent"));
    assert!(error.is_unsupported(), "{error}");
    assert!(error.to_string().contains("not by nearest neighbours"), "{error}");
}

#[test]
fn a_cut_file_is_an_error_at_any_length() {
    let model = decoder();
    for len in (0..model.len()).step_by(97) {
        assert!(CpuSession::open(Cursor::new(&model[..len]), &Options::default()).is_err(), "{len} bytes");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let model = decoder();
    let (mut state, mut opened) = (1u64, 0);
    for n in 0..400 {
        let mut damaged = model.clone();
        for _ in 0..1 + n % 3 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % damaged.len();
            damaged[at] = (state >> 24) as u8;
        }
        let one = Options { threads: NonZero::new(1), ..Options::default() };
        if let Ok(mut session) = CpuSession::open(Cursor::new(&damaged), &one) {
            let _ = run(&mut session, &Array4::from_elem((1, 4, 3, 2), 0.5), &mut ());
            opened += 1;
        }
    }
    assert!(opened > 50, "{opened} of 400 opened");
}
