//! Which values share memory: each has a slot from the step that makes it to the last that reads it.

use vaekit_kernels::layout::{Block, Shape};
use vaekit_onnx::ops::Steps;

use crate::step::{Compute, Kernel};

/// Where values lie, for one size of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Of every value that is made.
    pub(crate) places: Vec<Option<Place>>,
    /// Blocks of each slot.
    pub(crate) slots: Vec<usize>,
    /// Multiply-adds of each step.
    pub(crate) macs: Vec<u64>,
}

/// A value's slot and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: usize,
    pub(crate) shape: Shape,
}

impl Memory {
    /// Plans for an input of this shape.
    pub(crate) fn plan(network: &Steps<Kernel>, input: Shape) -> Self {
        let last = network.last_readers();
        let mut memory = Memory { places: vec![None; network.channels.len()], slots: Vec::new(), macs: Vec::new() };
        let mut free = Vec::new();
        memory.place(0, input, &mut free);
        for (index, step) in network.steps.iter().enumerate() {
            let first = step.work.reads().next().and_then(|value| memory.places[value]);
            let Some(Place { shape, .. }) = first else { continue };
            memory.macs.push(step.work.macs(shape));
            memory.place(step.output, step.work.output(shape), &mut free);
            for value in step.work.reads().filter(|&value| last[value] == Some(index)) {
                let slot = memory.places[value].map(|place| place.slot);
                free.extend(slot.filter(|slot| !free.contains(slot)));
            }
        }
        memory
    }

    /// Bytes of all slots; saturates.
    pub(crate) fn bytes(&self) -> u64 {
        let of_slot = |&blocks: &usize| (blocks as u64).saturating_mul(size_of::<Block>() as u64);
        self.slots.iter().map(of_slot).fold(0, u64::saturating_add)
    }

    /// Takes the free slot that wastes least, or has to grow least.
    fn place(&mut self, value: usize, shape: Shape, free: &mut Vec<usize>) {
        let blocks = shape.blocks();
        let fit = |&slot: &usize| (self.slots[slot] < blocks, self.slots[slot].abs_diff(blocks));
        let slot = match free.iter().enumerate().min_by_key(|(_, slot)| fit(slot)).map(|(at, _)| at) {
            Some(at) => free.swap_remove(at),
            None => {
                self.slots.push(0);
                self.slots.len() - 1
            }
        };
        self.slots[slot] = self.slots[slot].max(blocks);
        self.places[value] = Some(Place { slot, shape });
    }
}
