//! `vaekit compare`: pictures through several VAEs, and which comes closest.

use std::path::PathBuf;

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::Serialize;
use vaekit::Images;
use vaekit_checkpoint::scaling;
use vaekit_compare::html::{Encoded, Views};
use vaekit_compare::{Colours, Comparison, Decoded, Original, Passage, Picture, Shown, Variant, Verdict};
use vaekit_latents::Provenance;

use crate::args::CompareArgs;
use crate::failure::{Kind, OfKind};
use crate::picture::Extras;
use crate::trial::{self, Contestant, Decodings, Input};
use crate::ui::{Stages, Ui};
use crate::{choose, engine, files, locate, outputs, picture};

/// What came out, and where it is to be read.
#[derive(Debug, Serialize)]
pub struct CompareReport {
    /// The report to look at.
    pub report: PathBuf,
    /// What the numbers say.
    pub verdict: Verdict,
    /// The numbers.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Seconds of each stage.
    pub seconds: Stages,
}

/// Sends every picture through every VAE, one VAE after the other, compares what comes back, and writes the report.
///
/// # Errors
/// Of the kinds of [`Kind`].
pub fn run(args: &CompareArgs, ui: &Ui) -> Result<CompareReport> {
    let mut seconds = Stages::default();
    let inputs = seconds.time("read", || trial::inputs(&args.images))?;
    let contestants = seconds.time("convert", || contestants(args, ui))?;
    let work = |contestant: &Contestant| -> u64 {
        inputs.iter().map(|input| trial::work(contestant.folder.config(), input)).sum()
    };
    let decodings = Decodings::new()?;
    let bar = ui.bar("comparing", contestants.iter().map(work).sum());
    let mut variants = Vec::new();
    let mut passages = Vec::new();
    for (index, contestant) in contestants.iter().enumerate() {
        let run = || trial::run(contestant, index, &inputs, &decodings, &bar, ui);
        let (variant, passage) = seconds.time("run", run)?;
        variants.push(variant);
        passages.push(passage);
    }
    bar.finish_and_clear();

    let bar = ui.bar("measuring", inputs.len() as u64);
    let entrants: Vec<(&Contestant, &Variant)> = contestants.iter().zip(&variants).collect();
    let mut pictures = Vec::new();
    let mut views: Vec<Views> = Vec::new();
    let mut embedded = 0;
    for (number, input) in inputs.iter().enumerate() {
        let of_picture: Vec<&Passage> = passages.iter().map(|passages| &passages[number]).collect();
        bar.set_message(format!("measuring {}", input.name));
        let shown = Shown::after(embedded);
        let measure = || measure(input, number, &of_picture, &decodings, &entrants, shown, args);
        let (picture, view) = seconds.time("measure", measure).with_context(|| input.name.clone())?;
        pictures.push(picture);
        embedded += view.as_ref().map_or(0, Views::bytes);
        views.extend(view);
        bar.inc(1);
    }
    bar.finish_and_clear();

    let comparison = Comparison { variants, pictures };
    let verdict = vaekit_compare::verdict(&comparison, &scaling::known());
    let page = vaekit_compare::html::render(&comparison, &verdict, &views);
    let csv = vaekit_compare::csv(&comparison);
    let report = CompareReport { report: args.output.join("index.html"), verdict, comparison, seconds };
    let write = |name: &str, bytes: &[u8]| files::write_atomically(&args.output.join(name), bytes);
    write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    write("report.csv", csv.as_bytes())?;
    write("index.html", page.as_bytes())?;
    Ok(report)
}

/// The VAEs, found and converted before any work begins.
fn contestants(args: &CompareArgs, ui: &Ui) -> Result<Vec<Contestant>> {
    let mut contestants: Vec<Contestant> = Vec::new();
    for variant in &args.variants {
        let vae = variant.vae_args(args);
        engine::available(&vae.engine).with_context(|| variant.vae.clone())?;
        let chosen = choose::choose(&vae.choice, ui).map_err(|error| match variant.unknown_key() {
            Some(misspelt) => error.context(misspelt),
            None => error,
        })?;
        ui.detail(format_args!("VAE `{}`, {}", chosen.name, chosen.reason));
        let folder = locate::open(&chosen, &vae, ui)?;
        engine::require(&folder, &vaekit::Half::BOTH)?;
        let others: Vec<&str> = contestants.iter().map(|other| other.label.as_str()).collect();
        let label = vaekit_compare::label(&variant.label(&locate::name(&folder)), &others);
        contestants.push(Contestant { label, folder, engine: vae.engine });
    }
    Ok(contestants)
}

/// One picture against its original, for every variant, and what the report shows of it.
fn measure(
    input: &Input,
    number: usize,
    passages: &[&Passage],
    decodings: &Decodings,
    entrants: &[(&Contestant, &Variant)],
    shown: Option<Shown>,
    args: &CompareArgs,
) -> Result<(Picture, Option<Views>)> {
    let picture = picture::read(&input.path)?;
    let original = Original::new(picture.images).of_kind(Kind::BadInput)?;
    let compare = |variant: usize| Ok(original.compare(&decodings.get(variant, number, input)?)?);
    let decoded: Vec<Decoded> = (0..passages.len()).into_par_iter().map(compare).collect::<Result<_>>()?;
    let passages = passages.iter().map(|&passage| passage.clone()).collect();
    let compared = Picture::new(input.name.clone(), input.path.display().to_string(), &original, &decoded, passages);

    let own = Extras { icc_profile: picture.extras.icc_profile, ..Extras::default() };
    let views = shown.map(|shown| {
        vaekit_compare::views(&original, &decoded, &compared.regions, shown, |images, colours| {
            let none = Extras::default();
            encoded(images, if colours == Colours::Picture { &own } else { &none })
        })
    });
    let views = views.transpose()?;
    if args.pictures {
        for ((contestant, variant), decoded) in entrants.iter().zip(&decoded) {
            let made_by = outputs::provenance(&contestant.folder, &variant.engine, decoded.images(), None);
            let text = [(Provenance::KEY, made_by.to_json())];
            let folder = args.output.join(file_name(&contestant.label));
            let path = folder.join(format!("{number:03}-{}", file_name(&input.name))).with_extension("png");
            picture::write_png(&path, decoded.images(), 0, &own, &text)?;
        }
    }
    Ok((compared, views))
}

fn encoded(images: &Images, extras: &Extras) -> Result<Encoded> {
    Ok(Encoded { mime: "image/png", bytes: picture::encode_png(images, 0, extras, &[])? })
}

/// A label as the name of a file on every system.
fn file_name(label: &str) -> String {
    let keep = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ') { c } else { '_' };
    let name: String = label.chars().map(keep).collect();
    name.trim_matches(['.', ' ']).to_owned()
}

impl std::fmt::Display for CompareReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = ["ssimulacra2", "psnr", "delta_e_mean", "detail_kept"].map(vaekit_compare::Measure::by_key);
        let label = |text: &str| text.chars().take(32).collect::<String>();
        write!(f, "{:32}", "")?;
        for measure in shown {
            write!(f, " {:>14}", measure.name)?;
        }
        writeln!(f, " {:>12} {:>9}", "s/megapixel", "memory")?;
        for (index, variant) in self.comparison.variants.iter().enumerate() {
            write!(f, "{:32}", label(&variant.label))?;
            for measure in shown {
                let mean = measure.mean(&self.comparison, index).map_or_else(|| "-".into(), |mean| measure.show(mean));
                write!(f, " {mean:>14}")?;
            }
            let memory =
                variant.peak_memory_bytes.map_or_else(|| "-".into(), |bytes| format!("{:.0} MB", bytes as f64 / 1e6));
            writeln!(f, " {:>12.2} {memory:>9}", self.comparison.seconds_per_megapixel(index))?;
        }
        writeln!(f, "\n{}", self.verdict.text)?;
        for warning in &self.verdict.warnings {
            writeln!(f, "\nwarning: {}", warning.text)?;
        }
        write!(f, "\nlook at {}", self.report.display())
    }
}
