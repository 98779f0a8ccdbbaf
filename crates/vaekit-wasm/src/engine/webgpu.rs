//! vaekit's engine on the page's GPU.

use std::any::Any;
use std::cell::Cell;

use ndarray::{Array4, ArrayView3};
use vaekit::{Failure, Half, Images, Latents, Observer, RunError, Session, VaeError};
use vaekit_onnx::{Facts, METADATA_KEY, ModelFile, Precision, ReadSeek};
use vaekit_wgpu::{Gpu, GpuOptions, OpenError, Options, WgpuSession, wgpu};
use web_sys::{ImageBitmap, OffscreenCanvas};

use super::{Host, failed};
use crate::blob::Watched;
use crate::error::{Error, Kind, OfKind};

/// Latents a side that a decoder is tried with when it is opened.
const TRIAL: usize = 8;

/// The device that both halves share.
pub(crate) struct Runtime {
    gpu: Gpu,
    /// Whether pictures come by way of a canvas; no more once that has failed.
    draws: Cell<bool>,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        // Nobody else has it, and the garbage collector knows nothing of what it holds.
        self.gpu.device().destroy();
    }
}

impl Host for Runtime {
    async fn start(by_name: bool) -> Result<Self, Error> {
        let options = GpuOptions { software: by_name, ..GpuOptions::default() };
        Ok(Runtime { gpu: Gpu::request(&options).await.of_kind(Kind::Engine)?, draws: Cell::new(true) })
    }

    async fn session(
        &self,
        file: Watched<Box<dyn ReadSeek + '_>>,
        model: &ModelFile,
    ) -> Result<Box<dyn Session>, Error> {
        let options = Options { allow_f16: stays_in_f16(model), ..Options::default() };
        let session = WgpuSession::open(&self.gpu, file, &options).await.map_err(|error| {
            let kind = match &error {
                error if error.is_unsupported() => Kind::Unsupported,
                OpenError::Device { failure: Failure::OutOfMemory(_), .. } => Kind::OutOfMemory,
                OpenError::Device { .. } => Kind::Engine,
                _ => Kind::BadInput,
            };
            failed(kind, model, error)
        })?;
        Ok(Box::new(session))
    }

    /// Compiles the kernels, and tries them, before a picture waits for them.
    async fn try_out(&self, vae: &mut vaekit::Vae) -> Result<(), Error> {
        let space = &vae.config().latents;
        let (side, multiple) = (TRIAL, space.image_multiple());
        let latents = Latents { data: Array4::zeros((1, space.channels, side, side)), domain: space.native };
        let images = Images { data: Array4::zeros((1, 3, multiple, multiple)) };
        if vae.engine(Half::Decoder).is_some() {
            vae.decode(latents).await.of_kind(Kind::Engine)?;
        }
        if vae.engine(Half::Encoder).is_some() {
            vae.encode(&images).await.of_kind(Kind::Engine)?;
        }
        Ok(())
    }

    async fn draw(
        &self,
        session: &mut dyn Session,
        latents: ArrayView3<'_, f32>,
        (height, width): (usize, usize),
        kept: (usize, usize),
        observer: &mut dyn Observer,
    ) -> Result<Option<ImageBitmap>, Error> {
        // What comes of an input with NaN is told where values are read.
        let drawable = self.draws.get() && latents.iter().all(|value| value.is_finite());
        let Some(session) = session_of(session).filter(|_| drawable) else { return Ok(None) };
        // A picture that cannot be drawn is read back.
        let picture = match session.picture([height, width]).await {
            Err(_) if !self.is_lost() => return Ok(None),
            made => made,
        };
        let run_error = |session: &WgpuSession, failure| {
            Error::from(VaeError::from(RunError::new(session.engine(), latents.shape(), failure)))
        };
        let picture = picture.map_err(|failure| run_error(session, failure))?;
        session.draw(latents, &picture, observer).await.map_err(|failure| run_error(session, failure))?;
        let bitmap = self.gpu.watched(|device| self.bitmap(device, &picture, kept)).await;
        match bitmap {
            Ok(Ok(bitmap)) => Ok(Some(bitmap)),
            Err(failure) if self.is_lost() => Err(run_error(session, failure)),
            Ok(Err(_)) | Err(_) => {
                self.draws.set(false);
                Ok(None)
            }
        }
    }

    fn stages(&self, session: &mut dyn Session) -> Vec<(&'static str, f64)> {
        let Some(session) = session_of(session) else { return Vec::new() };
        let times = session.times();
        vec![("upload", times.upload), ("compute", times.compute), ("output", times.output)]
    }

    fn adapter(&self) -> Option<String> {
        Some(self.gpu.report().to_string())
    }

    fn notices(&self) -> Vec<String> {
        let wrong = self.gpu.findings().into_iter().filter_map(|finding| Some((finding.name, finding.wrong?)));
        wrong
            .map(|(name, wrong)| format!("another kernel instead of {name}, which this GPU gets wrong: {wrong}"))
            .collect()
    }

    fn is_lost(&self) -> bool {
        self.gpu.lost().is_some()
    }
}

impl Runtime {
    /// The upper left part of a texture as a bitmap, by way of a canvas: both stay on the GPU.
    ///
    /// All of it happens in one turn of the event loop, since a canvas' texture lives no longer.
    fn bitmap(
        &self,
        device: &wgpu::Device,
        texture: &wgpu::Texture,
        kept: (usize, usize),
    ) -> Result<ImageBitmap, String> {
        let size = extent(kept);
        let canvas = OffscreenCanvas::new(size.width, size.height).map_err(no_canvas)?;
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let surface =
            instance.create_surface(wgpu::SurfaceTarget::OffscreenCanvas(canvas.clone())).map_err(no_canvas)?;
        surface.configure(
            device,
            &wgpu::SurfaceConfiguration {
                usage: wgpu::TextureUsages::COPY_DST,
                format: wgpu::TextureFormat::Rgba8Unorm,
                color_space: wgpu::SurfaceColorSpace::Auto,
                width: size.width,
                height: size.height,
                present_mode: wgpu::PresentMode::Fifo,
                desired_maximum_frame_latency: 2,
                alpha_mode: wgpu::CompositeAlphaMode::Opaque,
                view_formats: Vec::new(),
            },
        );
        let frame = match surface.get_current_texture() {
            wgpu::CurrentSurfaceTexture::Success(frame) | wgpu::CurrentSurfaceTexture::Suboptimal(frame) => frame,
            other => return Err(no_canvas(other)),
        };
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_texture_to_texture(texture.as_image_copy(), frame.texture.as_image_copy(), size);
        self.gpu.queue().submit([encoder.finish()]);
        canvas.transfer_to_image_bitmap().map_err(no_canvas)
    }
}

/// Whether its images may be stored in f16: its conversion to fp16 has proved that they stay in range. Others' models in fp16
/// prove nothing, since f16 would saturate where they overflow.
fn stays_in_f16(model: &ModelFile) -> bool {
    let facts = model.info.metadata.get(METADATA_KEY).and_then(|json| Facts::from_json(json).ok());
    facts.is_some_and(|facts| facts.precision == Precision::Fp16)
}

fn session_of(session: &mut dyn Session) -> Option<&mut WgpuSession> {
    let session: &mut dyn Any = session;
    session.downcast_mut()
}

fn extent((height, width): (usize, usize)) -> wgpu::Extent3d {
    wgpu::Extent3d { width: width as u32, height: height as u32, depth_or_array_layers: 1 }
}

fn no_canvas(reason: impl std::fmt::Debug) -> String {
    format!("{reason:?}")
}
