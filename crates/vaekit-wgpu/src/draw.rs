//! A decoded picture to a texture, without leaving the device.

use crate::device::Fault;
use crate::gpu::Gpu;
use crate::kernels::image_head;
use crate::layout::{Shape, Storage};

/// Threads along a side of a workgroup.
const SIDE: u32 = 8;

/// The kernel that draws, compiled, and what it reports to.
pub(crate) struct Drawer {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    storage: Storage,
    uniform: wgpu::Buffer,
    /// How many values were NaN or infinite.
    count: wgpu::Buffer,
    read: wgpu::Buffer,
}

/// The texture's values are `(x + 1) / 2`, clamped and rounded to the nearest of 256 as it is stored. NaN is told by its
/// bits, since a compiler may assume that there is none.
fn wgsl(storage: Storage) -> String {
    image_head(storage)
        + &format!(
            "@group(0) @binding(2) var picture: texture_storage_2d<rgba8unorm, write>;\n\
             @group(0) @binding(3) var<storage, read_write> count: atomic<u32>;\n\
             @compute @workgroup_size({SIDE}, {SIDE})\n\
             fn main(@builtin(global_invocation_id) id: vec3<u32>) {{\n\
             \x20 if (id.x >= p.width || id.y >= p.height) {{ return; }}\n\
             \x20 let x = load_image(id.y * p.width + id.x).xyz;\n\
             \x20 let bits = bitcast<vec3<u32>>(x) & vec3<u32>(0x7f800000u);\n\
             \x20 if (any(bits == vec3<u32>(0x7f800000u))) {{ atomicAdd(&count, 1u); }}\n\
             \x20 let colour = clamp(x * 0.5 + 0.5, vec3<f32>(), vec3<f32>(1.0));\n\
             \x20 textureStore(picture, vec2<i32>(id.xy), vec4<f32>(colour, 1.0));\n}}\n"
        )
}

impl Drawer {
    pub(crate) async fn new(gpu: &Gpu, storage: Storage) -> Result<Self, Fault> {
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let array = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let texture = wgpu::BindingType::StorageTexture {
            access: wgpu::StorageTextureAccess::WriteOnly,
            format: wgpu::TextureFormat::Rgba8Unorm,
            view_dimension: wgpu::TextureViewDimension::D2,
        };
        let made = gpu.scoped(|device| {
            let label = Some("draw");
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label,
                entries: &[
                    entry(0, array(wgpu::BufferBindingType::Uniform)),
                    entry(1, array(wgpu::BufferBindingType::Storage { read_only: true })),
                    entry(2, texture),
                    entry(3, array(wgpu::BufferBindingType::Storage { read_only: false })),
                ],
            });
            let source = wgpu::ShaderSource::Wgsl(wgsl(storage).into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let buffer = |usage| {
                device.create_buffer(&wgpu::BufferDescriptor { label, size: 16, usage, mapped_at_creation: false })
            };
            let uniform = buffer(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST);
            let count = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let read = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
            Drawer { pipeline, layout, storage, uniform, count: buffer(count), read }
        });
        made.await
    }

    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    /// Draws an image of three channels, and gives how many pixels are not finite.
    pub(crate) async fn draw(
        &self,
        gpu: &Gpu,
        (image, shape): (&wgpu::Buffer, Shape),
        texture: &wgpu::Texture,
    ) -> Result<u32, Fault> {
        let drawn = gpu.scoped(|device| {
            let size = [shape.width as u32, shape.height as u32, 0, 0];
            gpu.queue().write_buffer(&self.uniform, 0, bytemuck::bytes_of(&size));
            gpu.queue().write_buffer(&self.count, 0, &[0; 16]);
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let bytes = shape.vectors() as u64 * self.storage.bytes();
            let image = wgpu::BufferBinding { buffer: image, offset: 0, size: wgpu::BufferSize::new(bytes) };
            let resources = [
                self.uniform.as_entire_binding(),
                wgpu::BindingResource::Buffer(image),
                wgpu::BindingResource::TextureView(&view),
                self.count.as_entire_binding(),
            ];
            let entries = (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
            let entries: Vec<wgpu::BindGroupEntry<'_>> = entries.collect();
            let group = wgpu::BindGroupDescriptor { label: Some("draw"), layout: &self.layout, entries: &entries };
            let group = device.create_bind_group(&group);
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(size[0].div_ceil(SIDE), size[1].div_ceil(SIDE), 1);
            drop(pass);
            encoder.copy_buffer_to_buffer(&self.count, 0, &self.read, 0, 16);
            let _ = gpu.submit(encoder.finish());
        });
        drawn.await?;
        gpu.read(&self.read, |bytes| bytes.first_chunk().map_or(0, |&word| u32::from_le_bytes(word))).await
    }
}
