//! Engines take turns, so that whatever else the machine does hits all of them alike.

use anyhow::Result;
use vaekit_cli::files;
use vaekit_cli::ui::Ui;

use super::measure::{Engine, Job, Work, convert, in_own_process};
use super::random_vae;
use super::report::Report;
use crate::sh;

/// What is measured, on what.
pub(crate) struct Turns<'a> {
    pub(crate) works: &'a [Work],
    /// For each work; the first is the peer that the others are compared with.
    pub(crate) engines: &'a dyn Fn(Work) -> &'static [Engine],
    pub(crate) rounds: usize,
    /// Of a CPU engine.
    pub(crate) threads: usize,
    /// Whether a GPU engine gets SwiftShader.
    pub(crate) software: bool,
}

impl Turns<'_> {
    /// Measures, prints, and leaves `target/bench/NAME.json`.
    pub(crate) fn run(&self, name: &str, ui: &Ui) -> Result<()> {
        let folder = sh::target().join("bench");
        let mut report = Report::new(self.rounds, self.threads);
        for &work in self.works {
            let converted = folder.join(work.vae.to_string());
            if !report.conversions.iter().any(|conversion| conversion.vae == work.vae) {
                ui.note(format_args!("making a {} of random weights and converting it", work.vae));
                let checkpoint = random_vae::write(work.vae, &folder)?;
                report.conversions.push(convert(work.vae, &checkpoint, &converted)?);
            }
            for round in 0..self.rounds {
                for &engine in (self.engines)(work) {
                    ui.note(format_args!("{work}, round {}: {engine}", round + 1));
                    let (threads, software) = (self.threads, self.software);
                    let job = Job { engine, work, folder: converted.clone(), threads, software };
                    report.add(work, engine, in_own_process(&job)?);
                }
            }
        }
        let json = serde_json::to_string_pretty(&report)?;
        files::write_atomically(&folder.join(name).with_extension("json"), json.as_bytes())?;
        ui.print(&report)
    }
}
