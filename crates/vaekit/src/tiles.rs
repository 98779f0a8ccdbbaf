//! Pictures in tiles, where they do not fit in one piece.
//!
//! Tiles overlap and are cross-faded, so that no seam shows. That alone does not make them right: a group normalisation sees
//! the whole picture, and one that sees only a tile shifts its tones, as much as turning a grey wall green. So a session that
//! can ([`Session::piecewise`]) runs all tiles several times: first each by itself, then each normalised by the statistics that
//! all had together in the run before, until the two agree, or for an eighth time: decoders agree after five runs or so,
//! encoders seldom before the last, and how far they were apart then is told. With vaekit's starter VAE a picture then differs
//! from one in one piece by 44 to 56 dB, in tiles normalised alone by 21 to 27; what is left is each tile's own attention and
//! edges. Networks without normalisations (TAESD and its like) need one run.
//!
//! diffusers and ComfyUI cross-fade with overlaps of a quarter and an eighth, and normalise each tile by itself.

use ndarray::{Array4, ArrayView4, ArrayViewMut4, Axis, s};

use crate::cut::{Cut, TileSize};
use crate::session::{Failure, Observer, Progress, RunError, Session, StepFuture};
use crate::statistics::{Piece, Statistics};

/// Runs of all tiles, at most.
const RUNS: u64 = 8;

/// Distance of two runs' statistics at which another one would change nothing that shows.
const CLOSE: f64 = 0.05;

/// Share of the last run's statistics that the next one keeps, since what each run finds swings around what is right.
const KEPT: f64 = 0.3;

/// When images and latents are cut into tiles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiling {
    /// Never: what does not fit is an error.
    Never,
    /// Where one piece is out of memory: into the largest tiles that fit, if they can be normalised as one or there is nothing
    /// to normalise. The [`Observer`] is told.
    #[default]
    OutOfMemory,
    /// Whatever is larger than such a tile.
    Always(TileSize),
}

/// Tells an observer of one part of a run how far the whole is.
struct Part<'a> {
    observer: &'a mut dyn Observer,
    index: u64,
    count: u64,
}

impl Observer for Part<'_> {
    fn step(&mut self, Progress { done, total }: Progress) -> StepFuture<'_> {
        let done = total.saturating_mul(self.index).saturating_add(done);
        self.observer.step(Progress { done, total: total.saturating_mul(self.count) })
    }

    fn cut(&mut self, cut: &Cut) {
        self.observer.cut(cut);
    }
}

/// A run whose input and output have `scale` values along a side for each position of the latents.
pub(crate) struct Job<'a> {
    pub(crate) input: ArrayView4<'a, f32>,
    pub(crate) output: ArrayViewMut4<'a, f32>,
    pub(crate) scale: [usize; 2],
    /// Whether the network has group normalisations.
    pub(crate) normalises: bool,
}

/// Runs a session in one piece, or if that may be and is too much one image at a time, and each in tiles.
///
/// Before that an `idle` session, the other half of the same VAE, gives up what it keeps.
pub(crate) async fn run(
    session: &mut dyn Session,
    mut job: Job<'_>,
    tiling: Tiling,
    idle: Option<&mut dyn Session>,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    let (n, _, height, width) = job.input.dim();
    let (h, w) = (height / job.scale[0], width / job.scale[0]);
    let alone = job.normalises && session.piecewise().is_none();
    let cut = |size| Cut { alone, ..Cut::new(h, w, size) };
    if let Tiling::Always(size) = tiling
        && cut(size).n_tiles() > 1
    {
        return match n {
            1 => run_tiles(session, &mut job, &cut(size), observer).await,
            _ => one_by_one(session, job, tiling, observer).await,
        };
    }
    let is_out_of_memory = |error: &RunError| matches!(error.failure, Failure::OutOfMemory(_));
    let too_much = |error: &RunError| tiling == Tiling::OutOfMemory && is_out_of_memory(error);
    let mut done = attempt(session, job.input, job.output.view_mut(), observer).await;
    if done.as_ref().is_err_and(is_out_of_memory) && idle.is_some_and(|idle| idle.release()) {
        done = attempt(session, job.input, job.output.view_mut(), observer).await;
    }
    let mut error = match done {
        Err(error) if too_much(&error) => error,
        done => return done,
    };
    if n > 1 {
        return one_by_one(session, job, tiling, observer).await;
    }
    if alone {
        let Failure::OutOfMemory(reason) = &mut error.failure else { return Err(error) };
        reason.push_str(
            "; tiles have to be asked for here, since this engine normalises each by itself and tones may shift",
        );
        return Err(error);
    }
    for size in TileSize::smaller_than(h, w) {
        match run_tiles(session, &mut job, &cut(size), observer).await {
            Err(smaller) if too_much(&smaller) => error = smaller,
            done => return done,
        }
    }
    Err(error)
}

async fn one_by_one(
    session: &mut dyn Session,
    mut job: Job<'_>,
    tiling: Tiling,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    let count = job.input.len_of(Axis(0)) as u64;
    let items = job.input.axis_chunks_iter(Axis(0), 1).zip(job.output.axis_chunks_iter_mut(Axis(0), 1));
    for (index, (input, output)) in (0..).zip(items) {
        let mut part = Part { observer, index, count };
        Box::pin(run(session, Job { input, output, ..job }, tiling, None, &mut part)).await?;
    }
    Ok(())
}

async fn attempt(
    session: &mut dyn Session,
    input: ArrayView4<'_, f32>,
    output: ArrayViewMut4<'_, f32>,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    let run = session.run(input, output, observer).await;
    run.map_err(|failure| RunError::new(session.engine(), input.shape(), failure))
}

/// Runs one image in tiles, as often as their statistics need to agree.
async fn run_tiles(
    session: &mut dyn Session,
    job: &mut Job<'_>,
    cut: &Cut,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    let runs = if session.piecewise().is_some() { RUNS } else { 1 };
    let (mut given, mut apart): (Option<Statistics>, _) = (None, None);
    for index in 0..runs {
        let mut part = Part { observer, index, count: runs };
        let found = run_once(session, job, cut, given.as_ref(), &mut part).await?;
        given = Some(match given {
            Some(given) => {
                apart = Some(given.distance(&found)).filter(|&apart| apart > CLOSE);
                if apart.is_none() {
                    break;
                }
                found.mixed(&given, KEPT)
            }
            None => found,
        });
    }
    if apart.is_some() {
        observer.cut(&Cut { apart, ..cut.clone() });
    }
    Ok(())
}

/// Runs all tiles, and says what their normalisations saw.
async fn run_once(
    session: &mut dyn Session,
    job: &mut Job<'_>,
    cut: &Cut,
    given: Option<&Statistics>,
    observer: &mut dyn Observer,
) -> Result<Statistics, RunError> {
    let [from, to] = job.scale;
    let (n, channels, ..) = job.output.dim();
    let (height, width) = (cut.rows.len, cut.columns.len);
    let mut tile = Array4::zeros((n, channels, height * to, width * to));
    let mut all = Statistics::default();
    let mut index = 0;
    job.output.fill(0.0);
    for (row, &top) in cut.rows.starts.iter().enumerate() {
        let down = cut.rows.shares(row, to);
        for (column, &left) in cut.columns.starts.iter().enumerate() {
            let across = cut.columns.shares(column, to);
            let place =
                |scale: usize| s![.., .., top * scale..(top + height) * scale, left * scale..(left + width) * scale];
            let input = job.input.slice(place(from));
            let mut part = Part { observer, index, count: cut.n_tiles() as u64 };
            if let Some(piecewise) = session.piecewise() {
                let piece = Piece { size: [height, width], own: [cut.rows.own(row), cut.columns.own(column)], given };
                let mut found = Statistics::default();
                let run = piecewise.run_piece(&piece, input, tile.view_mut(), &mut found, &mut part).await;
                run.map_err(|failure| RunError::new(session.engine(), input.shape(), failure))?;
                all.add(&found);
            } else {
                attempt(session, input, tile.view_mut(), &mut part).await?;
            }
            if index == 0 && given.is_none() {
                // It is known only now that they fit.
                observer.cut(cut);
            }
            index += 1;
            add(job.output.slice_mut(place(to)), tile.view(), &down, &across);
        }
    }
    Ok(all)
}

/// Adds the tile's share.
fn add(mut output: ArrayViewMut4<'_, f32>, tile: ArrayView4<'_, f32>, down: &[f32], across: &[f32]) {
    for (mut output, tile) in output.outer_iter_mut().zip(tile.outer_iter()) {
        for (mut output, tile) in output.outer_iter_mut().zip(tile.outer_iter()) {
            for ((mut output, tile), down) in output.outer_iter_mut().zip(tile.outer_iter()).zip(down) {
                for ((output, tile), across) in output.iter_mut().zip(tile).zip(across) {
                    *output += tile * (down * across);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;
    use crate::session::{Engine, RunFuture};
    use proptest::prelude::*;
    use std::ops::ControlFlow;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Makes every value a square of `scale` a side, if the input has at most `most` positions.
    struct Enlarge {
        engine: Engine,
        most: usize,
        scale: usize,
        /// Positions that another session may keep from it.
        kept: Arc<AtomicUsize>,
    }

    impl Enlarge {
        fn new(most: usize, scale: usize) -> Self {
            let engine = Engine { name: "enlarging", version: "1".into(), provider: "cpu".into() };
            Enlarge { engine, most, scale, kept: Arc::default() }
        }
    }

    impl Session for Enlarge {
        fn engine(&self) -> &Engine {
            &self.engine
        }

        fn run<'a>(
            &'a mut self,
            input: ArrayView4<'a, f32>,
            mut output: ArrayViewMut4<'a, f32>,
            observer: &'a mut dyn Observer,
        ) -> RunFuture<'a> {
            Box::pin(async move {
                let (n, _, h, w) = input.dim();
                if n * h * w + self.kept.load(Ordering::Relaxed) > self.most {
                    return Err(Failure::OutOfMemory(format!("{h} by {w} is too large")));
                }
                let _ = observer.step(Progress { done: 0, total: 10 }).await;
                let scale = self.scale;
                output.indexed_iter_mut().for_each(|((n, c, y, x), to)| *to = input[(n, c, y / scale, x / scale)]);
                Ok(())
            })
        }

        fn release(&mut self) -> bool {
            self.kept.swap(0, Ordering::Relaxed) > 0
        }
    }

    #[derive(Default)]
    struct Told {
        steps: Vec<Progress>,
        cuts: Vec<Cut>,
    }

    impl Observer for Told {
        fn step(&mut self, progress: Progress) -> StepFuture<'_> {
            self.steps.push(progress);
            Box::pin(std::future::ready(ControlFlow::Continue(())))
        }

        fn cut(&mut self, cut: &Cut) {
            self.cuts.push(cut.clone());
        }
    }

    /// Runs on latents of `n` images of `h` by `w`, and says whether the output is what one piece gives.
    fn check(session: &mut Enlarge, [n, h, w]: [usize; 3], tiling: Tiling) -> Result<Told, RunError> {
        let scale = session.scale;
        let latents = Array4::from_shape_fn((n, 2, h, w), |(n, c, y, x)| (n * 31 + c * 7 + y * 3 + x) as f32);
        let mut output = Array4::from_elem((n, 2, h * scale, w * scale), f32::NAN);
        let mut told = Told::default();
        let job = Job { input: latents.view(), output: output.view_mut(), scale: [1, scale], normalises: false };
        block_on(run(session, job, tiling, None, &mut told))?;
        for ((n, c, y, x), &value) in output.indexed_iter() {
            let expected = latents[(n, c, y / scale, x / scale)];
            assert!((value - expected).abs() <= 1e-6 * expected, "{value} for {expected} at {y}, {x} of {h} by {w}");
        }
        Ok(told)
    }

    proptest! {
        #[test]
        fn tiles_of_a_pointwise_network_give_what_one_piece_gives(
            h in 1usize..70, w in 1usize..70, side in 1usize..40, overlap in 0usize..40, scale in 1usize..4,
        ) {
            let tiling = Tiling::Always(TileSize { side, overlap });
            check(&mut Enlarge::new(side * side, scale), [1, h, w], tiling).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_goes_one_by_one_and_then_in_tiles() {
        let told = check(&mut Enlarge::new(100 * 100, 8), [3, 90, 100], Tiling::OutOfMemory).unwrap();
        assert_eq!((told.cuts.len(), told.steps.len()), (0, 3));
        let told = check(&mut Enlarge::new(70 * 70, 8), [1, 90, 100], Tiling::OutOfMemory).unwrap();
        assert_eq!(told.cuts, [Cut::new(90, 100, TileSize::of_side(64))]);
        let of_all = |tile: u64| Progress { done: 10 * tile, total: 40 };
        assert_eq!(told.steps, [0, 1, 2, 3].map(of_all));
    }

    #[test]
    fn the_other_half_gives_up_what_it_keeps() {
        let (mut session, mut idle) = (Enlarge::new(100, 1), Enlarge::new(100, 1));
        idle.kept = session.kept.clone();
        let latents = Array4::zeros((1, 2, 10, 10));
        session.kept.store(1, Ordering::Relaxed);
        for (idle, fits) in [(None, false), (Some(&mut idle as &mut dyn Session), true)] {
            let mut output = latents.clone();
            let job = Job { input: latents.view(), output: output.view_mut(), scale: [1, 1], normalises: true };
            assert_eq!(block_on(run(&mut session, job, Tiling::Never, idle, &mut ())).is_ok(), fits);
        }
    }

    #[test]
    fn what_never_fits_is_an_error() {
        let mut session = Enlarge::new(20, 8);
        for (tiling, tried) in [(Tiling::OutOfMemory, 29), (Tiling::Never, 50)] {
            let Err(error) = check(&mut session, [1, 50, 50], tiling) else { panic!("it fits") };
            assert_eq!(error.failure, Failure::OutOfMemory(format!("{tried} by {tried} is too large")));
        }
    }
}
