//! Which values share memory: each has a slot from the step that makes it to the last that reads it.

use vaekit::Failure;
use vaekit_kernels::layout::{Block, Shape};
use vaekit_kernels::{Level, Need};
use vaekit_onnx::ops::{Steps, Work};

use crate::step::{Compute, Kernel};

/// Where values lie, for one size of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Of every value that is made.
    pub(crate) places: Vec<Option<Place>>,
    /// Blocks of each slot.
    pub(crate) slots: Vec<usize>,
    /// Of each step the slot that it works in, and how many blocks, where the workspace does not do.
    pub(crate) worked_in: Vec<Option<(usize, usize)>>,
    /// Multiply-adds of each step.
    pub(crate) macs: Vec<u64>,
    /// What the steps take from the workspace.
    pub(crate) need: Need,
}

/// A value's slot and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) slot: usize,
    pub(crate) shape: Shape,
}

/// Channels and sides of values, at most, so that what is computed from them does not overflow.
const MOST: usize = usize::MAX >> 8;

impl Memory {
    /// Plans for an input of this shape, and for kernels of this level on so many threads.
    ///
    /// # Errors
    /// [`Failure::OutOfMemory`] if a value is larger than what can be addressed, [`Failure::Other`] if a step's operands do not
    /// fit each other or it has nothing to compute.
    pub(crate) fn plan(network: &Steps<Kernel>, input: Shape, level: Level, threads: usize) -> Result<Self, Failure> {
        let last = network.last_readers();
        let mut memory = Memory {
            places: vec![None; network.channels.len()],
            slots: Vec::new(),
            worked_in: Vec::new(),
            macs: Vec::new(),
            need: Need::default(),
        };
        let mut free = Vec::new();
        memory.place(0, input, &mut free)?;
        for (index, step) in network.steps.iter().enumerate() {
            let fail = |reason: String| Failure::Other(format!("`{}` {reason}", step.name));
            let mut shapes = Vec::with_capacity(3);
            for value in step.work.reads() {
                let place = memory.places[value].ok_or_else(|| fail("reads what no earlier step made".into()))?;
                shapes.push(place.shape);
            }
            let shape = shapes[0];
            let output = step.work.output(shape);
            if shapes.iter().chain([&output]).any(|shape| shape.pixels() == 0) {
                let Shape { height, width, .. } = input;
                return Err(fail(format!("has nothing to compute for an input of {height} by {width}")));
            }
            match (&step.work, &shapes[1..]) {
                (Work::Conv { .. } | Work::Map { .. }, &[residual]) if residual != output => {
                    let (residual, output) = (sides(residual), sides(output));
                    return Err(fail(format!("adds an image of {residual} to one of {output}")));
                }
                (Work::Attention { .. }, &[k, v]) if k != v => {
                    return Err(fail(format!("has keys of {} and values of {}", sides(k), sides(v))));
                }
                _ => {}
            }
            memory.macs.push(step.work.macs(&shapes));
            memory.need = memory.need.max(step.work.need(shape, threads));
            memory.place(step.output, output, &mut free)?;
            let blocks = step.work.works_in(level, &shapes);
            let slot = (blocks > 0).then(|| (memory.slot(blocks, &mut free), blocks));
            free.extend(slot.map(|(slot, _)| slot));
            memory.worked_in.push(slot);
            for value in step.work.reads().filter(|&value| last[value] == Some(index)) {
                let slot = memory.places[value].map(|place| place.slot);
                free.extend(slot.filter(|slot| !free.contains(slot)));
            }
        }
        Ok(memory)
    }

    /// Bytes of all slots and of the workspace; saturates.
    pub(crate) fn bytes(&self, threads: usize) -> u64 {
        let of_slot = |&blocks: &usize| (blocks as u64).saturating_mul(size_of::<Block>() as u64);
        self.slots.iter().map(of_slot).fold(self.need.bytes(threads), u64::saturating_add)
    }

    fn place(&mut self, value: usize, shape: Shape, free: &mut Vec<usize>) -> Result<(), Failure> {
        let Shape { channels, height, width } = shape;
        let sides = Some((height, width)).filter(|_| channels.max(height).max(width) <= MOST);
        let blocks = sides.and_then(|(height, width)| height.checked_mul(width)?.checked_mul(shape.planes()));
        let blocks = blocks.filter(|&blocks| blocks <= usize::MAX / size_of::<Block>()).ok_or_else(|| {
            Failure::OutOfMemory(format!("{channels} channels of {height} by {width} are more than can be addressed"))
        })?;
        self.places[value] = Some(Place { slot: self.slot(blocks, free), shape });
        Ok(())
    }

    /// Takes the free slot that wastes least, or has to grow least.
    fn slot(&mut self, blocks: usize, free: &mut Vec<usize>) -> usize {
        let fit = |&slot: &usize| (self.slots[slot] < blocks, self.slots[slot].abs_diff(blocks));
        let slot = match free.iter().enumerate().min_by_key(|(_, slot)| fit(slot)).map(|(at, _)| at) {
            Some(at) => free.swap_remove(at),
            None => {
                self.slots.push(0);
                self.slots.len() - 1
            }
        };
        self.slots[slot] = self.slots[slot].max(blocks);
        slot
    }
}

fn sides(Shape { height, width, .. }: Shape) -> String {
    format!("{height} by {width}")
}
