//! Which arrays share memory: a colouring of the intervals in which each is needed.

/// An array, from the step that makes it to the last that reads it, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) first: usize,
    pub(super) last: usize,
    pub(super) bytes: u64,
}

/// The slot of each array, and the bytes of each slot.
///
/// The largest choose first, each the first slot that is free for as long as it is needed, so that a slot has exactly the
/// size of the largest array in it.
pub(super) fn colour(intervals: &[Interval]) -> (Vec<usize>, Vec<u64>) {
    let mut order: Vec<usize> = (0..intervals.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(intervals[i].bytes));
    let mut slots: Vec<(u64, Vec<usize>)> = Vec::new();
    let mut of = vec![0; intervals.len()];
    // What no step makes needs no memory.
    for i in order.into_iter().filter(|&i| intervals[i].bytes > 0) {
        let apart = |&other: &usize| {
            let (a, b) = (&intervals[i], &intervals[other]);
            a.last < b.first || b.last < a.first
        };
        let free = slots.iter().position(|(_, held)| held.iter().all(apart));
        of[i] = free.unwrap_or_else(|| {
            slots.push((intervals[i].bytes, Vec::new()));
            slots.len() - 1
        });
        slots[of[i]].1.push(i);
    }
    (of, slots.into_iter().map(|(bytes, _)| bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_needed_at_once_lie_apart_and_slots_have_the_size_of_their_largest() {
        let intervals = [(0, 1, 10), (1, 2, 40), (2, 3, 20), (0, 3, 5), (3, 4, 30)]
            .map(|(first, last, bytes)| Interval { first, last, bytes });
        let (of, slots) = colour(&intervals);
        assert_eq!(slots, [40, 20, 5]);
        assert_eq!(of, [1, 0, 1, 2, 0]);
    }
}
