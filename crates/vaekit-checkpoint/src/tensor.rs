//! Tensors as views of stored bytes.

use crate::dtype::Dtype;

/// The most elements a tensor that is read may have: half a gigabyte as f32, fourteen times the largest of any known VAE.
/// A stride of 0 lets a file of a few bytes claim more.
pub const MAX_ELEMENTS: u64 = 1 << 27;

/// A tensor of a checkpoint: its name in the file, verbatim, and where its elements lie.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Where its elements lie.
    pub view: View,
}

/// A strided view of a storage. Several tensors may share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Index of the storage in its file.
    pub storage: usize,
    /// Elements before the first one.
    pub offset: u64,
    /// Elements from one index to the next, for each dimension; 0 where a dimension is expanded.
    pub strides: Vec<u64>,
}

/// A run of bytes in a file.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    pub(crate) place: Place,
    /// Length, unpacked.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// At this position of the file.
    At(u64),
    /// In this entry of the zip archive.
    Entry(crate::zip::Entry),
}

impl TensorInfo {
    /// How many elements it has; `None` beyond 2^64.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim as u64))
    }

    /// First element and number of elements of the smallest run that holds the tensor; `None` if that overflows.
    pub(crate) fn window(&self) -> Option<(u64, u64)> {
        if self.shape.contains(&0) {
            return Some((self.view.offset, 0));
        }
        let mut span = 1u64;
        for (&dim, &stride) in self.shape.iter().zip(&self.view.strides) {
            span = span.checked_add((dim as u64 - 1).checked_mul(stride)?)?;
        }
        self.view.offset.checked_add(span)?;
        Some((self.view.offset, span))
    }

    pub(crate) fn is_contiguous(&self) -> bool {
        contiguous(&self.shape).is_some_and(|strides| {
            // A dimension of size 1 may have any stride.
            self.shape
                .iter()
                .zip(strides.iter().zip(&self.view.strides))
                .all(|(&dim, (want, have))| dim == 1 || want == have)
        })
    }

    /// The elements in row-major order, out of a window that [`window`](Self::window) gave.
    pub(crate) fn gather(&self, window: &[f32]) -> Vec<f32> {
        let mut found = vec![0u64];
        for (&dim, &stride) in self.shape.iter().zip(&self.view.strides) {
            found = found.iter().flat_map(|start| (0..dim as u64).map(move |i| start + i * stride)).collect();
        }
        found.into_iter().map(|at| window[at as usize]).collect()
    }
}

/// The strides of a row-major tensor; `None` if they overflow.
pub(crate) fn contiguous(shape: &[usize]) -> Option<Vec<u64>> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].checked_mul(shape[axis].max(1) as u64)?;
    }
    Some(strides)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], offset: u64, strides: &[u64]) -> TensorInfo {
        let view = View { storage: 0, offset, strides: strides.into() };
        TensorInfo { name: "t".into(), dtype: Dtype::F32, shape: shape.into(), view }
    }

    fn check(tensor: &TensorInfo, expected: &[f32]) {
        let storage: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let (start, len) = tensor.window().unwrap();
        assert_eq!(tensor.gather(&storage[start as usize..(start + len) as usize]), expected);
    }

    #[test]
    fn views_are_gathered() {
        check(&tensor(&[2, 3], 0, &[3, 1]), &[0., 1., 2., 3., 4., 5.]);
        check(&tensor(&[3, 2], 0, &[1, 3]), &[0., 3., 1., 4., 2., 5.]);
        check(&tensor(&[2, 2], 5, &[0, 1]), &[5., 6., 5., 6.]);
        check(&tensor(&[], 7, &[]), &[7.]);
        check(&tensor(&[0, 2], 12, &[2, 1]), &[]);
    }

    #[test]
    fn a_dimension_of_one_may_have_any_stride() {
        assert!(tensor(&[2, 1, 3], 0, &[3, 99, 1]).is_contiguous());
        assert!(!tensor(&[2, 3], 0, &[1, 2]).is_contiguous());
    }

    #[test]
    fn windows_that_overflow_are_none() {
        assert_eq!(tensor(&[3], 0, &[u64::MAX]).window(), None);
        assert_eq!(tensor(&[2], u64::MAX, &[1]).window(), None);
    }
}
