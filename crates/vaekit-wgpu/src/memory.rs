//! What a device's memory is used for. All of it goes through here.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Fault;
use crate::gpu::Gpu;

/// Bytes of all buffers and textures of a GPU, and how many there may be.
#[derive(Debug)]
pub(crate) struct Memory {
    held: AtomicU64,
    limit: AtomicU64,
}

impl Default for Memory {
    fn default() -> Self {
        Memory { held: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX) }
    }
}

impl Memory {
    /// Counts bytes that are wanted, if there are so many.
    fn take(self: &Arc<Self>, label: &str, bytes: u64) -> Result<Share, Fault> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |held: u64| held.checked_add(bytes).filter(|&held| held <= limit);
        match self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Share { memory: Arc::clone(self), bytes }),
            Err(held) => {
                let reason = format!("{bytes} bytes for {label} beside {held} that are held: the GPU may take {limit}");
                Err(Fault::OutOfMemory(reason))
            }
        }
    }
}

/// Bytes that are counted.
#[derive(Debug)]
struct Share {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A buffer that gives its memory back when it is dropped. wgpu's own do so natively; in a page they wait for the garbage
/// collector, which knows nothing of a GPU's memory.
#[derive(Debug)]
pub(crate) struct Buffer {
    buffer: wgpu::Buffer,
    _share: Share,
}

impl Deref for Buffer {
    type Target = wgpu::Buffer;

    fn deref(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // What was submitted still finds it.
        self.buffer.destroy();
    }
}

/// A picture that stays on the GPU: an `rgba8unorm` that can be drawn to and copied from. Its memory is given back when it is
/// dropped.
#[derive(Debug)]
pub struct Picture {
    texture: wgpu::Texture,
    _share: Share,
}

impl Deref for Picture {
    type Target = wgpu::Texture;

    fn deref(&self) -> &wgpu::Texture {
        &self.texture
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        self.texture.destroy();
    }
}

impl Gpu {
    /// Bytes of all buffers and pictures that are held on this device: weights of open sessions, and what the last run worked
    /// on.
    pub fn held_bytes(&self) -> u64 {
        self.shared.memory.held.load(Ordering::Relaxed)
    }

    /// How many bytes there may be of them, of all sessions together: more is out of memory, as if the device had no more.
    /// For devices whose memory is the system's ([`AdapterReport::shares_memory`](crate::AdapterReport::shares_memory)), which
    /// take what there is and more.
    pub fn limit_memory(&self, bytes: u64) {
        self.shared.memory.limit.store(bytes, Ordering::Relaxed);
    }

    /// A buffer, to be created where errors are [watched](Self::scoped); of at least one vector, since an empty one cannot be
    /// bound.
    pub(crate) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<Buffer, Fault> {
        let size = bytes.max(16);
        let share = self.shared.memory.take(label, size)?;
        let label = Some(label);
        let descriptor = wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false };
        Ok(Buffer { buffer: self.device().create_buffer(&descriptor), _share: share })
    }

    /// A texture of this size, created as a [`buffer`](Self::buffer).
    pub(crate) fn texture(&self, width: u32, height: u32) -> Result<Picture, Fault> {
        let label = "picture";
        let share = self.shared.memory.take(label, u64::from(width) * u64::from(height) * 4)?;
        let texture = self.device().create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        Ok(Picture { texture, _share: share })
    }
}
