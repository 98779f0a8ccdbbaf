//! A run of a VAE, watched on the terminal.

use std::ops::ControlFlow;

use indicatif::ProgressBar;
use vaekit::{Observer, Progress, StepFuture};

use crate::ui::{Ui, bar_style};

/// A spinner, which becomes a bar with the time that is left where the engine tells how far it is; gone when dropped.
pub(crate) struct Watch(ProgressBar);

impl Watch {
    pub(crate) fn new(label: &str, ui: &Ui) -> Self {
        Watch(ui.spinner(label))
    }

    /// For the next `batch` items of `total`, of which `done` are done.
    pub(crate) fn batch(label: &str, done: usize, batch: usize, total: usize, ui: &Ui) -> Self {
        match (batch, total) {
            (_, 1) => Self::new(label, ui),
            (1, _) => Self::new(&format!("{label} {} of {total}", done + 1), ui),
            _ => Self::new(&format!("{label} {} to {} of {total}", done + 1, done + batch), ui),
        }
    }
}

impl Observer for Watch {
    fn step(&mut self, progress: Progress) -> StepFuture<'_> {
        let Progress { done, total } = progress;
        if done == 0 && total > 1 {
            self.0.set_style(bar_style());
            self.0.set_length(total);
        }
        self.0.set_position(done);
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
