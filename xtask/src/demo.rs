//! `cargo xtask demo`: a photograph through a VAE that was converted a moment before.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use vaekit::{Images, Posterior};
use vaekit_cli::args::{CheckpointArgs, ConvertArgs, EngineArgs, PrecisionArg, RoundtripArgs, VaeArgs};
use vaekit_cli::commands::{convert, roundtrip};
use vaekit_cli::files;
use vaekit_cli::picture::{self, Extras};
use vaekit_cli::ui::Ui;
use vaekit_latents::{Format, Precision};

use crate::sh;

/// How much brighter the picture of differences is.
const GAIN: f32 = 4.0;

pub(crate) fn run(ui: &Ui) -> Result<()> {
    let folder = sh::target().join("demo");
    let starter = sh::root().join("models").join("starter");
    let photograph = sh::root().join("models").join("samples").join("astronaut.png");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;

    let converted = convert::run(&convert_args(&starter, &folder), ui)?;
    ui.print(&converted)?;
    println!();
    let vae = VaeArgs {
        vae: folder.join("starter").to_string_lossy().into_owned(),
        precision: None,
        checkpoint: CheckpointArgs::default(),
        engine: EngineArgs::default(),
    };
    let trip = roundtrip::roundtrip(&RoundtripArgs { image: photograph, output: folder.join("decoded.png"), vae }, ui)?;
    ui.print(&trip.report)?;

    let plain = Extras::default();
    picture::write_png(&folder.join("original.png"), &trip.original, 0, &plain, &[])?;
    picture::write_png(&folder.join("difference.png"), &difference(&trip.original, &trip.decoded), 0, &plain, &[])?;
    let latents = trip.posterior.mode();
    let bytes = vaekit_latents::write(&latents, None, Format::Safetensors, Precision::F32)?;
    files::write_atomically(&folder.join("latents.safetensors"), &bytes)?;
    for (channel, image) in channels(&trip.posterior).iter().enumerate() {
        picture::write_png(&folder.join(format!("latent-{channel}.png")), image, 0, &plain, &[])?;
    }
    files::write_atomically(&folder.join("index.html"), page(&converted, &trip).as_bytes())?;
    println!("\nlook at {}", folder.join("index.html").display());
    Ok(())
}

fn convert_args(starter: &Path, folder: &Path) -> ConvertArgs {
    ConvertArgs {
        checkpoints: vec![starter.join("diffusion_pytorch_model.safetensors")],
        output: folder.join("starter"),
        precision: PrecisionArg::Fp32,
        vae_name: None,
        verify: true,
        hash: false,
        checkpoint: CheckpointArgs::default(),
    }
}

/// `|a - b|`, black where they are equal.
fn difference(a: &Images, b: &Images) -> Images {
    Images { data: (&a.data - &b.data).mapv(|difference| difference.abs() * GAIN - 1.0) }
}

/// The mean of each channel as a grey picture, three deviations either way from black to white.
fn channels(posterior: &Posterior) -> Vec<Images> {
    let mean = posterior.mean();
    let one = |channel: ndarray::ArrayView2<'_, f32>| {
        let (average, deviation) = (channel.mean().unwrap_or(0.0), channel.std(0.0).max(f32::MIN_POSITIVE));
        let grey = channel.mapv(|value| (value - average) / (3.0 * deviation));
        let (height, width) = grey.dim();
        Images { data: ndarray::Array4::from_shape_fn((1, 3, height, width), |(_, _, y, x)| grey[(y, x)]) }
    };
    mean.index_axis(ndarray::Axis(0), 0).outer_iter().map(one).collect()
}

fn page(converted: &convert::ConvertReport, trip: &roundtrip::Roundtrip) -> String {
    let report = &trip.report;
    let mut rows = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(rows, "<tr><th>{name}</th><td>{}</td></tr>", escaped(&value));
    };
    row("VAE", format!("starter: {}, {} parameters", converted.family, converted.parameters));
    row("Conversion", format!("{:.2} s, {}", converted.seconds.total(), converted.seconds));
    for proof in &converted.verified {
        let psnr = proof.psnr.map_or("infinite".into(), |psnr| format!("{psnr:.1} dB"));
        row(
            &format!("Proof: {} on {}", proof.half, escaped(&proof.engine)),
            format!("largest error {:.1e}, PSNR {psnr}, against {}", proof.max_abs_error, proof.reference),
        );
    }
    row("Engine", report.run.engine.engine.clone());
    for skipped in &report.run.engine.skipped {
        row("Passed over", skipped.clone());
    }
    row("Round trip", report.run.seconds.to_string());
    if let Some(bytes) = report.run.peak_memory_bytes {
        row("Peak memory", format!("{} MB", bytes / 1_000_000));
    }
    let images: Vec<String> = (0..report.latents[1])
        .map(|channel| format!("<figure><img src=\"latent-{channel}.png\" alt=\"Channel {channel}\"><figcaption>{channel}</figcaption></figure>"))
        .collect();
    let values: usize = report.latents.iter().product();
    let summary = format!(
        "A checkpoint was converted to ONNX, the graphs were proved equal to it, and this photograph was encoded to {values} numbers and decoded again."
    );
    let latents = format!(
        "{} channels of {} by {}: what a diffusion model would work on instead of {} pixels.",
        report.latents[1],
        report.latents[3],
        report.latents[2],
        report.width * report.height
    );
    include_str!("demo.html")
        .replace("{{summary}}", &summary)
        .replace("{{width}}", &report.width.to_string())
        .replace("{{height}}", &report.height.to_string())
        .replace("{{psnr}}", &report.psnr.map_or("infinite".into(), |psnr| format!("{psnr:.2}")))
        .replace("{{ssim}}", &report.ssim.map_or("unknown".into(), |ssim| format!("{ssim:.3}")))
        .replace("{{latents}}", &latents)
        .replace("{{channels}}", &images.join("\n"))
        .replace("{{rows}}", &rows)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
