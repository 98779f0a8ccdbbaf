//! Every fixture, on every engine, against PyTorch's answers.

use ndarray::{Array4, Axis, Slice};
use vaekit::{Domain, Half, LOGVAR_RANGE, Posterior, block_on};
use vaekit_cli::convert::{Conversion, convert};
use vaekit_cli::ui::Ui;
use vaekit_onnx::{ModelFolder, Precision};
use vaekit_tests::engines::sessions;
use vaekit_tests::fixtures::{FIXTURES, Fixture};
use vaekit_tests::tolerance::{FIXTURE_F32, FP16_PSNR, assert_close, assert_psnr};

#[test]
fn fp32_is_pytorch() {
    for fixture in FIXTURES {
        check(fixture, Precision::Fp32, &|what, found, expected| {
            assert_close(what, found.view(), expected.view(), FIXTURE_F32);
        });
    }
}

#[test]
fn fp16_is_close_and_never_black() {
    for fixture in FIXTURES {
        check(fixture, Precision::Fp16, &|what, found, expected| {
            assert_psnr(what, found.view(), expected.view(), FP16_PSNR);
        });
    }
}

type Compare<'a> = &'a dyn Fn(&str, &Array4<f32>, &Array4<f32>);

fn check(fixture: &Fixture, precision: Precision, compare: Compare<'_>) {
    let checkpoint = fixture.open();
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("vae");
    let conversion = Conversion { checkpoint: &checkpoint, name: None, precision, verify: false };
    convert(&conversion, &target, &Ui::quiet()).unwrap_or_else(|error| panic!("{}: {error:#}", fixture.name));
    let folder = ModelFolder::open(&target).unwrap();
    let answers = fixture.answers();
    let config = folder.config();
    for half in Half::BOTH {
        for mut session in sessions(&folder.model(half).unwrap().path) {
            let what = format!("{} {half} {precision} on {}", fixture.name, session.engine());
            let (input, shape) = match half {
                Half::Encoder => (&answers["image"], [1, config.encoder_out_channels(), 5, 7]),
                Half::Decoder => (&answers["latent"], [2, 3, 40, 56]),
            };
            let mut output = Array4::zeros(shape);
            block_on(session.run(input.view(), output.view_mut(), &mut ()))
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            match half {
                Half::Decoder => compare(&what, &output, &answers["decoded"]),
                Half::Encoder if config.has_posterior() => {
                    let posterior = Posterior::new(output, config.latents.channels, Domain::Raw);
                    let logvar = posterior.logvar().unwrap().mapv(|value| value.clamp(LOGVAR_RANGE.0, LOGVAR_RANGE.1));
                    compare(&format!("{what}: mean"), &posterior.mode().data, &answers["mean"]);
                    compare(&format!("{what}: logvar"), &logvar, &answers["logvar"]);
                }
                Half::Encoder => compare(&what, &output, &answers["encoded"]),
            }
        }
    }
}

#[test]
fn the_same_checkpoint_gives_the_same_bytes() {
    for fixture in [&FIXTURES[0], &FIXTURES[6]] {
        let checkpoint = fixture.open();
        let temporary = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| {
            let conversion =
                Conversion { checkpoint: &checkpoint, name: None, precision: Precision::Fp32, verify: false };
            convert(&conversion, &temporary.path().join(name), &Ui::quiet()).unwrap().manifest
        });
        assert_eq!(first, second);
    }
}

/// The two files of a TAESD and diffusers' one hold the same weights.
#[test]
fn one_vae_in_two_layouts_has_one_hash() {
    let [diffusers, original] = ["tae-diffusers", "tae-original"]
        .map(|name| FIXTURES.iter().find(|fixture| fixture.name == name).unwrap().open().vae.weights_sha256().unwrap());
    assert_eq!(diffusers, original);
}

#[test]
fn each_item_of_a_batch_is_decoded_as_if_alone() {
    let checkpoint = FIXTURES[0].open();
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("vae");
    let conversion = Conversion { checkpoint: &checkpoint, name: None, precision: Precision::Fp32, verify: false };
    convert(&conversion, &target, &Ui::quiet()).unwrap();
    let latents = &FIXTURES[0].answers()["latent"];
    for mut session in sessions(&ModelFolder::open(&target).unwrap().model(Half::Decoder).unwrap().path) {
        let mut both = Array4::zeros((2, 3, 40, 56));
        block_on(session.run(latents.view(), both.view_mut(), &mut ())).unwrap();
        let second = Slice::from(1..2);
        let mut alone = Array4::zeros((1, 3, 40, 56));
        block_on(session.run(latents.slice_axis(Axis(0), second), alone.view_mut(), &mut ())).unwrap();
        assert_close("second of two", both.slice_axis(Axis(0), second), alone.view(), FIXTURE_F32);
    }
}
