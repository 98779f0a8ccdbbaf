//! A run of a VAE, watched on the terminal.

use std::ops::ControlFlow;

use indicatif::ProgressBar;
use vaekit::{Cut, Observer, Progress, StepFuture};

use crate::tiles::Tiles;
use crate::ui::{Ui, bar_style};

/// A spinner, which becomes a bar with the time that is left where the engine tells how far it is; gone when dropped.
pub(crate) struct Watch {
    bar: ProgressBar,
    cut: Option<Cut>,
}

impl Watch {
    pub(crate) fn new(label: &str, ui: &Ui) -> Self {
        Watch { bar: ui.spinner(label), cut: None }
    }

    /// For the next `batch` items of `total`, of which `done` are done.
    pub(crate) fn batch(label: &str, done: usize, batch: usize, total: usize, ui: &Ui) -> Self {
        match (batch, total) {
            (_, 1) => Self::new(label, ui),
            (1, _) => Self::new(&format!("{label} {} of {total}", done + 1), ui),
            _ => Self::new(&format!("{label} {} to {} of {total}", done + 1, done + batch), ui),
        }
    }

    /// The tiles that the run was cut into, if it was. Says so if they were not asked for, or may show.
    pub(crate) fn finish(mut self, tiles: Tiles, ui: &Ui) -> Option<Cut> {
        let cut = self.cut.take();
        drop(self);
        match &cut {
            Some(cut) if tiles == Tiles::Auto => {
                ui.note(format_args!("one piece does not fit into memory, so it went in {cut}"));
            }
            Some(cut) if cut.alone => ui.note(format_args!(
                "it went in {cut}: tones may shift from one to the next; --engine cpu and wgpu normalise them as one"
            )),
            Some(cut) if cut.apart.is_some() => ui.note(format_args!("it went in {cut}: tones may shift a little")),
            _ => {}
        }
        cut
    }
}

impl Observer for Watch {
    fn step(&mut self, progress: Progress) -> StepFuture<'_> {
        let Progress { done, total } = progress;
        if done == 0 && total > 1 {
            self.bar.set_style(bar_style());
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }

    fn cut(&mut self, cut: &Cut) {
        self.cut = Some(cut.clone());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
