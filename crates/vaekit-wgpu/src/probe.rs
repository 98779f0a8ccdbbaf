//! Each kernel is tried on a small case before a picture depends on it: drivers and their compilers have been wrong.

use std::ops::Range;

use serde::Serialize;

use crate::device::{Fault, locked};
use crate::gpu::Gpu;
use crate::kernels::{Case, GUARD, Kernel};
use crate::memory::Buffer;
use crate::pipeline::{Pipeline, UNIFORM_BYTES};

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
    /// Whether all of these kernels work here: compiled and tried at the first time, remembered afterwards.
    pub(crate) async fn all_work(&self, kernels: &[Kernel]) -> Result<bool, Fault> {
        let findings = self.findings();
        let known = |kernel: &Kernel| findings.iter().find(|finding| finding.kernel == *kernel);
        let mut new: Vec<Kernel> = Vec::new();
        for kernel in kernels {
            if known(kernel).is_none() && !new.contains(kernel) {
                new.push(*kernel);
            }
        }
        let known_work = !kernels.iter().filter_map(known).any(Finding::is_wrong);
        let new_work = self.try_out(new.into_iter().map(Case::small).collect()).await?;
        Ok(known_work && new_work)
    }

    /// Whether kernels that were not tried before work: all at once, and one by one if any does not compile.
    async fn try_out(&self, cases: Vec<Case>) -> Result<bool, Fault> {
        match self.run_cases(&cases).await {
            Ok(found) => {
                let wrong = cases.iter().zip(&found).map(|(case, found)| compare(case, found).err());
                Ok(self.note(cases.iter().zip(wrong)))
            }
            Err(Fault::Other(reason)) if cases.len() == 1 => Ok(self.note(cases.iter().zip([Some(reason)]))),
            Err(Fault::Other(_)) => {
                let mut all_work = true;
                for case in cases {
                    all_work &= Box::pin(self.try_out(vec![case])).await?;
                }
                Ok(all_work)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Remembers what was found, and says whether nothing is wrong.
    fn note<'a>(&self, found: impl Iterator<Item = (&'a Case, Option<String>)>) -> bool {
        let of = |(case, wrong): (&Case, _)| Finding { kernel: case.kernel, name: case.kernel.name(), wrong };
        let new: Vec<Finding> = found.map(of).collect();
        let all_work = !new.iter().any(Finding::is_wrong);
        let mut findings = locked(&self.shared.findings);
        // Another session may have tried the same meanwhile.
        let is_new = |new: &Finding| !findings.iter().any(|finding| finding.kernel == new.kernel);
        let new: Vec<Finding> = new.into_iter().filter(is_new).collect();
        findings.extend(new);
        all_work
    }

    /// Tries every kernel that the device has room for, as [`kernels::Case::probes`](Case::probes), and gives what was found.
    ///
    /// # Errors
    /// [`CaseError`] if the device runs out of memory or is lost.
    pub async fn probe(&self) -> Result<Vec<Finding>, CaseError> {
        let capabilities = self.capabilities();
        let cases = Case::probes(self.half_storage());
        let kernels = cases.iter().map(|case| case.kernel).filter(|kernel| kernel.fits(&capabilities));
        self.all_work(&kernels.collect::<Vec<Kernel>>()).await.map_err(CaseError)?;
        Ok(self.findings())
    }

    /// Runs a case and gives the lanes of its output.
    ///
    /// # Errors
    /// [`CaseError`] if the device does not compile or run it.
    pub async fn run_case(&self, case: &Case) -> Result<Vec<f32>, CaseError> {
        let mut found = self.run_cases(std::slice::from_ref(case)).await.map_err(CaseError)?;
        Ok(found.pop().unwrap_or_default())
    }

    /// Runs cases together: a page waits for its GPU as long for one as for many.
    async fn run_cases(&self, cases: &[Case]) -> Result<Vec<Vec<f32>>, Fault> {
        if cases.is_empty() {
            return Ok(Vec::new());
        }
        let pipelines = self.compile(&cases.iter().map(|case| case.kernel).collect::<Vec<Kernel>>()).await?;
        let run = self.scoped(|device| {
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut held = Vec::new();
            for (case, pipeline) in cases.iter().zip(&pipelines) {
                held.push(self.encode_case(&mut encoder, case, pipeline)?);
            }
            let bytes = held.iter().map(|buffers| output(buffers).size()).sum();
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let read = self.buffer("probe", bytes, usage)?;
            let mut at = 0;
            let mut ranges = Vec::new();
            for buffers in &held {
                let output = output(buffers);
                encoder.copy_buffer_to_buffer(output, 0, &read, at, output.size());
                ranges.push(at as usize..(at + output.size()) as usize);
                at += output.size();
            }
            let _ = self.submit(encoder.finish());
            Ok((read, ranges))
        });
        let (read, ranges) = run.await?;
        let decode = |(case, range): (&Case, Range<usize>), bytes: &[u8]| {
            let storage = case.kernel.bindings().last().copied().unwrap_or_default();
            storage.decode(&bytes[range])
        };
        let all = |bytes: &[u8]| cases.iter().zip(ranges).map(|case| decode(case, bytes)).collect();
        self.read(&read, all).await
    }

    /// Adds a case's dispatch, and gives its buffers, the output last.
    fn encode_case(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        case: &Case,
        pipeline: &Pipeline,
    ) -> Result<Vec<Buffer>, Fault> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform = self.buffer("probe", UNIFORM_BYTES, usage)?;
        self.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(&case.uniform.0));
        let guarded = |lanes: &Vec<f32>| lanes.iter().copied().chain([f32::NAN; GUARD]).collect();
        let arrays = case.arrays.iter().map(guarded).chain([case.output.clone()]);
        let mut buffers = vec![uniform];
        for (lanes, storage) in arrays.zip(case.kernel.bindings()) {
            let lanes: Vec<f32> = lanes;
            let bytes = storage.encode(&lanes);
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let buffer = self.buffer("probe", bytes.len() as u64, usage)?;
            self.queue().write_buffer(&buffer, 0, &bytes);
            buffers.push(buffer);
        }
        let bound: Vec<(&wgpu::Buffer, u64)> = buffers[1..].iter().map(|buffer| (&**buffer, buffer.size())).collect();
        let bind_group = self.bind_group(&pipeline.layout, &buffers[0], &bound);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &bind_group, &[0]);
        pass.dispatch_workgroups(case.grid[0], case.grid[1], case.grid[2]);
        drop(pass);
        Ok(buffers)
    }
}

/// What a case's kernel writes.
fn output(buffers: &[Buffer]) -> &Buffer {
    buffers.last().expect("a kernel writes")
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
