//! Where to look: the regions in which pictures differ most.

use serde::Serialize;

use crate::score::{Decoded, Original};

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Region {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: usize,
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
}

impl Region {
    fn overlaps(&self, other: &Region) -> bool {
        let apart = |a: usize, la: usize, b: usize, lb: usize| a + la <= b || b + lb <= a;
        !apart(self.x, self.width, other.x, other.width) && !apart(self.y, self.height, other.y, other.height)
    }
}

/// What a region was chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The decoded pictures differ most from each other.
    Disagreement,
    /// The decoded pictures are alike everywhere, and here they differ most from the original.
    Error,
}

/// Mean distance in L*a*b* below which pictures are alike in a region.
const ALIKE: f64 = 0.5;

/// Side of a region in pixels: large enough for a face in the middle distance, small enough to be enlarged.
const SIDE: usize = 96;
/// Regions of a picture.
const COUNT: usize = 3;

/// Up to three regions of 96 pixels a side (less in a smaller picture), the one with the greatest difference first, none
/// overlapping another. Fewer where nothing differs.
pub fn regions(original: &Original, decoded: &[Decoded]) -> (Reason, Vec<Region>) {
    let (height, width) = original.size();
    let disagreement = pick(&disagreement(decoded, width * height), (height, width), SIDE, COUNT, ALIKE);
    if !disagreement.is_empty() {
        return (Reason::Disagreement, disagreement);
    }
    let mut error = vec![0.0f32; width * height];
    for decoded in decoded {
        error.iter_mut().zip(&decoded.delta_e).for_each(|(sum, &delta_e)| *sum += delta_e);
    }
    (Reason::Error, pick(&error, (height, width), SIDE, COUNT, f64::MIN_POSITIVE))
}

/// For each pixel, the largest Euclidean distance in L*a*b* between any two of the pictures.
fn disagreement(decoded: &[Decoded], pixels: usize) -> Vec<f32> {
    let mut largest = vec![0.0f32; pixels];
    for (index, a) in decoded.iter().enumerate() {
        for b in &decoded[index + 1..] {
            for ((largest, a), b) in largest.iter_mut().zip(&a.lab).zip(&b.lab) {
                let squared = (a.l - b.l).powi(2) + (a.a - b.a).powi(2) + (a.b - b.b).powi(2);
                *largest = largest.max(squared.sqrt());
            }
        }
    }
    largest
}

fn pick(map: &[f32], (height, width): (usize, usize), side: usize, count: usize, least: f64) -> Vec<Region> {
    let (h, w) = (side.min(height), side.min(width));
    let sums = SummedArea::new(map, height, width);
    let steps = |length: usize, window: usize| {
        let last = length - window;
        (0..last).step_by((window / 4).max(1)).chain([last])
    };
    let mut candidates: Vec<(f64, Region)> = steps(height, h)
        .flat_map(|y| steps(width, w).map(move |x| Region { x, y, width: w, height: h }))
        .map(|region| (sums.mean(&region), region))
        .filter(|(mean, _)| *mean >= least)
        .collect();
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut picked: Vec<Region> = Vec::new();
    for (_, region) in candidates {
        if picked.len() < count && !picked.iter().any(|other| other.overlaps(&region)) {
            picked.push(region);
        }
    }
    picked
}

/// Sums over any rectangle in four look-ups (Crow 1984).
struct SummedArea {
    sums: Vec<f64>,
    stride: usize,
}

impl SummedArea {
    fn new(map: &[f32], height: usize, width: usize) -> Self {
        let stride = width + 1;
        let mut sums = vec![0.0; stride * (height + 1)];
        for (y, row) in map.chunks_exact(width).enumerate() {
            let mut sum = 0.0;
            for (x, &value) in row.iter().enumerate() {
                sum += f64::from(value);
                sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + sum;
            }
        }
        SummedArea { sums, stride }
    }

    fn mean(&self, region: &Region) -> f64 {
        let at = |y: usize, x: usize| self.sums[y * self.stride + x];
        let (bottom, right) = (region.y + region.height, region.x + region.width);
        let sum = at(bottom, right) - at(region.y, right) - at(bottom, region.x) + at(region.y, region.x);
        sum / (region.width * region.height) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_comes_first_and_nothing_overlaps() {
        let (height, width) = (40, 60);
        let map: Vec<f32> = (0..height * width)
            .map(|i| match (i / width, i % width) {
                (30..38, 50..58) => 9.0,
                (2..10, 2..10) => 5.0,
                _ => 0.0,
            })
            .collect();
        let found = pick(&map, (height, width), 8, 2, 0.5);
        assert_eq!(found, [Region { x: 50, y: 30, width: 8, height: 8 }, Region { x: 2, y: 2, width: 8, height: 8 }]);
        let few = pick(&map, (height, width), 8, 99, 0.5);
        assert!(few.iter().enumerate().all(|(i, a)| few[i + 1..].iter().all(|b| !a.overlaps(b))));
        assert_eq!(pick(&[0.0; 4], (2, 2), 8, 3, 0.5), []);
        assert_eq!(pick(&[1.0; 4], (2, 2), 8, 3, 0.5), [Region { x: 0, y: 0, width: 2, height: 2 }]);
    }
}
