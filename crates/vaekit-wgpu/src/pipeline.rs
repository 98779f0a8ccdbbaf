//! Kernels compiled for a device.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::device::{Fault, locked};
use crate::gpu::Gpu;
use crate::kernels::{Kernel, UNIFORM_WORDS};

/// Bytes from one uniform to the next: what every device aligns them to.
pub(crate) const UNIFORM_STRIDE: u64 = 256;
/// Bytes of a uniform.
pub(crate) const UNIFORM_BYTES: u64 = 4 * UNIFORM_WORDS as u64;

/// A compiled kernel.
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// The layouts of bind groups by how many arrays they have.
pub(crate) type Layouts = HashMap<usize, wgpu::BindGroupLayout>;

impl Gpu {
    /// Kernels, each compiled once for all sessions; not yet probed.
    pub(crate) async fn compile(&self, kernels: &[Kernel]) -> Result<Vec<Arc<Pipeline>>, Fault> {
        let mut known: HashMap<Kernel, Arc<Pipeline>> = locked(&self.shared.pipelines).clone();
        let mut new: Vec<Kernel> = kernels.iter().filter(|kernel| !known.contains_key(kernel)).copied().collect();
        let mut once = HashSet::new();
        new.retain(|kernel| once.insert(*kernel));
        if !new.is_empty() {
            let compiled = self.scoped(|device| {
                let compiled = new.iter().map(|kernel| (*kernel, Arc::new(self.pipeline(device, kernel))));
                Ok(compiled.collect::<Vec<(Kernel, Arc<Pipeline>)>>())
            });
            let compiled = compiled.await?;
            locked(&self.shared.pipelines).extend(compiled.iter().cloned());
            known.extend(compiled);
        }
        Ok(kernels.iter().map(|kernel| Arc::clone(&known[kernel])).collect())
    }

    fn pipeline(&self, device: &wgpu::Device, kernel: &Kernel) -> Pipeline {
        let layout = self.layout(kernel.bindings().len());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name()),
            source: wgpu::ShaderSource::Wgsl(kernel.wgsl().into()),
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name()),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name()),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
                ..wgpu::PipelineCompilationOptions::default()
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    /// A uniform, then so many arrays, the last of which is written.
    fn layout(&self, arrays: usize) -> wgpu::BindGroupLayout {
        let mut layouts = locked(&self.shared.layouts);
        let layout = layouts.entry(arrays).or_insert_with(|| {
            let entry = |binding: usize, ty: wgpu::BufferBindingType| wgpu::BindGroupLayoutEntry {
                binding: binding as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: binding == 0, min_binding_size: None },
                count: None,
            };
            let entries = (0..=arrays).map(|binding| match binding {
                0 => entry(0, wgpu::BufferBindingType::Uniform),
                _ => entry(binding, wgpu::BufferBindingType::Storage { read_only: binding < arrays }),
            });
            let entries: Vec<wgpu::BindGroupLayoutEntry> = entries.collect();
            let label = Some("vaekit");
            self.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries })
        });
        layout.clone()
    }

    /// What a kernel with this pipeline works on.
    pub(crate) fn bind_group(
        &self,
        layout: &wgpu::BindGroupLayout,
        uniforms: &wgpu::Buffer,
        arrays: &[(&wgpu::Buffer, u64)],
    ) -> wgpu::BindGroup {
        let binding = |buffer, bytes| {
            let size = wgpu::BufferSize::new(bytes);
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size })
        };
        let resources = std::iter::once(binding(uniforms, UNIFORM_BYTES))
            .chain(arrays.iter().map(|&(buffer, bytes)| binding(buffer, bytes)));
        let entries = (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
        let entries: Vec<wgpu::BindGroupEntry<'_>> = entries.collect();
        self.device().create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }
}
