//! Matrix products in blocks: the rows are pixels or tiles, the columns output channels, packed once.
//!
//! The left operand is read where it lies: element (row r, k) is lane `k % 16` of block `(k / 16) * stride + r`, which
//! is the layout of activations (see [`crate::layout`]) and what the Winograd transform writes. The right operand is
//! packed into panels. The product has the layout of activations again. The micro-kernel keeps `ROWS` by `COLUMNS`
//! blocks of sums in registers. Every element is the same chains of multiply-adds in order of k, whatever the shape of the
//! product around it, so that results do not depend on how work was split.

use crate::layout::{Block, LANES, blocks};
use crate::simd::{Kernel, Level, Simd};

/// The left operand: `rows` rows of `k` columns, see the module's description.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) blocks: &'a [Block],
    pub(crate) stride: usize,
    pub(crate) rows: usize,
}

/// What a sum starts from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Init {
    Zero,
    /// What stands in the output.
    Accumulate,
}

/// Terms of one chain of additions. A chain's rounding error grows with the square root of its length, so that for 512
/// terms four chains that are then added up have about half the error of one; the product's speed is the same.
const CHAIN: usize = 128;

/// Where a `k` by `columns` matrix lies once it is packed: panels of `width` blocks of columns one after another, each
/// holding its rows one after another. The last panel may be narrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panels {
    pub(crate) k: usize,
    /// Blocks of columns.
    pub(crate) columns: usize,
    /// Blocks of columns in a panel.
    pub(crate) width: usize,
}

impl Panels {
    pub(crate) fn new(level: Level, k: usize, columns: usize) -> Self {
        Self { k, columns, width: level.panel_blocks() }
    }

    pub(crate) fn blocks(self) -> usize {
        self.k * self.columns
    }

    pub(crate) fn count(self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Blocks of columns in panel `p`.
    pub(crate) fn width_of(self, p: usize) -> usize {
        self.width.min(self.columns - p * self.width)
    }

    /// Where panel `p` starts.
    pub(crate) fn start(self, p: usize) -> usize {
        p * self.width * self.k
    }

    /// The index of row `k` of column block `c`.
    pub(crate) fn index(self, k: usize, c: usize) -> usize {
        let p = c / self.width;
        self.start(p) + k * self.width_of(p) + c % self.width
    }
}

/// A packed right operand.
pub(crate) struct Packed {
    pub(crate) panels: Panels,
    pub(crate) blocks: Vec<Block>,
}

impl Packed {
    /// Packs the matrix whose row k of column c is `element(k, c)`.
    pub(crate) fn new(level: Level, k: usize, columns: usize, element: impl Fn(usize, usize) -> f32) -> Self {
        let panels = Panels::new(level, k, blocks(columns));
        let mut packed = vec![Block::ZERO; panels.blocks()];
        for column in 0..columns {
            for row in 0..k {
                packed[panels.index(row, column / LANES)].0[column % LANES] = element(row, column);
            }
        }
        Self { panels, blocks: packed }
    }
}

/// `out = init + a * b` for one panel of the right operand: block of columns c of row r goes to `out[c][r]`.
pub(crate) struct Panel<'a, 'o> {
    pub(crate) a: Rows<'a>,
    /// The panel, as wide as `out` is long.
    pub(crate) b: &'a [Block],
    pub(crate) init: Init,
    /// What will be read next, such as the next panel: it is brought into the cache meanwhile.
    pub(crate) next: &'a [Block],
    /// One or two blocks of columns.
    pub(crate) out: &'a mut [&'o mut [Block]],
}

impl Kernel for Panel<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, init, next, out } = self;
        if let [first, second] = out {
            columns(s, a, b, init, next, [first, second]);
        } else if let [only] = out {
            columns(s, a, b, init, next, [only]);
        }
    }
}

/// `out = init + a * b`, panel by panel.
pub(crate) fn multiply(level: Level, a: Rows<'_>, panels: Panels, b: &[Block], init: Init, out: &mut [&mut [Block]]) {
    for (p, out) in out.chunks_mut(panels.width).enumerate() {
        let b = &b[panels.start(p)..][..panels.k * out.len()];
        level.run(Panel { a, b, init, next: &[], out });
    }
}

/// The product of one panel, `N` blocks of columns wide.
#[inline(always)]
fn columns<S: Simd, const N: usize>(
    s: S,
    a: Rows<'_>,
    b: &[Block],
    init: Init,
    next: &[Block],
    mut out: [&mut [Block]; N],
) {
    // Equal shares rather than full ones and a small rest: a short micro-kernel waits for its own sums.
    let passes = a.rows.div_ceil(S::ROWS);
    let mut next = next.chunks(next.len().div_ceil(passes).max(1));
    let mut row = 0;
    for pass in 0..passes {
        let rows = (a.rows - row).div_ceil(passes - pass);
        let next = next.next().unwrap_or_default();
        macro_rules! dispatch {
            ($($m:literal)*) => {
                match rows {
                    $($m if $m <= S::ROWS => micro_kernel::<S, $m, N>(s, a, row, b, init, next, &mut out),)*
                    _ => unreachable!("a pass has at most {} rows", S::ROWS),
                }
            };
        }
        dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        row += rows;
    }
}

/// The product of `M` rows from `row` on with `N` blocks of columns, in registers.
#[inline(always)]
fn micro_kernel<S: Simd, const M: usize, const N: usize>(
    s: S,
    a: Rows<'_>,
    row: usize,
    b: &[Block],
    init: Init,
    next: &[Block],
    out: &mut [&mut [Block]; N],
) {
    let mut next = next.chunks(next.len().div_ceil(b.len().div_ceil(LANES * N)).max(1));
    for (chain, b) in b.chunks(CHAIN * N).enumerate() {
        let mut sums = [[s.zero(); N]; M];
        for (block, b) in b.chunks(LANES * N).enumerate() {
            for block in next.next().unwrap_or_default() {
                s.prefetch(block);
            }
            let block = chain * (CHAIN / LANES) + block;
            let a: &[Block; M] = a.blocks[block * a.stride + row..].first_chunk().expect("rows of the left operand");
            for (k, b) in (0..LANES).zip(b.chunks_exact(N)) {
                let mut columns = [s.zero(); N];
                for n in 0..N {
                    columns[n] = s.load(&b[n]);
                }
                for m in 0..M {
                    let x = s.splat(a[m].0[k]);
                    for n in 0..N {
                        sums[m][n] = s.mul_add(x, columns[n], sums[m][n]);
                    }
                }
            }
        }
        for (n, out) in out.iter_mut().enumerate() {
            for (sum, block) in sums.iter().zip(&mut out[row..][..M]) {
                let start = if chain == 0 && init == Init::Zero { s.zero() } else { s.load(block) };
                s.store(s.add(start, sum[n]), block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rows: usize, k: usize, columns: usize) {
        for level in Level::available() {
            let value = |i: usize| ((i * 7919) % 251) as f32 / 128.0 - 1.0;
            let stride = rows + 3;
            let a: Vec<Block> =
                (0..blocks(k) * stride).map(|i| Block(std::array::from_fn(|l| value(i * LANES + l)))).collect();
            let weight: Vec<f32> = (0..columns * k).map(|i| value(i + 5)).collect();
            let packed = Packed::new(level, k, columns, |k_, c| weight[c * k + k_]);
            let mut out = vec![Block::ZERO; blocks(columns) * rows];
            let mut planes: Vec<&mut [Block]> = out.chunks_mut(rows).collect();
            let a_rows = Rows { blocks: &a, stride, rows };
            for init in [Init::Zero, Init::Accumulate] {
                multiply(level, a_rows, packed.panels, &packed.blocks, init, &mut planes);
            }
            for c in 0..columns {
                for r in 0..rows {
                    let exact: f64 = (0..k)
                        .map(|i| f64::from(a[i / LANES * stride + r].0[i % LANES]) * f64::from(weight[c * k + i]))
                        .sum();
                    let found = f64::from(out[c / LANES * rows + r].0[c % LANES]);
                    let expected = 2.0 * exact;
                    let bound = 1e-6 * (k as f64 + 1.0);
                    assert!((found - expected).abs() <= bound, "{} [{r}, {c}]: {found}, {expected}", level.name());
                }
            }
        }
    }

    #[test]
    fn products_of_odd_shapes() {
        for (rows, k, columns) in [(1, 1, 1), (13, 16, 16), (14, 17, 33), (15, 63, 48), (29, 32, 3), (64, 300, 96)] {
            check(rows, k, columns);
        }
    }
}
