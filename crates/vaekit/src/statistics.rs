//! What group normalisations saw of a picture, so that pieces of it can be normalised as the whole.

use std::ops::Range;

/// Sums over the groups of every group normalisation of a graph, in the order in which it computes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// For each normalisation its groups.
    pub norms: Vec<Vec<Sums>>,
}

/// Sums over one group's values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// How many.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The sum of their squares.
    pub squares: f64,
}

/// A piece of a larger image that is run alone.
#[derive(Clone, Debug)]
pub struct Piece<'a> {
    /// Its height and width, in positions of the latents.
    pub size: [usize; 2],
    /// The rows and columns of it that are no other piece's: what its statistics are taken of.
    pub own: [Range<usize>; 2],
    /// What to normalise by; its own statistics if there is nothing.
    pub given: Option<&'a Statistics>,
}

impl Piece<'_> {
    /// The own rows and columns of an image inside the network, which may be larger than the latents.
    pub fn own_of(&self, size: [usize; 2]) -> [Range<usize>; 2] {
        let of = |axis: usize| {
            let scaled = |at: usize| at * size[axis] / self.size[axis];
            scaled(self.own[axis].start)..scaled(self.own[axis].end)
        };
        [of(0), of(1)]
    }
}

impl Sums {
    /// Their mean and their variance, which is biased as normalisations have it.
    pub fn mean_and_variance(self) -> (f64, f64) {
        let mean = self.sum / self.count;
        (mean, (self.squares / self.count - mean * mean).max(0.0))
    }
}

impl Statistics {
    /// Adds those of another piece of the same picture.
    pub(crate) fn add(&mut self, other: &Statistics) {
        if self.norms.is_empty() {
            self.norms.clone_from(&other.norms);
            return;
        }
        for (ours, theirs) in self.norms.iter_mut().flatten().zip(other.norms.iter().flatten()) {
            ours.count += theirs.count;
            ours.sum += theirs.sum;
            ours.squares += theirs.squares;
        }
    }

    /// These with a share of others mixed in.
    pub(crate) fn mixed(mut self, others: &Statistics, share: f64) -> Self {
        for (ours, theirs) in self.norms.iter_mut().flatten().zip(others.norms.iter().flatten()) {
            let mix = |ours: f64, theirs: f64| ours * (1.0 - share) + theirs * share;
            ours.sum = mix(ours.sum / ours.count, theirs.sum / theirs.count);
            ours.squares = mix(ours.squares / ours.count, theirs.squares / theirs.count);
            ours.count = 1.0;
        }
        self
    }

    /// How far they are from others, at most: means in deviations, deviations as the logarithm of their ratio.
    pub(crate) fn distance(&self, others: &Statistics) -> f64 {
        let of_group = |(ours, theirs): (&Sums, &Sums)| {
            let [(mean, deviation), (others_mean, others_deviation)] = [ours, theirs].map(|sums| {
                let (mean, variance) = sums.mean_and_variance();
                (mean, variance.sqrt().max(f64::MIN_POSITIVE))
            });
            ((mean - others_mean).abs() / deviation).max((deviation / others_deviation).ln().abs())
        };
        self.norms.iter().flatten().zip(others.norms.iter().flatten()).map(of_group).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Statistics {
        let (sum, squares) = (values.iter().sum(), values.iter().map(|x| x * x).sum());
        Statistics { norms: vec![vec![Sums { count: values.len() as f64, sum, squares }]] }
    }

    #[test]
    fn those_of_pieces_are_those_of_the_whole() {
        let mut sum = Statistics::default();
        sum.add(&of(&[1.0, 2.0, 4.0]));
        sum.add(&of(&[-3.0]));
        assert_eq!(sum, of(&[1.0, 2.0, 4.0, -3.0]));
        assert_eq!(sum.norms[0][0].mean_and_variance(), (1.0, 6.5));
    }

    #[test]
    fn distances() {
        let ours = of(&[-1.0, 1.0]);
        assert_eq!(ours.distance(&ours), 0.0);
        assert_eq!(ours.distance(&of(&[0.0, 2.0])), 1.0);
        assert_eq!(of(&[-2.0, 2.0]).distance(&ours), 2f64.ln());
        assert_eq!(of(&[0.0, 0.0]).distance(&of(&[0.0])), 0.0);
        assert_eq!(ours.clone().mixed(&of(&[2.0, 4.0, 3.0, 3.0]), 0.0).distance(&ours), 0.0);
        assert_eq!(ours.mixed(&of(&[3.0, 3.0]), 0.5).norms[0][0].mean_and_variance().0, 1.5);
    }

    #[test]
    fn a_piece_at_other_resolutions() {
        let piece = Piece { size: [38, 27], own: [0..32, 3..24], given: None };
        assert_eq!(piece.own_of([38, 27]), [0..32, 3..24]);
        assert_eq!(piece.own_of([304, 108]), [0..256, 12..96]);
    }
}
