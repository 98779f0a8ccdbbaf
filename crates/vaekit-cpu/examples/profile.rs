//! Where the time of a run goes: `cargo run --release -p vaekit-cpu --example profile -- model.onnx 4,64,64 [THREADS]`.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use ndarray::Array4;
use vaekit::{Observer, Progress, Session, StepFuture, block_on};
use vaekit_cpu::{CpuSession, Options};

const ROUNDS: usize = 3;

/// Notes when each step begins.
#[derive(Default)]
struct Clock(Vec<Instant>);

impl Observer for Clock {
    fn step(&mut self, _: Progress) -> StepFuture<'_> {
        self.0.push(Instant::now());
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, size, rest @ ..] = &arguments[..] else { return Err("usage: profile MODEL C,H,W [THREADS]".into()) };
    let sides: Vec<usize> = size.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let size: [usize; 3] = sides.try_into().map_err(|_| "expected C,H,W")?;
    let threads = rest.first().map(|n| n.parse()).transpose()?;
    let mut session = CpuSession::open(std::fs::File::open(model)?, &Options { threads, ..Options::default() })?;
    let steps = session.steps(size)?;
    let input = Array4::from_shape_fn((1, size[0], size[1], size[2]), |(_, c, y, x)| {
        ((c * 31 + y * 17 + x * 7) % 101) as f32 / 50.0 - 1.0
    });
    let [channels, height, width] = session.output(size)?;
    let mut output = Array4::zeros((1, channels, height, width));
    let mut best = vec![Duration::MAX; steps.len()];
    let mut total = Duration::MAX;
    for _ in 0..ROUNDS {
        let mut clock = Clock::default();
        let begin = Instant::now();
        block_on(session.run(input.view(), output.view_mut(), &mut clock))?;
        total = total.min(begin.elapsed());
        clock.0.push(Instant::now());
        for (best, ends) in best.iter_mut().zip(clock.0.windows(2)) {
            *best = (*best).min(ends[1] - ends[0]);
        }
    }
    let rate = |macs: u64, time: Duration| 2e-9 * macs as f64 / time.as_secs_f64();
    let mut kinds: BTreeMap<&str, (Duration, u64)> = BTreeMap::new();
    for (step, &time) in steps.iter().zip(&best) {
        let kind = kinds.entry(step.kind).or_default();
        *kind = (kind.0 + time, kind.1 + step.macs);
        println!(
            "{:8.2} ms {:7.1} GFLOP/s  {:24} {}",
            time.as_secs_f64() * 1e3,
            rate(step.macs, time),
            step.kind,
            step.name
        );
    }
    println!();
    for (kind, (time, macs)) in kinds {
        println!("{:8.2} ms {:7.1} GFLOP/s  {kind}", time.as_secs_f64() * 1e3, rate(macs, time));
    }
    println!("{:8.2} ms in all, {} MB held", total.as_secs_f64() * 1e3, session.run_bytes(size)? / 1_000_000);
    Ok(())
}
