//! Devices on which a kernel is known to be wrong. The probe drops it there; a test that expects otherwise would say nothing
//! new, and one that expects a failure that is gone is an error too.

use vaekit_wgpu::{AdapterReport, Gpu};

/// A kernel that is wrong on some devices.
pub(crate) struct Expectation {
    /// Part of the adapter's name.
    adapter: &'static str,
    /// Part of the driver's name and version.
    driver: &'static str,
    /// The kernel's name.
    kernel: &'static str,
}

/// None so far.
const EXPECTED: &[Expectation] = &[];

/// The names of the kernels that are expected to be wrong on a device.
pub(crate) fn expected(gpu: &Gpu) -> Vec<&'static str> {
    let AdapterReport { name, driver, .. } = gpu.report();
    let here = EXPECTED.iter().filter(|known| name.contains(known.adapter) && driver.contains(known.driver));
    here.map(|known| known.kernel).collect()
}
