//! A decoded picture to a texture, without leaving the device.

use std::sync::Arc;

use crate::device::{Fault, locked};
use crate::gpu::Gpu;
use crate::kernels::image_head;
use crate::layout::{Shape, Storage, pack};

/// Threads along a side of a workgroup.
const SIDE: u32 = 8;

/// The kernel that draws, compiled.
pub(crate) struct Drawer {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    storage: Storage,
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

/// A small picture with every way to go wrong, planes of red, green and blue, and the bytes that it is drawn as.
const TRIAL: [[f32; 4]; 3] = [[-1.0, 1.0, 0.2, -0.6], [3.0, -3.0, -1.0, 1.0], [0.0, 0.6, 1.0, f32::NAN]];
const DRAWN: [[u8; 4]; 4] = [[0, 255, 128, 255], [255, 0, 204, 255], [153, 0, 255, 255], [51, 255, 0, 255]];

impl Gpu {
    /// The kernel that draws what is stored so: compiled and tried at the first time, remembered afterwards.
    pub(crate) async fn drawer(&self, storage: Storage) -> Result<Arc<Drawer>, Fault> {
        let known = locked(&self.shared.drawers).get(&storage).cloned();
        let found = match known {
            Some(found) => found,
            None => {
                let found = match self.try_drawer(storage).await {
                    Ok(drawer) => Ok(Arc::new(drawer)),
                    Err(Fault::Other(reason)) => Err(reason),
                    Err(fault) => return Err(fault),
                };
                locked(&self.shared.drawers).insert(storage, found.clone());
                found
            }
        };
        found.map_err(|reason| Fault::Other(format!("this device does not draw: {reason}")))
    }

    async fn try_drawer(&self, storage: Storage) -> Result<Drawer, Fault> {
        let drawer = Drawer::new(self, storage).await?;
        let shape = Shape::new(3, 2, 2);
        let vectors = storage.encode(&pack(shape, TRIAL.as_flattened()));
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let made = self.scoped(|_| {
            let image = self.buffer("probe", vectors.len() as u64, usage)?;
            self.queue().write_buffer(&image, 0, &vectors);
            Ok((image, self.texture(2, 2)?))
        });
        let (image, picture) = made.await?;
        let wrong = drawer.draw(self, (&image, shape), &picture).await?;
        let row = u64::from(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT);
        let copied = self.scoped(|device| {
            let read = self.buffer("probe", 2 * row, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
            let layout =
                wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(row as u32), rows_per_image: None };
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            let to = wgpu::TexelCopyBufferInfo { buffer: &read, layout };
            encoder.copy_texture_to_buffer(picture.as_image_copy(), to, picture.size());
            let _ = self.submit(encoder.finish());
            Ok(read)
        });
        let read = copied.await?;
        let found: Vec<u8> = self.read(&read, |bytes| [&bytes[..8], &bytes[row as usize..][..8]].concat()).await?;
        let off = |(found, drawn): (&u8, &u8)| found.abs_diff(*drawn) > 1;
        // Of NaN only its count is asked for.
        let numbers = || found.iter().zip(DRAWN.as_flattened()).enumerate().filter(|(byte, _)| *byte != 14);
        if wrong != 1 || numbers().any(|(_, byte)| off(byte)) {
            return Err(Fault::Other(format!("{found:?} with {wrong} that are NaN, expected {DRAWN:?} with 1")));
        }
        Ok(drawer)
    }
}

impl Drawer {
    async fn new(gpu: &Gpu, storage: Storage) -> Result<Self, Fault> {
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
            Ok(Drawer { pipeline, layout, storage })
        });
        made.await
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
            let uniform = gpu.buffer("draw", 16, wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST)?;
            gpu.queue().write_buffer(&uniform, 0, bytemuck::bytes_of(&size));
            // How many pixels hold NaN or an infinity; a new buffer holds zeros.
            let count = gpu.buffer("draw", 16, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC)?;
            let read = gpu.buffer("draw", 16, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST)?;
            let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
            let bytes = shape.vectors() as u64 * self.storage.bytes();
            let image = wgpu::BufferBinding { buffer: image, offset: 0, size: wgpu::BufferSize::new(bytes) };
            let resources = [
                uniform.as_entire_binding(),
                wgpu::BindingResource::Buffer(image),
                wgpu::BindingResource::TextureView(&view),
                count.as_entire_binding(),
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
            encoder.copy_buffer_to_buffer(&count, 0, &read, 0, 16);
            let _ = gpu.submit(encoder.finish());
            Ok(read)
        });
        let read = drawn.await?;
        gpu.read(&read, |bytes| bytes.first_chunk().map_or(0, |&word| u32::from_le_bytes(word))).await
    }
}
