//! The product of two matrices: the one call into `gemm`, behind checked slices.

use crate::real::Real;

/// A matrix over a slice in row-major order.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    strides: (isize, isize),
}

impl<'a, T> Matrix<'a, T> {
    /// # Panics
    /// If the slice is not `rows * columns` long, which would be a mistake of the caller.
    pub(crate) fn new(data: &'a [T], rows: usize, columns: usize) -> Self {
        assert_eq!(rows.checked_mul(columns), Some(data.len()), "a matrix of {rows} by {columns}");
        Matrix { data, rows, columns, strides: (columns as isize, 1) }
    }

    pub(crate) fn transposed(self) -> Self {
        let Matrix { data, rows, columns, strides: (row, column) } = self;
        Matrix { data, rows: columns, columns: rows, strides: (column, row) }
    }
}

/// `out += left right`, on this thread; `out` is in row-major order.
///
/// # Panics
/// If the sizes do not fit, which would be a mistake of the caller.
#[expect(unsafe_code, reason = "gemm takes pointers")]
pub(crate) fn add_product<T: Real>(out: &mut [T], left: Matrix<'_, T>, right: Matrix<'_, T>) {
    assert_eq!(left.columns, right.rows, "inner sizes");
    assert_eq!(left.rows.checked_mul(right.columns), Some(out.len()), "size of the product");
    // SAFETY: `Matrix` is only built over slices of exactly rows * columns values, whose strides it sets, so that element
    // (i, j) lies in the slice for i < rows and j < columns; transposing swaps both. `out` was checked to hold rows * columns
    // values, is borrowed mutably and so overlaps neither. `Real` is sealed to f32 and f64, which gemm supports.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            right.columns as isize,
            true,
            left.data.as_ptr(),
            left.strides.1,
            left.strides.0,
            right.data.as_ptr(),
            right.strides.1,
            right.strides.0,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
