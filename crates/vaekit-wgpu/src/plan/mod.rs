//! What a run does, as data: dispatches in their order, and the buffers that they work on.
//!
//! A plan follows from a network, the size of its input and what the device can do; nothing here knows a GPU. Images that
//! are not needed at the same time share a slot, but what one dispatch reads and what it writes never do. Steps are cut
//! into bands so that each dispatch is short: systems reset devices that seem to hang.

mod build;
mod slots;
mod winograd;

use std::collections::HashSet;

use crate::kernels::{Kernel, MergeParams, Uniform};
use crate::layout::{Shape, Storage};

/// What a device can do, as far as plans go, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Most bytes of a buffer.
    pub max_buffer: u64,
    /// Most bytes of a buffer that a kernel sees at once.
    pub max_binding: u64,
    /// Most workgroups along an axis of a grid.
    pub max_groups: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Threads of a workgroup.
    pub workgroup_threads: u32,
    /// Most bytes of all slots.
    pub memory: u64,
    /// How images are stored.
    pub storage: Storage,
    /// Multiply-adds of one dispatch, about.
    pub dispatch_macs: u64,
    /// Most bytes of what a step needs beside images: an attention's scores.
    pub scratch: u64,
    /// Kernels that gave wrong results here.
    pub wrong: Vec<Kernel>,
}

impl Default for Capabilities {
    /// Those that WebGPU guarantees.
    fn default() -> Self {
        Capabilities {
            max_buffer: 256 << 20,
            max_binding: 128 << 20,
            max_groups: 65535,
            workgroup_bytes: 16 << 10,
            workgroup_threads: 256,
            memory: u64::MAX,
            storage: Storage::F32,
            dispatch_macs: 4_000_000_000,
            scratch: 32 << 20,
            wrong: Vec::new(),
        }
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// An image is too large for this device.
    #[error("{what} of {bytes} bytes does not fit: {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// Its bytes.
        bytes: u64,
        /// What it is too large for.
        limit: String,
    },
    /// Every variant of a kernel gave wrong results.
    #[error("no kernel for {step} works on this device: {tried} gave wrong results")]
    NoKernel {
        /// The step.
        step: String,
        /// How many variants.
        tried: usize,
    },
    /// An input without pixels, or whose output has none.
    #[error("there is nothing to compute for an image of {height} by {width}")]
    Empty {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
}

/// An array that a dispatch works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Array {
    /// The first bytes of a slot.
    Slot {
        /// Which.
        slot: usize,
        /// How many bytes.
        bytes: u64,
    },
    /// A constant of the network.
    Constant(usize),
}

/// One dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The step that it is part of.
    pub step: usize,
    /// The kernel.
    pub kernel: Kernel,
    /// Workgroups along each axis.
    pub grid: [u32; 3],
    /// The kernel's parameters.
    pub uniform: Uniform,
    /// The arrays; the last is written.
    pub arrays: Vec<Array>,
    /// Multiply-adds that are done.
    pub macs: u64,
}

/// An image's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The slot whose first bytes it is.
    pub slot: usize,
    /// Its size.
    pub shape: Shape,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Bytes of each slot.
    pub slots: Vec<u64>,
    /// What is done.
    pub dispatches: Vec<Dispatch>,
    /// Where the input is put.
    pub input: Place,
    /// Where the output is found.
    pub output: Place,
    /// How images are stored.
    pub storage: Storage,
    /// Multiply-adds of each step as a direct evaluation would take them.
    pub step_macs: Vec<u64>,
    /// Where the input is a piece of a larger image, its normalisations' statistics, in the network's order.
    pub watched: Vec<Watched>,
}

/// Where a piece's statistics are found after a run, and those of the larger image are put before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watched {
    /// The slot in whose first bytes a [`Moments`](crate::kernels::Moments) left them.
    pub found: usize,
    /// How they lie there.
    pub params: MergeParams,
    /// The slot of those that are given: for each plane the means and the variances of its channels' groups.
    pub given: Option<usize>,
}

/// What a plan comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Dispatches.
    pub dispatches: usize,
    /// Multiply-adds that are done.
    pub macs: u64,
    /// Multiply-adds that a direct evaluation would take.
    pub direct_macs: u64,
    /// Bytes of arrays read and written, each counted once a step.
    pub traffic: u64,
    /// Bytes of all slots.
    pub memory: u64,
}

impl Plan {
    /// What it comes to; `constants` are the bytes of the network's.
    pub fn counts(&self, constants: &[u64]) -> Counts {
        let bytes = |array: &Array| match *array {
            Array::Slot { bytes, .. } => bytes,
            Array::Constant(constant) => constants[constant],
        };
        let of =
            |dispatch: &'_ Dispatch| dispatch.arrays.iter().map(|&array| (dispatch.step, array)).collect::<Vec<_>>();
        let arrays: HashSet<(usize, Array)> = self.dispatches.iter().flat_map(of).collect();
        Counts {
            dispatches: self.dispatches.len(),
            macs: self.dispatches.iter().map(|dispatch| dispatch.macs).sum(),
            direct_macs: self.step_macs.iter().sum(),
            traffic: arrays.iter().map(|(_, array)| bytes(array)).sum(),
            memory: self.slots.iter().sum(),
        }
    }
}
