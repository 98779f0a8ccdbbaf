//! Memory that kernels work in, kept from call to call.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::layout::Block;

/// Scratch memory, one for a session.
///
/// It holds, for each thread that ever worked at once, what a kernel asks for at its largest layer (19 MB for a 3x3
/// convolution of 512 channels, less for fewer), whatever the size of the picture, and the transformed filters of the
/// largest layer that does not keep its own. [`Need`] says how much that is before anything runs.
#[derive(Default)]
pub struct Workspace {
    scratches: Pool<Scratch>,
    filters: Pool<Vec<Block>>,
}

impl Workspace {
    /// Empty: it grows as it is used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held at present, where no kernel is running.
    pub fn bytes(&self) -> usize {
        let scratches = self.scratches.lock();
        let buffers = scratches.iter().flat_map(|s| [&s.staged, &s.left, &s.products]);
        let blocks: usize = buffers.chain(self.filters.lock().iter()).map(Vec::capacity).sum();
        blocks * size_of::<Block>()
    }

    /// Grows to what kernels need on so many threads, so that they ask for nothing while they run; false if there is not so
    /// much memory.
    pub fn reserve(&self, need: Need, threads: usize) -> bool {
        let mut scratches = self.scratches.lock();
        let count = scratches.len().max(threads);
        scratches.resize_with(count, Scratch::default);
        let grow = |buffer: &mut Vec<Block>, len: usize| {
            buffer.clear();
            buffer.try_reserve_exact(len).is_ok()
        };
        scratches.iter_mut().all(|Scratch { staged, left, products }| {
            grow(staged, need.staged) && grow(left, need.left) && grow(products, need.products)
        }) && grow(&mut self.filters.lend(), need.filters)
    }

    /// One thread's memory.
    pub(crate) fn scratch(&self) -> Loan<'_, Scratch> {
        self.scratches.lend()
    }

    /// Memory for filters that are transformed at every run.
    pub(crate) fn filters(&self) -> Loan<'_, Vec<Block>> {
        self.filters.lend()
    }
}

/// What kernels take from a [`Workspace`], in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Of each thread.
    pub(crate) staged: usize,
    pub(crate) left: usize,
    pub(crate) products: usize,
    /// Of all threads together.
    pub(crate) filters: usize,
}

impl Need {
    /// What two kernels take that run one after the other.
    pub fn max(self, other: Self) -> Self {
        Self {
            staged: self.staged.max(other.staged),
            left: self.left.max(other.left),
            products: self.products.max(other.products),
            filters: self.filters.max(other.filters),
        }
    }

    /// Bytes on so many threads; saturates.
    pub fn bytes(self, threads: usize) -> u64 {
        let of_thread = [self.staged, self.left, self.products].into_iter().fold(0, usize::saturating_add);
        let blocks = (of_thread as u64).saturating_mul(threads as u64).saturating_add(self.filters as u64);
        blocks.saturating_mul(size_of::<Block>() as u64)
    }
}

/// One thread's buffers.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Pixels as a kernel reads them: padded and with the prologue done.
    pub(crate) staged: Vec<Block>,
    /// The left operand of products.
    pub(crate) left: Vec<Block>,
    pub(crate) products: Vec<Block>,
}

/// The first `len` blocks of `buffer`, which grows if it must; what they hold is unspecified.
pub(crate) fn sized(buffer: &mut Vec<Block>, len: usize) -> &mut [Block] {
    if buffer.len() < len {
        buffer.reserve_exact(len - buffer.len());
        buffer.resize(len, Block::ZERO);
    }
    &mut buffer[..len]
}

/// Buffers that are lent, and never locked while they are used: a thread that waits for others may run anything.
#[derive(Default)]
struct Pool<T>(Mutex<Vec<T>>);

impl<T: Default> Pool<T> {
    fn lend(&self) -> Loan<'_, T> {
        Loan { pool: self, item: self.lock().pop().unwrap_or_default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // A buffer's contents mean nothing between calls, so that one left by a panic is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer that goes back to its pool.
pub(crate) struct Loan<'a, T: Default> {
    pool: &'a Pool<T>,
    item: T,
}

impl<T: Default> Deref for Loan<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Default> DerefMut for Loan<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: Default> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        self.pool.lock().push(std::mem::take(&mut self.item));
    }
}
