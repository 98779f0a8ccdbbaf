//! Where a run of vaekit's engines spends its time, against what the processor can do.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use vaekit::{Observer, Progress, StepFuture};
use vaekit_cpu::StepInfo;
use vaekit_kernels::layout::{Block, Shape, View};
use vaekit_kernels::{Conv2d, Io, Level, Window, Workspace};

/// All steps of one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kind {
    pub(crate) kernel: String,
    pub(crate) seconds: f64,
    /// Multiply-adds that a direct evaluation takes.
    pub(crate) macs: u64,
}

/// Notes when each step begins.
#[derive(Default)]
pub(crate) struct Clock(Vec<Instant>);

impl Observer for Clock {
    fn step(&mut self, _: Progress) -> StepFuture<'_> {
        self.0.push(Instant::now());
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }
}

/// One run, its time by kernel.
pub(crate) fn profile(steps: &[StepInfo], run: impl FnOnce(&mut dyn Observer) -> Result<()>) -> Result<Vec<Kind>> {
    let mut clock = Clock::default();
    run(&mut clock)?;
    clock.0.push(Instant::now());
    let steps = steps.iter().zip(clock.0.windows(2));
    Ok(by_kernel(steps.map(|(step, ends)| (step.kind, (ends[1] - ends[0]).as_secs_f64(), step.macs))))
}

/// Steps' kernel, seconds and multiply-adds, added up by kernel.
pub(crate) fn by_kernel<'a>(steps: impl Iterator<Item = (&'a str, f64, u64)>) -> Vec<Kind> {
    let mut kinds: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for (kernel, seconds, macs) in steps {
        let kind = kinds.entry(kernel).or_default();
        *kind = (kind.0 + seconds, kind.1 + macs);
    }
    let mut kinds: Vec<Kind> =
        kinds.into_iter().map(|(kernel, (seconds, macs))| Kind { kernel: kernel.into(), seconds, macs }).collect();
    kinds.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    kinds
}

/// Operations a second of a product of matrices that fits in the caches, on every thread at once.
pub(crate) fn peak_flops(threads: usize) -> Result<f64> {
    const CHANNELS: usize = 512;
    const PIXELS: usize = 8 * 14;
    const RUNS: usize = 400;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("no threads")?;
    let rates = pool.broadcast(|_| {
        let shape = Shape::new(CHANNELS, 8, PIXELS / 8);
        let conv =
            Conv2d::new(Level::best(), Window::POINT, &vec![0.01; CHANNELS * CHANNELS], &vec![0.0; CHANNELS], CHANNELS);
        let (x, mut out, workspace) =
            (vec![Block::ZERO; shape.blocks()], vec![Block::ZERO; shape.blocks()], Workspace::new());
        let begin = Instant::now();
        for _ in 0..RUNS {
            conv.run(black_box(Io::new(View::new(shape, &x))), &mut out, None, &workspace);
        }
        (2 * CHANNELS * CHANNELS * PIXELS * RUNS) as f64 / begin.elapsed().as_secs_f64()
    });
    Ok(rates.iter().sum())
}
