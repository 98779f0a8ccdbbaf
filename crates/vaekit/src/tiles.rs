//! Pictures in tiles, where they do not fit in one piece.
//!
//! Tiles overlap and are cross-faded, so that no seam shows. That alone does not make them right: a group normalisation sees
//! the whole picture, and one that sees only a tile shifts its tones, as much as turning a grey wall green. So a session that
//! can ([`Session::piecewise`]) runs all tiles several times: first each by itself, then each normalised by the statistics that
//! all had together in the run before, until these agree: after five runs or so of a decoder and eight of an encoder. With
//! vaekit's starter VAE a picture then differs from one in one piece by 48 to 56 dB, in tiles normalised alone by 21 to 27; what
//! is left is each tile's own attention and edges. Networks without normalisations (TAESD and its like) need one run.
//!
//! diffusers and ComfyUI cross-fade with overlaps of a quarter and an eighth, and normalise each tile by itself.

use std::ops::Range;

use ndarray::{Array4, ArrayView4, ArrayViewMut4, Axis, s};

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
    /// Where one piece is out of memory: into the largest tiles that fit, if they can be normalised as one. The [`Observer`]
    /// is told.
    #[default]
    OutOfMemory,
    /// Whatever is larger than such a tile.
    Always(TileSize),
}

/// The size of a tile, in positions of the latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TileSize {
    /// Most positions along each side.
    pub side: usize,
    /// Least positions that neighbours share.
    pub overlap: usize,
}

/// Sides that are tried, one after the other, where memory is short.
const SIDES: [usize; 6] = [192, 128, 96, 64, 48, 32];

impl TileSize {
    /// Tiles of this side that share a quarter with each neighbour.
    pub fn of_side(side: usize) -> Self {
        TileSize { side, overlap: side / 4 }
    }

    /// The sizes to try for latents of `h` by `w` that do not fit, from the largest to the smallest.
    pub(crate) fn smaller_than(h: usize, w: usize) -> impl Iterator<Item = TileSize> {
        SIDES.into_iter().filter(move |&side| side < h.max(w)).map(TileSize::of_side)
    }
}

/// How latents of one size are cut: into tiles of one size, in rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cut {
    /// Along the height.
    pub rows: Pieces,
    /// Along the width.
    pub columns: Pieces,
    /// Whether normalisations see each tile by itself, so that tones may shift from one to the next.
    pub alone: bool,
}

/// Pieces of one length along an axis, which cover it and overlap.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pieces {
    /// Positions of each.
    pub len: usize,
    /// Where each begins; ascending.
    pub starts: Vec<usize>,
}

impl Cut {
    /// Cuts latents of `h` by `w`.
    pub fn new(h: usize, w: usize, size: TileSize) -> Self {
        Cut { rows: Pieces::new(h, size), columns: Pieces::new(w, size), alone: false }
    }

    /// How many tiles there are.
    pub fn n_tiles(&self) -> usize {
        self.rows.starts.len() * self.columns.starts.len()
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cut { rows, columns, alone } = self;
        let (n_rows, n_columns) = (rows.starts.len(), columns.starts.len());
        write!(f, "{n_columns} by {n_rows} tiles of {} by {} latents", columns.len, rows.len)?;
        if *alone { f.write_str(", each normalised by itself") } else { Ok(()) }
    }
}

impl Pieces {
    /// As few pieces as do, all of one length, since engines plan for each size anew; spread evenly.
    fn new(n: usize, TileSize { side, overlap }: TileSize) -> Self {
        let side = side.max(1);
        if n <= side {
            return Pieces { len: n, starts: vec![0] };
        }
        let overlap = overlap.min(side / 2);
        let count = (n - overlap).div_ceil(side - overlap);
        let len = (n + (count - 1) * overlap).div_ceil(count);
        let starts = (0..count).map(|i| i * (n - len) / (count - 1)).collect();
        Pieces { len, starts }
    }

    /// What of piece `i` is no other piece's: up to the middle of what it shares.
    fn own(&self, i: usize) -> Range<usize> {
        let middle = |left: usize| (self.starts[left] + self.len + self.starts[left + 1]) / 2;
        let start = i.checked_sub(1).map_or(0, middle);
        let end = if i + 1 < self.starts.len() { middle(i) } else { self.starts[i] + self.len };
        start.saturating_sub(self.starts[i])..end - self.starts[i]
    }

    /// The share of piece `i` in each of its `len * scale` values; the shares of all pieces add up to one everywhere.
    ///
    /// Neighbours fade over the middle half of what they share: close to its edge a tile knows least of what lies beyond.
    fn shares(&self, i: usize, scale: usize) -> Vec<f32> {
        let len = self.len * scale;
        let overlap = |left: usize| (self.starts[left] + self.len - self.starts[left + 1]) * scale;
        let before = i.checked_sub(1).map(overlap);
        let after = (i + 1 < self.starts.len()).then(|| overlap(i));
        // The ramp up at the start of the later of two pieces; the earlier one has what is left.
        let ramp = |at: usize, overlap: usize| {
            let (at, overlap) = (at as f32 + 0.5, overlap as f32);
            ((at - overlap / 4.0) / (overlap / 2.0)).clamp(0.0, 1.0)
        };
        let share = |at: usize| {
            let up = before.map_or(1.0, |overlap| ramp(at, overlap));
            let down = after
                .filter(|overlap| at + overlap >= len)
                .map_or(1.0, |overlap| 1.0 - ramp(at + overlap - len, overlap));
            up * down
        };
        (0..len).map(share).collect()
    }
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
pub(crate) async fn run(
    session: &mut dyn Session,
    mut job: Job<'_>,
    tiling: Tiling,
    observer: &mut dyn Observer,
) -> Result<(), RunError> {
    let (n, _, height, width) = job.input.dim();
    let (h, w) = (height / job.scale[0], width / job.scale[0]);
    let alone = job.normalises && session.piecewise().is_none();
    let cut = |size| Cut { alone, ..Cut::new(h, w, size) };
    let wanted = match tiling {
        Tiling::Always(size) => Some(cut(size)).filter(|cut| cut.n_tiles() > 1),
        Tiling::Never | Tiling::OutOfMemory => None,
    };
    let too_much = |error: &RunError| tiling == Tiling::OutOfMemory && matches!(error.failure, Failure::OutOfMemory(_));
    let mut error = None;
    if wanted.is_none() {
        match attempt(session, job.input, job.output.view_mut(), observer).await {
            Err(failed) if too_much(&failed) => error = Some(failed),
            done => return done,
        }
    }
    if n > 1 {
        let items = job.input.axis_chunks_iter(Axis(0), 1).zip(job.output.axis_chunks_iter_mut(Axis(0), 1));
        for (index, (input, output)) in (0..).zip(items) {
            let mut part = Part { observer, index, count: n as u64 };
            Box::pin(run(session, Job { input, output, ..job }, tiling, &mut part)).await?;
        }
        return Ok(());
    }
    let Some(mut error) = error else {
        return match wanted {
            Some(cut) => run_tiles(session, &mut job, &cut, observer).await,
            None => Ok(()),
        };
    };
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
    let mut given: Option<Statistics> = None;
    for index in 0..runs {
        let mut part = Part { observer, index, count: runs };
        let found = run_once(session, job, cut, given.as_ref(), &mut part).await?;
        given = match given {
            Some(given) if given.distance(&found) <= CLOSE => break,
            Some(given) => Some(found.mixed(&given, KEPT)),
            None => Some(found),
        };
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

    /// Makes every value a square of `scale` a side, if the input has at most `most` positions.
    struct Enlarge {
        engine: Engine,
        most: usize,
        scale: usize,
    }

    impl Enlarge {
        fn new(most: usize, scale: usize) -> Self {
            Enlarge { engine: Engine { name: "enlarging", version: "1".into(), provider: "cpu".into() }, most, scale }
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
                if n * h * w > self.most {
                    return Err(Failure::OutOfMemory(format!("{h} by {w} is too large")));
                }
                let _ = observer.step(Progress { done: 0, total: 10 }).await;
                let scale = self.scale;
                output.indexed_iter_mut().for_each(|((n, c, y, x), to)| *to = input[(n, c, y / scale, x / scale)]);
                Ok(())
            })
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
        block_on(run(session, job, tiling, &mut told))?;
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

        #[test]
        fn shares_add_up_to_one(n in 1usize..300, side in 1usize..100, overlap in 0usize..100, scale in 1usize..9) {
            let pieces = Pieces::new(n, TileSize { side, overlap });
            let mut sums = vec![0.0; n * scale];
            for (i, &start) in pieces.starts.iter().enumerate() {
                for (sum, share) in sums[start * scale..].iter_mut().zip(pieces.shares(i, scale)) {
                    *sum += share;
                }
            }
            prop_assert!(pieces.len <= side.max(1), "{pieces:?}");
            prop_assert!(sums.iter().all(|sum: &f32| (sum - 1.0).abs() < 1e-6), "{pieces:?}: {sums:?}");
        }
    }

    #[test]
    fn pieces_are_few_and_even() {
        let pieces = |n, side, overlap| Pieces::new(n, TileSize { side, overlap });
        assert_eq!(pieces(64, 64, 16), Pieces { len: 64, starts: vec![0] });
        assert_eq!(pieces(65, 64, 16), Pieces { len: 41, starts: vec![0, 24] });
        assert_eq!(pieces(256, 64, 16), Pieces { len: 64, starts: vec![0, 48, 96, 144, 192] });
        assert_eq!(Cut::new(65, 256, TileSize::of_side(64)).to_string(), "5 by 2 tiles of 64 by 41 latents");
    }

    #[test]
    fn the_middle_of_a_tile_is_its_own() {
        let pieces = Pieces::new(112, TileSize { side: 64, overlap: 16 });
        let shares = pieces.shares(0, 1);
        assert_eq!(pieces.starts, [0, 48]);
        assert!(shares[..52].iter().all(|&share| share == 1.0) && shares[60..].iter().all(|&share| share == 0.0));
        assert!(shares[52..60].is_sorted_by(|a, b| a > b));
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
    fn what_never_fits_is_an_error() {
        let mut session = Enlarge::new(20, 8);
        for (tiling, tried) in [(Tiling::OutOfMemory, 29), (Tiling::Never, 50)] {
            let Err(error) = check(&mut session, [1, 50, 50], tiling) else { panic!("it fits") };
            assert_eq!(error.failure, Failure::OutOfMemory(format!("{tried} by {tried} is too large")));
        }
    }
}
