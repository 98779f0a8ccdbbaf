//! What a session promises besides its numbers.

use std::io::Cursor;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ndarray::{Array4, Axis, s};
use vaekit::{Failure, Half, Observer, Progress, Session, StepFuture, block_on};
use vaekit_cpu::{CpuSession, FreeMemory, Options};
use vaekit_reference::Noise;

use crate::weights::{Kind, weights};
use crate::{model, open, run, vaes};

fn decoder() -> Vec<u8> {
    let config = vaes::kl(4, |_| {});
    model(&config, &weights(&config, Kind::Random, 1), Half::Decoder)
}

fn latents(n: usize, h: usize, w: usize) -> Array4<f32> {
    let mut noise = Noise::new(9);
    Array4::from_shape_simple_fn((n, 4, h, w), || noise.normal())
}

#[test]
fn threads_change_no_bit() {
    let (model, input) = (decoder(), latents(1, 33, 50));
    let one = run(&mut open(&model, 1), &input, &mut ()).unwrap();
    for threads in [2, 3, 7] {
        assert_eq!(run(&mut open(&model, threads), &input, &mut ()).unwrap(), one, "{threads} threads");
    }
}

#[test]
fn sizes_may_change_from_run_to_run() {
    let model = decoder();
    let mut session = open(&model, 2);
    for (h, w) in [(5, 7), (16, 3), (5, 7), (1, 1)] {
        let input = latents(1, h, w);
        assert_eq!(run(&mut session, &input, &mut ()).unwrap(), run(&mut open(&model, 2), &input, &mut ()).unwrap());
    }
}

#[test]
fn each_item_of_a_batch_is_computed_as_if_alone() {
    let (mut session, input) = (open(&decoder(), 2), latents(3, 4, 5));
    let all = run(&mut session, &input, &mut ()).unwrap();
    let alone = run(&mut session, &input.slice(s![2..3, .., .., ..]).to_owned(), &mut ()).unwrap();
    assert_eq!(all.index_axis(Axis(0), 2), alone.index_axis(Axis(0), 0));
}

/// Ends a run at its n-th step.
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
    let (mut session, input) = (open(&decoder(), 2), latents(2, 4, 5));
    let mut all = StopAt { n: usize::MAX, seen: Vec::new() };
    let expected = run(&mut session, &input, &mut all).unwrap();
    assert_eq!(all.seen.len(), 2 * session.steps([4, 4, 5]).unwrap().len());
    assert_eq!(all.seen[0].done, 0);
    assert!(all.seen.windows(2).all(|two| two[0].done <= two[1].done && two[0].total == two[1].total));
    assert!(all.seen.last().unwrap().done < all.seen[0].total);

    let error = run(&mut session, &input, &mut StopAt { n: 5, seen: Vec::new() }).unwrap_err();
    assert_eq!(error, Failure::Cancelled);
    assert_eq!(run(&mut session, &input, &mut ()).unwrap(), expected, "after a cancelled run");
}

#[test]
fn huge_values_and_nans_come_out_where_they_belong() {
    let config = vaes::tiny(4, false, None);
    let mut session = open(&model(&config, &weights(&config, Kind::Random, 1), Half::Encoder), 2);
    // No normalisation and no clamp in a tiny encoder: what is finite in a direct convolution stays so.
    for magnitude in [1e30f32, 1e34] {
        let output = run(&mut session, &Array4::from_elem((1, 3, 16, 16), magnitude), &mut ()).unwrap();
        assert!(output.iter().all(|value| value.is_finite()), "inputs of {magnitude:e}");
    }
    let mut image = Array4::zeros((1, 3, 64, 64));
    image[(0, 1, 40, 40)] = f32::NAN;
    let output = run(&mut session, &image, &mut ()).unwrap();
    assert!(output.slice(s![0, 0, 20, 20]).iter().all(|value| value.is_nan()));
    assert!(output[(0, 0, 0, 0)].is_finite(), "a NaN spreads as far as a direct convolution's");
}

#[test]
fn wrong_shapes_are_errors() {
    let check = |input: (usize, usize, usize, usize), output, expected: &str| {
        let (input, mut output) = (Array4::zeros(input), Array4::zeros(output));
        let error = block_on(open(&decoder(), 1).run(input.view(), output.view_mut(), &mut ())).unwrap_err();
        assert_eq!(error, Failure::Other(expected.into()));
    };
    check((1, 5, 2, 2), (1, 3, 4, 4), "the input has 5 channels, the model takes 4");
    check((1, 4, 2, 2), (2, 3, 4, 4), "the output is for 2 items, the input holds 1");
    check((1, 4, 2, 2), (1, 3, 4, 5), "the output has shape [3, 4, 5], but [3, 4, 4] was computed");
}

/// A session whose runs may take what is in the cell.
fn limited(model: &[u8], free: &Arc<AtomicU64>) -> CpuSession {
    let free = free.clone();
    let memory: FreeMemory = Arc::new(move || Some(free.load(Ordering::Relaxed)));
    let options = Options { threads: NonZero::new(2), memory: Some(memory) };
    CpuSession::open(Cursor::new(model), &options).unwrap()
}

#[test]
fn memory_that_may_not_be_taken_is_an_error() {
    let (model, free) = (decoder(), Arc::new(AtomicU64::new(u64::MAX)));
    let mut session = limited(&model, &free);
    let needed = session.run_bytes([4, 16, 16]).unwrap();
    let input = Array4::zeros((1, 4, 16, 16));
    for fits in [true, false, true] {
        // It is asked when a size is new, not when the session is opened.
        free.store(if fits { needed } else { needed - 1 }, Ordering::Relaxed);
        let found = run(&mut session, &input, &mut ());
        assert_eq!(!matches!(found, Err(Failure::OutOfMemory(_))), fits);
        run(&mut session, &Array4::zeros((1, 4, 8, 8)), &mut ()).unwrap();
    }
    run(&mut session, &input, &mut ()).unwrap();
    free.store(0, Ordering::Relaxed);
    run(&mut session, &input, &mut ()).unwrap();
    assert!(session.release() && !session.release());
    let error = run(&mut session, &input, &mut ()).unwrap_err();
    assert!(matches!(error, Failure::OutOfMemory(_)), "{error}");
}

/// Attention's keys and values and what the threads work in are part of it.
#[test]
#[cfg_attr(target_family = "wasm", ignore = "has no threads of its own")]
fn memory_counts_more_than_images() {
    let config = vaes::kl(4, |_| {});
    let without = vaes::kl(4, |kl| kl.mid_attention = false);
    let bytes = |config, threads| {
        let model = model(config, &weights(config, Kind::Random, 1), Half::Decoder);
        open(&model, threads).run_bytes([4, 64, 64]).unwrap()
    };
    assert!(bytes(&config, 1) >= bytes(&without, 1));
    let of_thread = bytes(&without, 2) - bytes(&without, 1);
    // 64 tiles of 36 points, in and out, of one block of channels.
    assert!((2 * 64 * 36 * 64..2 * 65 * 36 * 64 + (1 << 17)).contains(&of_thread), "{of_thread}");
}

// In 32 bits there are no such shapes.
#[cfg(target_pointer_width = "64")]
#[test]
fn memory_that_is_not_there_is_an_error() {
    // Views of one value: what they would be decoded to is larger than any machine.
    let value = Array4::zeros((1, 1, 1, 1));
    let input = value.broadcast((1, 4, 1 << 24, 1 << 24)).unwrap();
    let mut output = Array4::zeros((1, 3, 2, 2));
    let error = block_on(open(&decoder(), 1).run(input, output.view_mut(), &mut ())).unwrap_err();
    assert!(matches!(error, Failure::OutOfMemory(_)), "{error}");
}
