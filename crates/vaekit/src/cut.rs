//! How a picture is cut into tiles, and what each of them counts where they overlap.

use std::ops::Range;

/// The size of a tile, in positions of the latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TileSize {
    /// Most positions along each side.
    pub side: usize,
    /// Least positions that neighbours share.
    pub overlap: usize,
}

/// Why there are no such tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileSizeError {
    /// Most of a tile would be edge.
    #[error("tiles of {side} pixels are too small: at least {least}")]
    TooSmall {
        /// Pixels along a side.
        side: usize,
        /// Fewest for this VAE.
        least: usize,
    },
    /// More than two tiles would overlap.
    #[error("tiles of {side} pixels cannot share {overlap}: half of themselves at most")]
    Overlap {
        /// Pixels along a side.
        side: usize,
        /// Pixels that neighbours would share.
        overlap: usize,
    },
}

/// Fewest positions along a side of a tile that is asked for in pixels.
const LEAST: usize = 16;

/// Sides that are tried, one after the other, where memory is short.
const SIDES: [usize; 6] = [192, 128, 96, 64, 48, 32];

impl TileSize {
    /// Tiles of this side that share a quarter with each neighbour.
    pub fn of_side(side: usize) -> Self {
        TileSize { side, overlap: side / 4 }
    }

    /// Tiles of `side` pixels that share `overlap`, a quarter if nothing is said, of a VAE with `factor` pixels a latent.
    ///
    /// # Errors
    /// [`TileSizeError`] if they are too small, or share more than half of themselves.
    pub fn of_pixels(side: usize, overlap: Option<usize>, factor: usize) -> Result<Self, TileSizeError> {
        let least = LEAST * factor;
        let overlap = overlap.unwrap_or(side / 4);
        if side < least {
            return Err(TileSizeError::TooSmall { side, least });
        }
        if overlap > side / 2 {
            return Err(TileSizeError::Overlap { side, overlap });
        }
        Ok(TileSize { side: side / factor, overlap: overlap.div_ceil(factor) })
    }

    /// The sizes to try for latents of `h` by `w` that do not fit, from the largest to the smallest.
    pub(crate) fn smaller_than(h: usize, w: usize) -> impl Iterator<Item = TileSize> {
        SIDES.into_iter().filter(move |&side| side < h.max(w)).map(TileSize::of_side)
    }
}

/// How latents of one size are cut: into tiles of one size, in rows and columns.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Cut {
    /// Along the height.
    pub rows: Pieces,
    /// Along the width.
    pub columns: Pieces,
    /// Whether normalisations see each tile by itself, so that tones may shift from one to the next.
    pub alone: bool,
    /// How far what the tiles were normalised by is from what they have together, in deviations, where the last run did not
    /// bring the two close.
    pub apart: Option<f64>,
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
        Cut { rows: Pieces::new(h, size), columns: Pieces::new(w, size), alone: false, apart: None }
    }

    /// How many tiles there are.
    pub fn n_tiles(&self) -> usize {
        self.rows.starts.len() * self.columns.starts.len()
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cut { rows, columns, alone, apart } = self;
        let (n_rows, n_columns) = (rows.starts.len(), columns.starts.len());
        write!(f, "{n_columns} by {n_rows} tiles of {} by {} latents", columns.len, rows.len)?;
        if *alone {
            f.write_str(", each normalised by itself")?;
        }
        match apart {
            Some(apart) => write!(f, ", whose normalisations agree to {apart:.2} deviations only"),
            None => Ok(()),
        }
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
    pub(crate) fn own(&self, i: usize) -> Range<usize> {
        let middle = |left: usize| (self.starts[left] + self.len + self.starts[left + 1]) / 2;
        let start = i.checked_sub(1).map_or(0, middle);
        let end = if i + 1 < self.starts.len() { middle(i) } else { self.starts[i] + self.len };
        start.saturating_sub(self.starts[i])..end - self.starts[i]
    }

    /// The share of piece `i` in each of its `len * scale` values; the shares of all pieces add up to one everywhere.
    ///
    /// Neighbours fade over the middle half of what they share: close to its edge a tile knows least of what lies beyond.
    pub(crate) fn shares(&self, i: usize, scale: usize) -> Vec<f32> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
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

        #[test]
        fn every_position_is_one_pieces_own(n in 1usize..300, side in 1usize..100, overlap in 0usize..100) {
            let pieces = Pieces::new(n, TileSize { side, overlap });
            let own = |(i, &start): (usize, &usize)| pieces.own(i).map(move |at| start + at);
            prop_assert_eq!(pieces.starts.iter().enumerate().flat_map(own).collect::<Vec<_>>(), (0..n).collect::<Vec<_>>());
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
}
