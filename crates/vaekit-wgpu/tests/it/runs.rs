//! What a session promises besides its numbers.

use std::ops::ControlFlow;

use ndarray::{Array4, Axis, s};
use vaekit::{
    Domain, Failure, Half, Latents, Observer, Piece, Progress, Session, Statistics, StepFuture, Vae, block_on,
};
use vaekit_reference::{Noise, compare};
use vaekit_wgpu::{Gpu, GpuError, GpuOptions, Options, wgpu};

use crate::networks::{model, open, run};
use crate::weights::{Kind, weights};
use crate::{alone, gpu, request, vaes};

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
fn what_is_held_is_given_back_and_only_one_session_holds_it() {
    let Some(gpu) = alone() else { return };
    let input = latents(1, 9, 14);
    let mut first = open(&gpu, &decoder(), &Options::default());
    let weights = gpu.held_bytes();
    let expected = run(&mut first, &input, &mut ()).unwrap();
    let of_run = gpu.held_bytes() - weights;
    assert!(weights > 0 && of_run > 0);
    let mut second = open(&gpu, &decoder(), &Options::default());
    assert_eq!(run(&mut second, &input, &mut ()).unwrap(), expected);
    assert_eq!(gpu.held_bytes(), 2 * weights + of_run, "both sessions hold images");
    assert_eq!(run(&mut first, &input, &mut ()).unwrap(), expected);
    assert_eq!(gpu.held_bytes(), 2 * weights + of_run);
    assert!(first.release() && !first.release() && !second.release());
    assert_eq!(gpu.held_bytes(), 2 * weights);
    drop(first);
    run(&mut second, &latents(1, 3, 3), &mut StopAt { n: 0, seen: Vec::new() }).unwrap_err();
    drop(second);
    assert_eq!(gpu.held_bytes(), 0);
}

/// A device that has less memory from one run to the next: smaller bands of the same, then f16, then tiles.
#[test]
fn with_less_and_less_memory_a_picture_is_decoded_all_the_same() {
    let Some(gpu) = alone() else { return };
    let input = latents(1, 40, 36);
    let half = Options { allow_f16: true, ..Options::default() };
    let mut session = open(&gpu, &decoder(), &half);
    // Its kernels are tried while there is memory.
    let tight = session.counts([4, 8, 8]).unwrap().memory - 1;
    block_on(open(&gpu, &decoder(), &Options { memory: Some(tight), ..half }).prepare([4, 8, 8])).unwrap();

    let weights = gpu.held_bytes();
    let expected = run(&mut session, &input, &mut ()).unwrap();
    let mut held = gpu.held_bytes();
    assert!(session.release());
    for (what, largest) in [("smaller bands", 0.0), ("f16", 0.1)] {
        gpu.limit_memory(held - 1);
        let found = run(&mut session, &input, &mut ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let comparison = compare(found.view(), expected.view(), largest, 2.0).unwrap();
        assert!(comparison.holds() && (comparison.max_abs_error > 0.0) == (largest > 0.0), "{what}: {comparison:?}");
        assert!(gpu.held_bytes() < held, "{what}: {} bytes of {held}", gpu.held_bytes());
        held = gpu.held_bytes();
        // The same size works again at once.
        assert_eq!(run(&mut session, &input, &mut ()).unwrap(), found, "{what}");
        assert!(session.release());
    }
    gpu.limit_memory(held - 1);
    let mut output = Array4::zeros((1, 3, 80, 72));
    let error = block_on(session.run(input.view(), output.view_mut(), &mut ())).unwrap_err();
    assert!(matches!(&error, Failure::OutOfMemory(reason) if reason.contains("the GPU may take")), "{error}");
    assert_eq!(gpu.held_bytes(), weights, "what was there of what failed is given back");

    let mut vae = Vae::new(vaes::kl(4, |_| {}), None, Some(Box::new(session)));
    let mut cut = Cuts::default();
    let latents = Latents { data: input, domain: Domain::Raw };
    let image = block_on(vae.decode_with(latents, &mut cut)).unwrap();
    assert!(cut.0 > 0 && image.data.iter().all(|value| value.is_finite()), "{} cuts", cut.0);
}

/// Counts how often it is told of a cut.
#[derive(Default)]
struct Cuts(usize);

impl Observer for Cuts {
    fn step(&mut self, _: Progress) -> StepFuture<'_> {
        Box::pin(std::future::ready(ControlFlow::Continue(())))
    }

    fn cut(&mut self, _: &vaekit::Cut) {
        self.0 += 1;
    }
}

/// Tiles that only fit in f16 do not try f32 again each time.
#[test]
fn what_works_for_a_size_is_kept_for_its_pieces() {
    let Some(gpu) = alone() else { return };
    let options = Options { allow_f16: true, ..Options::default() };
    let needed = open(&gpu, &decoder(), &options).counts([4, 24, 24]).unwrap().memory;
    let mut session = open(&gpu, &decoder(), &Options { memory: Some(needed - 1), ..options });
    let weights = gpu.held_bytes();
    let mut held = Vec::new();
    for given in [false, false, true, true] {
        let mut output = Array4::zeros((1, 3, 48, 48));
        let mut found = Statistics::default();
        let whole = Statistics { norms: Vec::new() };
        let piece = Piece { size: [24, 24], own: [0..20, 0..24], given: given.then_some(&whole) };
        let piecewise = session.piecewise().unwrap();
        let input = latents(1, 24, 24);
        block_on(piecewise.run_piece(&piece, input.view(), output.view_mut(), &mut found, &mut ())).unwrap();
        assert!(!found.norms.is_empty());
        held.push(gpu.held_bytes() - weights);
    }
    assert_eq!((held[0], held[2]), (held[1], held[3]));
    assert!(held.iter().all(|&held| held < needed), "{held:?} bytes of {needed}: it is not in f16");
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

/// Nobody tells of its loss: whatever is done first has to find out, and no kernel is to blame.
#[test]
fn the_loss_of_an_application_s_device_shows_in_what_fails() {
    let Some(ours) = gpu() else { return };
    let input = latents(1, 3, 3);
    let of_session = |gpu: &Gpu| open(gpu, &decoder(), &Options::default());
    let lost = |what: &str, gpu: &Gpu, error: &str| {
        assert!(error.contains("the device was lost"), "{what}: {error}");
        assert!(gpu.lost().is_some() && !gpu.findings().iter().any(|finding| finding.is_wrong()), "{what}");
    };
    let gpu = of_application(&ours);
    let mut session = of_session(&gpu);
    run(&mut session, &input, &mut ()).unwrap();
    assert_eq!(gpu.lost(), None);
    gpu.device().destroy();
    lost("a run again", &gpu, &run(&mut session, &input, &mut ()).unwrap_err().to_string());

    let gpu = of_application(&ours);
    let mut session = of_session(&gpu);
    gpu.device().destroy();
    lost("the first run", &gpu, &run(&mut session, &input, &mut ()).unwrap_err().to_string());

    let gpu = of_application(&ours);
    gpu.device().destroy();
    lost("a probe", &gpu, &block_on(gpu.probe()).unwrap_err().to_string());
}

/// An application that makes a mistake on a device that is lent to it has not lost it.
#[test]
fn an_error_of_others_ends_nothing() {
    let Some(gpu) = alone() else { return };
    let input = latents(1, 3, 3);
    let mut session = open(&gpu, &decoder(), &Options::default());
    let expected = run(&mut session, &input, &mut ()).unwrap();
    assert_eq!(gpu.stray_error(), None);
    let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
    let wrong = wgpu::BufferDescriptor { label: None, size: 4, usage, mapped_at_creation: false };
    let _ = gpu.device().create_buffer(&wrong);
    assert!(gpu.stray_error().is_some());
    assert_eq!(run(&mut session, &input, &mut ()).unwrap(), expected);
    assert_eq!(gpu.lost(), None);
    // And one that it waits for is told to nobody else.
    let error = block_on(gpu.watched(|device| device.create_buffer(&wrong))).unwrap_err();
    assert!(matches!(error, Failure::Other(_)), "{error}");
}

/// A device of its own as an application would have asked for it: with the limits that WebGPU guarantees.
fn of_application(ours: &Gpu) -> Gpu {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    let named = |adapter: &wgpu::Adapter| adapter.get_info().name == ours.report().name;
    let adapter = adapters.into_iter().find(named).unwrap();
    let (device, queue) = block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    Gpu::from_device(device, queue)
}

#[test]
fn a_device_of_an_application_is_shared_with_its_limits() {
    let Some(ours) = gpu() else { return };
    let gpu = of_application(&ours);
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
    let Some(gpu) = alone() else { return };
    let input = latents(1, 9, 5);
    let mut session = open(&gpu, &decoder(), &Options::default());
    let expected = run(&mut session, &input, &mut ()).unwrap();
    let held = gpu.held_bytes();
    let picture = block_on(session.picture([18, 10])).unwrap();
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
    let small = block_on(session.picture([17, 10])).unwrap();
    let error = block_on(session.draw(item, &small, &mut ())).unwrap_err();
    assert!(error.to_string().contains("the picture is 10 by 18, the texture 10 by 17"), "{error}");
    let error = block_on(session.draw(input.mapv(|_| f32::NAN).index_axis(Axis(0), 0), &picture, &mut ())).unwrap_err();
    assert!(error.to_string().contains("pixels of 180 are NaN or infinite"), "{error}");
    drop((small, picture));
    assert_eq!(gpu.held_bytes(), held);
    let error = block_on(session.picture([1 << 20, 1])).unwrap_err();
    assert!(error.to_string().contains("the picture is 1 by 1048576, this device draws"), "{error}");
    // As an image in f16 too.
    let tight = session.counts([4, 9, 5]).unwrap().memory - 1;
    let half = Options { allow_f16: true, memory: Some(tight) };
    let mut session = open(&gpu, &decoder(), &half);
    let picture = block_on(session.picture([18, 10])).unwrap();
    block_on(session.draw(item, &picture, &mut ())).unwrap();
    let first = pixels(&gpu, &picture)[0];
    assert!((f32::from(first) - (expected[(0, 0, 0, 0)] / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).abs() < 3.0, "{first}");
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
