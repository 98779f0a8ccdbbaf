//! Activations, channels last.

use ndarray::{Array4, ArrayView4};
use rayon::prelude::*;

use crate::real::{Real, larger};

/// Values a task takes at a time where each is handled alone.
const CHUNK: usize = 1 << 14;

/// Activations `[N, H, W, C]` in row-major order. Never empty.
#[derive(Clone)]
pub(crate) struct Map<T> {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) data: Vec<T>,
}

impl<T: Real> Map<T> {
    pub(crate) fn zeros(n: usize, h: usize, w: usize, c: usize) -> Result<Self, &'static str> {
        let len = [h, w, c, size_of::<T>()].iter().try_fold(n, |len, &side| len.checked_mul(side));
        match len {
            Some(bytes) if bytes <= isize::MAX as usize => {
                Ok(Map { n, h, w, c, data: vec![T::ZERO; bytes / size_of::<T>()] })
            }
            _ => Err("the output would not fit in memory"),
        }
    }

    /// From `[N, C, H, W]`.
    pub(crate) fn from_nchw(array: ArrayView4<'_, f32>) -> Self {
        let (n, c, h, w) = array.dim();
        Map { n, h, w, c, data: array.permuted_axes([0, 2, 3, 1]).iter().map(|&value| value.into()).collect() }
    }

    /// To `[N, C, H, W]`.
    pub(crate) fn to_nchw(&self) -> Array4<T> {
        let Map { n, h, w, c, .. } = *self;
        Array4::from_shape_fn((n, c, h, w), |(n, z, y, x)| self.data[((n * h + y) * w + x) * c + z])
    }

    /// `[N, C, H, W]`, for messages.
    pub(crate) fn nchw(&self) -> [usize; 4] {
        [self.n, self.c, self.h, self.w]
    }

    /// Values of one of the N.
    pub(crate) fn values_per_image(&self) -> usize {
        self.h * self.w * self.c
    }

    pub(crate) fn apply(&mut self, f: impl Fn(T) -> T + Sync) {
        self.data.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|value| *value = f(*value)));
    }

    pub(crate) fn silu(&mut self) {
        self.apply(|x| x / (T::ONE + (-x).exp()));
    }

    pub(crate) fn relu(&mut self) {
        self.apply(|x| larger(x, T::ZERO));
    }

    pub(crate) fn add(&mut self, other: &Map<T>) {
        debug_assert_eq!(self.nchw(), other.nchw());
        self.data.par_chunks_mut(CHUNK).zip(other.data.par_chunks(CHUNK)).for_each(|(to, from)| {
            to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
        });
    }

    /// The largest magnitude; NaN if there is one.
    pub(crate) fn max_abs(&self) -> T {
        self.data.par_chunks(CHUNK).map(max_abs).reduce(|| T::ZERO, larger)
    }
}

/// The largest magnitude; NaN if there is one.
pub(crate) fn max_abs<T: Real>(values: &[T]) -> T {
    values.iter().fold(T::ZERO, |max, &value| larger(max, value.abs()))
}
