//! A picture's planes cut into bands of rows, for threads to write side by side.

use std::ops::Range;

use crate::layout::{Block, Shape};
use crate::norm::{Moments, Partial};

/// The rows of one band in every plane, and the parts of the moments that belong to them.
pub(crate) struct Band<'a> {
    /// The first row.
    pub(crate) row: usize,
    pub(crate) planes: Vec<&'a mut [Block]>,
    /// For each plane the band's parts; empty where no moments are asked for.
    pub(crate) partials: Vec<&'a mut [Partial]>,
}

impl Band<'_> {
    /// Some of its rows, which are `width` pixels long, and some of the parts of its moments; ranges may end past the band.
    pub(crate) fn part(&mut self, rows: Range<usize>, width: usize, parts: Range<usize>) -> Band<'_> {
        let planes = self.planes.iter_mut().map(|plane| {
            let end = plane.len().min(rows.end * width);
            &mut plane[rows.start * width..end]
        });
        let partials = self.partials.iter_mut().map(|partials| {
            let end = partials.len().min(parts.end);
            &mut partials[parts.start..end]
        });
        Band { row: self.row + rows.start, planes: planes.collect(), partials: partials.collect() }
    }
}

/// Cuts `out` into bands of `rows` rows, and moments into `parts` parts for each plane of a band.
pub(crate) fn bands<'a>(
    shape: Shape,
    out: &'a mut [Block],
    rows: usize,
    moments: Option<&'a mut Moments>,
    parts: usize,
) -> Vec<Band<'a>> {
    let count = shape.height.div_ceil(rows);
    let band = |i| Band { row: i * rows, planes: Vec::with_capacity(shape.planes()), partials: Vec::new() };
    let mut bands: Vec<Band<'a>> = (0..count).map(band).collect();
    for plane in out.chunks_mut(shape.pixels().max(1)) {
        for (band, rows) in bands.iter_mut().zip(plane.chunks_mut((rows * shape.width).max(1))) {
            band.planes.push(rows);
        }
    }
    if let Some(moments) = moments {
        for plane in moments.planes_mut() {
            for (band, partials) in bands.iter_mut().zip(plane.chunks_mut(parts)) {
                band.partials.push(partials);
            }
        }
    }
    bands
}
