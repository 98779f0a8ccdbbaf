//! Powers of two folded into an f32 graph change no bit of its result.

use std::collections::BTreeMap;

use ndarray::Array4;
use vaekit::{Half, Session, Weights, block_on};
use vaekit_onnx::{Export, Folding, Precision, Source, write_model};
use vaekit_ort::{OrtSession, Provider, Runtime};
use vaekit_tests::fixtures::FIXTURES;

#[test]
fn folding_is_bit_identical_in_fp32() {
    let Ok(runtime) = Runtime::load() else {
        assert!(std::env::var_os("VAEKIT_REQUIRE_ORT").is_none(), "no ONNX Runtime");
        return;
    };
    for fixture in FIXTURES.iter().filter(|fixture| !fixture.name.starts_with("tae")) {
        let checkpoint = fixture.open();
        let config = checkpoint.vae.config();
        let latents = &fixture.answers()["latent"];
        let run = |folding: Folding| {
            let weights: &dyn Weights = &checkpoint.vae;
            let export = Export::with(config, weights, Source::default(), Precision::Fp32, vec![folding]);
            let mut model = Vec::new();
            write_model(&export, Half::Decoder, &mut model, &mut |_| {}).unwrap();
            let options = vaekit_ort::Options { provider: Provider::Cpu.into(), ..Default::default() };
            let mut session = OrtSession::from_bytes(&runtime, &model, &options).unwrap().0;
            let mut output = Array4::<f32>::zeros((2, 3, 40, 56));
            block_on(session.run(latents.view(), output.view_mut(), &mut ())).unwrap();
            output
        };
        let conv1 = BTreeMap::from([("decoder.mid_block.resnets.0.conv1".to_owned(), 5)]);
        let folded = run(Folding { half: Half::Decoder, stream: 7, conv1 });
        assert!(folded == run(Folding::none(Half::Decoder)), "{}", fixture.name);
    }
}
