//! Every kernel against its twin.

use std::collections::BTreeSet;

use vaekit::block_on;
use vaekit_wgpu::kernels::{Case, Kernel};
use vaekit_wgpu::plan::Capabilities;
use vaekit_wgpu::probe::compare;

use crate::expectations::expected;
use crate::gpu;

#[test]
fn the_probe_s_cases() {
    let Some(gpu) = gpu() else { return };
    let findings = block_on(gpu.probe()).unwrap();
    let wrong: Vec<_> = findings.iter().filter(|finding| finding.is_wrong()).collect();
    let names: BTreeSet<&str> = wrong.iter().map(|finding| finding.name).collect();
    assert_eq!(names, expected(&gpu).into_iter().collect(), "{wrong:?}");
}

#[test]
fn odd_sizes_seams_and_values() {
    let Some(gpu) = gpu() else { return };
    let cases = Case::thorough(gpu.half_storage());
    assert!(cases.len() > 250, "{} cases", cases.len());
    for case in cases {
        let what = format!("{:?} {:?}", case.kernel, case.uniform);
        let found = block_on(gpu.run_case(&case)).unwrap_or_else(|error| panic!("{what}: {error}"));
        compare(&case, &found).unwrap_or_else(|wrong| panic!("{what}: {wrong}\n{}", case.kernel.wgsl()));
    }
}

/// A device with what WebGPU guarantees has to be able to run every case that a test or a probe takes to it.
#[test]
fn cases_fit_the_devices_that_webgpu_guarantees() {
    let guaranteed = Capabilities::default();
    let half = vaekit_wgpu::layout::Storage::PackedF16;
    let too_large = |cases: Vec<Case>| -> Vec<Kernel> {
        cases.iter().map(|case| case.kernel).filter(|kernel| !kernel.fits(&guaranteed)).collect()
    };
    assert_eq!(too_large(Case::thorough(half)), []);
    // Staging a stride of 2 takes more; where it does not fit, another tile is taken.
    let strided = |kernel: &Kernel| matches!(kernel, Kernel::Conv(conv) if conv.stride == 2);
    assert!(too_large(Case::probes(half)).iter().all(strided));
}
