//! Each kernel is tried on a small case before a picture depends on it: drivers and their compilers have been wrong.

use serde::Serialize;

use crate::device::{Fault, locked};
use crate::gpu::Gpu;
use crate::kernels::{Case, GUARD, Kernel};
use crate::layout::Storage;
use crate::pipeline::UNIFORM_BYTES;

/// What a kernel did on a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The kernel.
    #[serde(skip)]
    pub kernel: Kernel,
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it, if anything is.
    pub wrong: Option<String>,
}

impl Finding {
    /// Whether the kernel must not be used.
    pub fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }
}

impl Gpu {
    /// Whether a kernel works here: compiled and tried at the first time, remembered afterwards.
    pub(crate) async fn works(&self, kernel: &Kernel) -> Result<bool, Fault> {
        let known = |finding: &&Finding| finding.kernel == *kernel;
        if let Some(finding) = locked(&self.shared.findings).iter().find(known) {
            return Ok(!finding.is_wrong());
        }
        let case = Case::small(*kernel);
        let wrong = match self.run_case(&case).await {
            Ok(found) => compare(&case, &found).err(),
            Err(CaseError(Fault::Other(reason))) => Some(reason),
            Err(CaseError(fault)) => return Err(fault),
        };
        let works = wrong.is_none();
        locked(&self.shared.findings).push(Finding { kernel: *kernel, name: kernel.name(), wrong });
        Ok(works)
    }

    /// Tries every kernel, as [`kernels::Case::all`](Case::all), and gives what was found.
    ///
    /// # Errors
    /// [`CaseError`] if the device runs out of memory or is lost.
    pub async fn probe(&self) -> Result<Vec<Finding>, CaseError> {
        for case in Case::all(self.half_storage()) {
            self.works(&case.kernel).await.map_err(CaseError)?;
        }
        Ok(self.findings())
    }

    /// Runs a case and gives the lanes of its output.
    ///
    /// # Errors
    /// [`CaseError`] if the device does not compile or run it.
    pub async fn run_case(&self, case: &Case) -> Result<Vec<f32>, CaseError> {
        let pipeline = self.compile(&case.kernel).await.map_err(CaseError)?;
        let storages = case.kernel.bindings();
        let guarded = |lanes: &Vec<f32>| lanes.iter().copied().chain([f32::NAN; GUARD]).collect();
        let lanes = case.arrays.iter().map(guarded).chain([case.output.clone()]);
        let arrays = lanes.zip(&storages).map(|(lanes, storage): (Vec<f32>, _)| storage.encode(&lanes));
        let arrays: Vec<Vec<u8>> = arrays.collect();
        let run = self.scoped(|device| {
            let buffer = |bytes: u64, usage| {
                let label = Some("probe");
                device.create_buffer(&wgpu::BufferDescriptor { label, size: bytes, usage, mapped_at_creation: false })
            };
            let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let uniform = buffer(UNIFORM_BYTES, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
            self.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(&case.uniform.0));
            let buffers: Vec<wgpu::Buffer> = arrays.iter().map(|bytes| buffer(bytes.len() as u64, storage)).collect();
            buffers.iter().zip(&arrays).for_each(|(buffer, bytes)| self.queue().write_buffer(buffer, 0, bytes));
            let bound: Vec<(&wgpu::Buffer, u64)> = buffers.iter().map(|buffer| (buffer, buffer.size())).collect();
            let bind_group = self.bind_group(&pipeline.layout, &uniform, &bound);
            let output = buffers.last().expect("a kernel writes");
            let read = buffer(output.size(), wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &bind_group, &[0]);
            pass.dispatch_workgroups(case.grid[0], case.grid[1], case.grid[2]);
            drop(pass);
            encoder.copy_buffer_to_buffer(output, 0, &read, 0, output.size());
            let _ = self.submit(encoder.finish());
            read
        });
        let read = run.await.map_err(CaseError)?;
        let storage = storages.last().copied().unwrap_or(Storage::F32);
        self.read(&read, |bytes| storage.decode(bytes)).await.map_err(CaseError)
    }
}

/// A case that a device did not run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CaseError(Fault);

/// Compares what was found with the twin, lane by lane; what no kernel should touch is still what it was.
///
/// # Errors
/// What is wrong.
pub fn compare(case: &Case, found: &[f32]) -> Result<(), String> {
    let expected = case.expected();
    for (lane, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let equal = found.is_nan() && expected.is_nan() || (found - expected).abs() <= case.tolerance(expected);
        if !equal {
            return Err(format!("lane {lane} of {} is {found}, expected {expected}", case.output.len()));
        }
    }
    Ok(())
}
