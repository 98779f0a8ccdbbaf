//! FLUX.2's tiny autoencoder with its real weights, where they lie beside the project.

use ndarray::Array4;
use vaekit::{Half, block_on};
use vaekit_cli::args::CheckpointArgs;
use vaekit_cli::checkpoint;
use vaekit_cli::convert::{Conversion, convert};
use vaekit_cli::ui::Ui;
use vaekit_onnx::{ModelFolder, Precision};
use vaekit_tests::engines::sessions;
use vaekit_tests::fixtures::{read_arrays, root};
use vaekit_tests::tolerance::{FIXTURE_F32, assert_close};

#[test]
fn real_weights_are_pytorch() {
    let folder = root().parent().unwrap().join("shared").join("models").join("taef2");
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return;
    }
    let paths = ["taef2_encoder.pth", "taef2_decoder.pth"].map(|name| folder.join(name));
    let checkpoint = checkpoint::open(&paths, &CheckpointArgs::default(), false, &Ui::quiet()).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let target = temporary.path().join("taef2");
    let conversion = Conversion { checkpoint: &checkpoint, name: None, precision: Precision::Fp32, verify: false };
    convert(&conversion, &target, &Ui::quiet()).unwrap();
    let converted = ModelFolder::open(&target).unwrap();

    // The answers are the network's own, in [0, 1]; the graph takes and gives [-1, 1].
    let answers = read_arrays(&folder.join("expect.safetensors"));
    let signed = |values: &Array4<f32>| values.mapv(|value| 2.0 * value - 1.0);
    let (image, latent) = (signed(&answers["image_01"]), &answers["latent"]);
    let decoded = signed(&answers["decoded_01"]);
    for mut session in sessions(&converted.model(Half::Encoder).unwrap().path) {
        let mut found = Array4::zeros(latent.dim());
        block_on(session.run(image.view(), found.view_mut(), &mut ())).unwrap();
        assert_close(&format!("encoder on {}", session.engine()), found.view(), latent.view(), FIXTURE_F32);
    }
    for mut session in sessions(&converted.model(Half::Decoder).unwrap().path) {
        let mut found = Array4::zeros(decoded.dim());
        block_on(session.run(latent.view(), found.view_mut(), &mut ())).unwrap();
        assert_close(&format!("decoder on {}", session.engine()), found.view(), decoded.view(), FIXTURE_F32);
    }
}
