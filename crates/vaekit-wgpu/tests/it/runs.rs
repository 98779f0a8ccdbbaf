//! What a session promises besides its numbers.

use std::ops::ControlFlow;

use ndarray::{Array4, Axis, s};
use vaekit::{Failure, Half, Observer, Progress, Session, StepFuture, block_on};
use vaekit_reference::{Noise, compare};
use vaekit_wgpu::{Gpu, GpuError, GpuOptions, Options, wgpu};

use crate::networks::{model, open, run};
use crate::weights::{Kind, weights};
use crate::{gpu, request, vaes};

fn decoder() -> Vec<u8> {
    let config = vaes::kl(4, |_| {});
    model(&config, &weights(&config, Kind::Random, 1), Half::Decoder)
}

fn latents(n: usize, h: usize, w: usize) -> Array4<f32> {
    let mut noise = Noise::new(9);
    Array4::from_shape_simple_fn((n, 4, h, w), || noise.normal())
}

#[test]
fn two_runs_agree_to_the_bit() {
    let Some(gpu) = gpu() else { return };
    let (model, input) = (decoder(), latents(1, 9, 14));
    let mut session = open(&gpu, &model, &Options::default());
    let first = run(&mut session, &input, &mut ()).unwrap();
    assert_eq!(run(&mut session, &input, &mut ()).unwrap(), first);
    assert_eq!(run(&mut open(&gpu, &model, &Options::default()), &input, &mut ()).unwrap(), first);
}

#[test]
fn sizes_may_change_from_run_to_run() {
    let Some(gpu) = gpu() else { return };
    let model = decoder();
    let mut session = open(&gpu, &model, &Options::default());
    for (h, w) in [(5, 7), (1, 13), (5, 7), (1, 1)] {
        let input = latents(1, h, w);
        let alone = run(&mut open(&gpu, &model, &Options::default()), &input, &mut ()).unwrap();
        assert_eq!(run(&mut session, &input, &mut ()).unwrap(), alone);
    }
}

#[test]
fn each_item_of_a_batch_is_computed_as_if_alone() {
    let Some(gpu) = gpu() else { return };
    let (mut session, input) = (open(&gpu, &decoder(), &Options::default()), latents(3, 4, 5));
    let all = run(&mut session, &input, &mut ()).unwrap();
    let alone = run(&mut session, &input.slice(s![2..3, .., .., ..]).to_owned(), &mut ()).unwrap();
    assert_eq!(all.index_axis(Axis(0), 2), alone.index_axis(Axis(0), 0));
}

/// Ends a run when it is asked the n-th time.
struct StopAt {
    n: usize,
    seen: Vec<Progress>,
}

impl Observer for StopAt {
    fn step(&mut self, progress: Progress) -> StepFuture<'_> {
        self.seen.push(progress);
        let answer = if self.seen.len() > self.n { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        Box::pin(std::future::ready(answer))
    }
}

#[test]
fn an_observer_sees_progress_and_can_end_the_run() {
    let Some(gpu) = gpu() else { return };
    let (mut session, input) = (open(&gpu, &decoder(), &Options::default()), latents(3, 4, 5));
    let mut all = StopAt { n: usize::MAX, seen: Vec::new() };
    let expected = run(&mut session, &input, &mut all).unwrap();
    assert!(all.seen.len() >= 3, "at least once an item");
    assert_eq!(all.seen[0].done, 0);
    assert!(all.seen.windows(2).all(|two| two[0].done <= two[1].done && two[0].total == two[1].total));
    assert!(all.seen.last().unwrap().done < all.seen[0].total);

    let error = run(&mut session, &input, &mut StopAt { n: 2, seen: Vec::new() }).unwrap_err();
    assert_eq!(error, Failure::Cancelled);
    assert_eq!(run(&mut session, &input, &mut ()).unwrap(), expected, "after a cancelled run");
}

#[test]
fn wrong_shapes_are_errors() {
    let Some(gpu) = gpu() else { return };
    let check = |input: (usize, usize, usize, usize), output, expected: &str| {
        let (input, mut output) = (Array4::zeros(input), Array4::zeros(output));
        let mut session = open(&gpu, &decoder(), &Options::default());
        let error = block_on(session.run(input.view(), output.view_mut(), &mut ())).unwrap_err();
        assert_eq!(error, Failure::Other(expected.into()));
    };
    check((1, 5, 2, 2), (1, 3, 4, 4), "the input has 5 channels, the model takes 4");
    check((1, 4, 2, 2), (2, 3, 4, 4), "the output is for 2 items, the input holds 1");
    check((1, 4, 2, 2), (1, 3, 4, 5), "the output has shape [3, 4, 5], but [3, 4, 4] is computed");
}

#[test]
fn memory_that_is_not_there_is_an_error_and_f16_may_help() {
    let Some(gpu) = gpu() else { return };
    let input = latents(1, 16, 16);
    let expected = run(&mut open(&gpu, &decoder(), &Options::default()), &input, &mut ()).unwrap();
    let needed = open(&gpu, &decoder(), &Options::default()).counts([4, 16, 16]).unwrap().memory;
    let tight = Options { memory: Some(needed - 1), ..Options::default() };
    let mut session = open(&gpu, &decoder(), &tight);
    let mut output = Array4::zeros((1, 3, 32, 32));
    let error = block_on(session.run(input.view(), output.view_mut(), &mut ())).unwrap_err();
    assert!(matches!(error, Failure::OutOfMemory(_)), "{error}");

    let mut session = open(&gpu, &decoder(), &Options { allow_f16: true, ..tight });
    block_on(session.run(input.view(), output.view_mut(), &mut ())).unwrap();
    let comparison = compare(output.view(), expected.view(), 0.1, 2.0).unwrap();
    assert!(comparison.holds() && comparison.max_abs_error > 0.0, "stored in f16: {comparison:?}");

    // Views of one value: what they would be decoded to is larger than any device.
    let value = Array4::zeros((1, 1, 1, 1));
    let huge = value.broadcast((1, 4, 1 << 24, 1 << 24)).unwrap();
    let error = block_on(session.run(huge, output.view_mut(), &mut ())).unwrap_err();
    assert!(matches!(error, Failure::OutOfMemory(_)), "{error}");
}

#[test]
fn a_lost_device_is_an_error_and_another_can_be_had() {
    if gpu().is_none() {
        return;
    }
    let (lost, input) = (request().unwrap(), latents(1, 3, 3));
    let mut session = open(&lost, &decoder(), &Options::default());
    let expected = run(&mut session, &input, &mut ()).unwrap();
    lost.device().destroy();
    let error = run(&mut session, &input, &mut ()).unwrap_err();
    assert!(error.to_string().contains("the device was lost"), "{error}");
    assert!(lost.lost().is_some());
    let again = run(&mut open(&request().unwrap(), &decoder(), &Options::default()), &input, &mut ()).unwrap();
    assert_eq!(again, expected);
}

/// The limits that WebGPU guarantees, as an application may have asked for them.
#[test]
fn a_device_of_an_application_is_shared_with_its_limits() {
    let Some(ours) = gpu() else { return };
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let named = |adapter: &wgpu::Adapter| adapter.get_info().name == ours.report().name;
    let adapter = adapters.into_iter().find(named).unwrap();
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let gpu = Gpu::from_device(device, queue);
    assert_eq!(gpu.capabilities().max_binding, 128 << 20);
    let input = latents(1, 4, 5);
    let expected = run(&mut open(&ours, &decoder(), &Options::default()), &input, &mut ()).unwrap();
    let mut session = open(&gpu, &decoder(), &Options::default());
    assert_eq!(run(&mut session, &input, &mut ()).unwrap(), expected);
    // 4 channels of an image of 3000 by 3000 take 144 MB.
    let error = session.output([4, 1500, 1500]).unwrap_err();
    assert!(error.to_string().contains("this device takes 134217728 bytes at a time"), "{error}");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_names_the_others() {
    let Some(gpu) = gpu() else { return };
    let wanted = GpuOptions { adapter: Some("Voodoo 3".into()), software: true };
    let error = block_on(Gpu::request(&wanted)).err().unwrap();
    assert!(
        matches!(&error, GpuError::Unknown { others, .. } if others.contains(&gpu.report().to_string())),
        "{error}"
    );
}

#[test]
fn steps_are_timed_and_kernels_were_tried() {
    let Some(gpu) = gpu() else { return };
    let mut session = open(&gpu, &decoder(), &Options::default());
    let times = block_on(session.time([4, 4, 4])).unwrap();
    assert!(times.iter().all(|step| step.macs > 0 && step.seconds > 0.0));
    assert!(times.iter().any(|step| step.kind == "upsample 2x and conv 3x3"));
    assert!(!gpu.findings().is_empty());
    let wrong: Vec<_> = gpu.findings().into_iter().filter(|finding| finding.is_wrong()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_picture_is_drawn_as_it_is_read() {
    let Some(gpu) = gpu() else { return };
    let input = latents(1, 9, 5);
    let mut session = open(&gpu, &decoder(), &Options::default());
    let expected = run(&mut session, &input, &mut ()).unwrap();
    let texture = |width, height| {
        gpu.device().create_texture(&wgpu::TextureDescriptor {
            label: None,
            size: wgpu::Extent3d { width, height, depth_or_array_layers: 1 },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Rgba8Unorm,
            usage: wgpu::TextureUsages::STORAGE_BINDING | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        })
    };
    let picture = texture(10, 18);
    let item = input.index_axis(Axis(0), 0);
    block_on(session.draw(item, &picture, &mut ())).unwrap();
    for (y, row) in pixels(&gpu, &picture).chunks_exact(256).take(18).enumerate() {
        for (i, &found) in row[..40].iter().enumerate() {
            let (x, channel) = (i / 4, i % 4);
            let expected = if channel == 3 { 1.0 } else { expected[(0, channel, y, x)] };
            let expected = (expected / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
            assert!(channel == 3 && found == 255 || (f32::from(found) - expected).abs() < 0.51, "{y} {x} {channel}");
        }
    }
    let error = block_on(session.draw(item, &texture(10, 17), &mut ())).unwrap_err();
    assert!(error.to_string().contains("the picture is 10 by 18, the texture 10 by 17"), "{error}");
    let error = block_on(session.draw(input.mapv(|_| f32::NAN).index_axis(Axis(0), 0), &picture, &mut ())).unwrap_err();
    assert!(error.to_string().contains("pixels of 180 are NaN or infinite"), "{error}");
}

/// A texture's bytes, 256 a row.
fn pixels(gpu: &Gpu, texture: &wgpu::Texture) -> Vec<u8> {
    let size = u64::from(texture.height()) * 256;
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
    let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
    let buffer = gpu.device().create_buffer(&descriptor);
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let layout = wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(256), rows_per_image: None };
    let to = wgpu::TexelCopyBufferInfo { buffer: &buffer, layout };
    encoder.copy_texture_to_buffer(texture.as_image_copy(), to, texture.size());
    gpu.queue().submit([encoder.finish()]);
    buffer.map_async(wgpu::MapMode::Read, .., |_| {});
    gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
    buffer.get_mapped_range(..).unwrap().to_vec()
}
