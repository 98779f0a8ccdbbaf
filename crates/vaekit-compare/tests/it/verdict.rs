//! The words that follow from numbers.

use vaekit::Scaling;
use vaekit_compare::{Agreement, Comparison, WarningKind, verdict};

use crate::support::{comparison, known, latents, trip, two};

#[track_caller]
fn check(comparison: &Comparison, winner: Option<&str>, words: &[&str], absent: &[&str]) {
    let verdict = verdict(comparison, &known());
    assert_eq!(verdict.winner.as_deref(), winner, "{}", verdict.text);
    for word in words {
        assert!(verdict.text.contains(word), "`{word}` is not in: {}", verdict.text);
    }
    for word in absent {
        assert!(!verdict.text.contains(word), "`{word}` is in: {}", verdict.text);
    }
}

#[test]
fn a_steady_lead_wins() {
    let lead = two(&[70.0, 60.0, 80.0, 65.0, 72.0], &[66.0, 57.0, 75.0, 61.5, 68.0]);
    check(&lead, Some("a"), &["“a” comes closest", "3.9 more than “b”", "ahead on 5 of 5"], &["noise"]);
}

#[test]
fn a_lead_that_varies_is_noise() {
    let noise = two(&[70.0, 60.0, 80.0, 65.0], &[66.0, 66.0, 71.0, 68.0]);
    check(&noise, None, &["No winner", "within noise", "p = "], &["comes closest"]);
}

#[test]
fn a_lead_that_nobody_sees_is_none() {
    let close = two(&[70.1, 60.1, 80.1], &[70.0, 60.0, 80.0]);
    check(&close, None, &["No winner", "too little to matter"], &[]);
}

#[test]
fn one_picture_is_judged_modestly() {
    check(&two(&[70.0], &[40.0]), None, &["On this one picture “a” comes closest", "five or more"], &["No winner"]);
    check(&two(&[70.0], &[70.2]), None, &["“b” and “a” come equally close"], &[]);
}

#[test]
fn two_pictures_are_too_few_however_large_the_lead() {
    let lead = two(&[70.0, 60.4], &[50.0, 40.0]);
    let words = ["On these 2 pictures “a” comes closest", "65.2 on average against 45.0 of “b”", "five or more"];
    check(&lead, None, &words, &["noise", "p = ", "No winner"]);
    let noise = verdict(&lead, &known()).noise;
    assert!(noise.contains("So few pictures tell") && noise.contains("With 3 or more"), "{noise}");
    check(&two(&[70.0, 60.0], &[70.2, 60.1]), None, &["“b” and “a” come equally close", "five or more"], &["noise"]);
    let three = two(&[70.0, 60.4, 80.1], &[50.0, 40.0, 60.0]);
    check(&three, Some("a"), &[], &[]);
    assert!(verdict(&three, &known()).noise.contains("3 are the fewest that can make a winner"));
}

#[test]
fn equal_and_almost_equal_pictures() {
    let mut same = two(&[70.0, 70.0], &[70.0, 70.0]);
    let set = |comparison: &mut Comparison, agreement: Agreement| {
        comparison.pictures.iter_mut().for_each(|picture| picture.agreement = vec![agreement]);
    };
    set(&mut same, Agreement { psnr: None, largest_step: 0, equal: 1.0 });
    check(&same, None, &["Both come out equal in every pixel on all 2 pictures"], &[]);
    set(&mut same, Agreement { psnr: Some(61.0), largest_step: 2, equal: 0.9 });
    check(&same, None, &["Both come out the same to the eye", "61 dB", "2 of 255"], &[]);
}

#[test]
fn the_third_is_behind_two_that_tie() {
    let trips = |scores: [f64; 4]| scores.map(trip).to_vec();
    let three = comparison(
        &["a", "b", "c"],
        vec![trips([70.0, 60.0, 80.0, 66.0]), trips([70.2, 59.9, 80.3, 65.9]), trips([50.0, 41.0, 60.5, 46.5])],
    );
    check(&three, None, &["“b” and “a” lie within noise", "“b” is ahead of “c”"], &[]);
}

#[test]
fn those_that_are_the_same_are_told_together() {
    let trips = |scores: [f64; 3]| scores.map(trip).to_vec();
    let behind = [50.0, 41.0, 60.5];
    let mut four =
        comparison(&["a", "b", "c", "d"], vec![trips([70.0, 60.0, 80.0]), trips(behind), trips(behind), trips(behind)]);
    for picture in &mut four.pictures {
        // ab, ac, ad, bc, bd, cd
        picture.agreement[3..].fill(Agreement { psnr: Some(70.0), largest_step: 1, equal: 0.9 });
    }
    let words = ["(19.5 more than “b”, “c” and “d”, and ahead on 3 of 3)", "are “b”, “c” and “d”."];
    check(&four, Some("a"), &words, &[]);
}

#[test]
fn dissent_character_and_cost_are_told() {
    let mut two = two(&[70.0, 60.0, 80.0, 65.0], &[66.0, 57.0, 75.0, 61.5]);
    for picture in &mut two.pictures {
        let b = &mut picture.trips[1];
        b.score.detail.detail_kept = Some(0.9);
        b.score.colour.saturation = Some(0.88);
        b.decode_seconds = 0.05;
        b.encode_seconds = 0.05;
    }
    two.variants[1].peak_memory_bytes = Some(400_000_000);
    check(
        &two,
        Some("a"),
        &[
            "“b” keeps more of the fine detail (Detail kept 90.0 %, 80.0 % of “a”)",
            "The pictures of “b” are washed out.",
            "“b” is 10 times as fast as “a” (0.10 s against 1.00 s a megapixel)",
            "“b” needs 400 MB, “a” 1600 MB",
        ],
        &[],
    );
}

#[track_caller]
fn check_warning(comparison: &Comparison, kind: WarningKind, words: &[&str]) {
    let verdict = verdict(comparison, &known());
    let texts: Vec<_> =
        verdict.warnings.iter().filter(|warning| warning.kind == kind).map(|warning| &warning.text).collect();
    let [text] = texts[..] else { panic!("{:?}", verdict.warnings) };
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

#[test]
fn another_vaes_scaling_is_named() {
    let mut mixed_up = two(&[70.0, 60.0], &[66.0, 57.0]);
    assert!(verdict(&mixed_up, &known()).warnings.is_empty());
    for picture in &mut mixed_up.pictures {
        picture.trips[1].latents = latents(1.0 / 0.13025, 0.18215);
    }
    let words = ["“b”", "1.40", "sdxl (0.13025)", "that of sd1 (0.18215)", "washed out"];
    check_warning(&mixed_up, WarningKind::Scaling, &words);
    check(&mixed_up, None, &["scaling of the latents needs a look"], &[]);
}

#[test]
fn the_same_weights_under_two_scalings_are_named() {
    let mut same = two(&[70.0, 60.0], &[70.0, 60.0]);
    same.variants[1].weights_sha256 = same.variants[0].weights_sha256.clone();
    same.variants[1].latents.scaling = Some(Scaling::factor(0.13025));
    for picture in &mut same.pictures {
        picture.agreement = vec![Agreement { psnr: None, largest_step: 0, equal: 1.0 }];
        picture.trips[1].latents = latents(1.0 / 0.18215, 0.13025);
    }
    let words = ["0.18215 of sd1", "0.13025 of sdxl", "1.00 and 0.72", "speaks for “a”"];
    check_warning(&same, WarningKind::SameWeightsOtherScaling, &words);
    check(&same, None, &["equal in every pixel on all 2 pictures: see the warning"], &["choose by time"]);
}

#[test]
fn the_same_weights_with_other_pictures_are_a_fault() {
    let mut broken = two(&[70.0, 60.0], &[40.0, 30.0]);
    broken.variants[1].weights_sha256 = broken.variants[0].weights_sha256.clone();
    check_warning(&broken, WarningKind::SameWeightsDiffer, &["same weights", "30.0 dB", "90 of 255"]);
    check(&broken, None, &["Something is broken"], &[]);
    broken.variants[1].tiles = Some("512".into());
    assert!(verdict(&broken, &known()).warnings.is_empty(), "tiles are no fault");
}
