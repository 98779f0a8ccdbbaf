use ndarray::{Array4, ArrayView4, s};
use vaekit::{Session, block_on};

use super::{OpenError, OrtSession, left_by};
use crate::library::{LoadError, Runtime};
use crate::options::Options;
use crate::probe::{expected, input, message, model, value};
use crate::provider::{Choice, Provider};

/// The machine's ONNX Runtime. Without one, tests that need it say so and pass, unless `VAEKIT_REQUIRE_ORT` is set.
fn runtime() -> Option<Runtime> {
    match Runtime::load() {
        Ok(runtime) => Some(runtime),
        Err(error @ LoadError::NotFound { .. }) if std::env::var_os("VAEKIT_REQUIRE_ORT").is_none() => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn on(provider: impl Into<Choice>) -> Options {
    Options { provider: provider.into(), ..Options::default() }
}

fn check_run(session: &mut OrtSession, input: ArrayView4<'_, f32>, expected: &Array4<f32>) {
    let mut output = Array4::from_elem(expected.dim(), f32::NAN);
    block_on(session.run(input, output.view_mut(), &mut ())).unwrap();
    assert_eq!(output, expected);
}

fn check_open_error(provider: Provider, bytes: &[u8], expected: &str) {
    let Some(runtime) = runtime() else { return };
    let message = OrtSession::from_bytes(&runtime, bytes, &on(provider)).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_session_runs_any_size_into_lent_memory() {
    let Some(runtime) = runtime() else { return };
    let (mut session, report) = OrtSession::from_bytes(&runtime, &model(), &on(Provider::Cpu)).unwrap();
    assert_eq!((report.engine.name, report.engine.provider.as_str()), ("ort", "cpu"));
    assert_eq!(report.engine.version, runtime.library().version);
    assert!(report.skipped.is_empty() && report.on_cpu.is_empty() && report.seconds > 0.0);

    check_run(&mut session, input().view(), &expected());
    let ones = Array4::ones((2, 1, 1, 3));
    let sums = Array4::from_shape_fn((2, 1, 1, 3), |(_, _, _, x)| if x == 1 { 3.0 } else { 2.0 });
    check_run(&mut session, ones.view(), &sums);
}

#[test]
fn a_model_opens_from_a_file() {
    let Some(runtime) = runtime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("modèle.onnx");
    std::fs::write(&path, model()).unwrap();
    let options = Options { threads: std::num::NonZeroUsize::new(1), ..on(Provider::Cpu) };
    let (mut session, _) = OrtSession::open(&runtime, &path, &options).unwrap();
    check_run(&mut session, input().view(), &expected());
}

#[test]
fn an_input_may_lie_anyhow_in_memory() {
    let Some(runtime) = runtime() else { return };
    let (mut session, _) = OrtSession::from_bytes(&runtime, &model(), &on(Provider::Cpu)).unwrap();
    let mut wide = Array4::from_elem((1, 1, 4, 8), f32::NAN);
    wide.slice_mut(s![.., .., .., ..;2]).assign(&input());
    check_run(&mut session, wide.slice(s![.., .., .., ..;2]), &expected());
    let turned = input().permuted_axes([0, 1, 3, 2]).as_standard_layout().into_owned();
    check_run(&mut session, turned.view().permuted_axes([0, 1, 3, 2]), &expected());
}

#[test]
fn another_output_shape_is_an_error_with_both() {
    let Some(runtime) = runtime() else { return };
    for provider in Provider::ALL {
        let Ok((mut session, _)) = OrtSession::from_bytes(&runtime, &model(), &on(provider)) else { continue };
        for (dim, side) in [((1, 1, 4, 5), "5"), ((1, 1, 2, 8), "8"), ((1, 1, 1, 1), "4"), ((1, 2, 4, 4), "2")] {
            let mut output = Array4::zeros(dim);
            let error = block_on(session.run(input().view(), output.view_mut(), &mut ())).unwrap_err();
            assert!(error.to_string().contains(side), "{error}");
        }
        check_run(&mut session, input().view(), &expected());
    }
}

/// Crashed on WebGPU before its sessions took turns.
#[test]
fn threads_may_use_sessions_at_the_same_time() {
    let Some(runtime) = runtime() else { return };
    let work = |provider| {
        for _ in 0..3 {
            let Ok((mut session, _)) = OrtSession::from_bytes(&runtime, &model(), &on(provider)) else { return };
            check_run(&mut session, input().view(), &expected());
        }
    };
    std::thread::scope(|scope| {
        for provider in Provider::ALL.into_iter().flat_map(|provider| [provider; 3]) {
            scope.spawn(move || work(provider));
        }
    });
}

#[test]
fn an_input_that_does_not_fit_is_an_error() {
    let Some(runtime) = runtime() else { return };
    let (mut session, _) = OrtSession::from_bytes(&runtime, &model(), &on(Provider::Cpu)).unwrap();
    for dim in [(1, 2, 4, 4), (0, 1, 4, 4), (1, 1, 0, 4)] {
        let mut output = Array4::zeros((1, 1, 4, 4));
        let error = block_on(session.run(Array4::zeros(dim).view(), output.view_mut(), &mut ())).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let (mut tall, whole) = (Array4::zeros((1, 1, 4, 8)), input());
    let output = tall.slice_mut(s![.., .., .., ..;2]);
    let error = block_on(session.run(whole.view(), output, &mut ())).unwrap_err();
    assert!(error.to_string().contains("standard layout"), "{error}");
}

#[test]
fn a_provider_by_name_runs_or_is_an_error() {
    // No package has XNNPACK, and each other one is for few systems or absent from the CPU's package.
    let Some(runtime) = runtime() else { return };
    for provider in Provider::ALL {
        match OrtSession::from_bytes(&runtime, &model(), &on(provider)) {
            Ok((mut session, report)) => {
                assert_eq!(report.provider, provider);
                check_run(&mut session, input().view(), &expected());
            }
            Err(error) => {
                eprintln!("{error}");
                let message = error.to_string();
                assert!(message.starts_with(provider.name()) && !message.contains('\n'), "{message}");
            }
        }
    }
}

#[test]
fn a_provider_of_another_system_or_build_says_so() {
    let absent = if cfg!(windows) { Provider::CoreMl } else { Provider::DirectMl };
    check_open_error(absent, &model(), "does not exist on");
    check_open_error(Provider::Xnnpack, &model(), "xnnpack is not in this ONNX Runtime (1.");
    check_open_error(Provider::Xnnpack, &model(), "build ONNX Runtime with it and set ORT_DYLIB_PATH");
}

#[test]
fn auto_says_what_it_skipped() {
    let Some(runtime) = runtime() else { return };
    let (mut session, report) = OrtSession::from_bytes(&runtime, &model(), &on(Choice::Auto)).unwrap();
    check_run(&mut session, input().view(), &expected());
    let order = Choice::order(std::env::consts::OS);
    let tried: Vec<_> = report.skipped.iter().map(|skipped| skipped.provider).collect();
    assert!(order.starts_with(&tried), "{report:?}");
    assert_eq!(report.provider, *order.get(tried.len()).unwrap_or(&Provider::Cpu), "{report:?}");
    assert!(report.skipped.iter().all(|skipped| !skipped.reason.is_empty()));
}

#[test]
fn a_convolution_left_to_another_provider_is_a_fallback() {
    let check = |pairs: &[(&str, &str)], expected: Result<&[(&str, usize)], usize>| {
        let pairs: Vec<_> = pairs.iter().map(|(name, operator)| (name.to_string(), operator.to_string())).collect();
        let expected = expected.map(|list| list.iter().map(|(operator, n)| (operator.to_string(), *n)).collect());
        assert_eq!(left_by(Provider::TensorRt, &pairs), expected, "{pairs:?}");
    };
    let (tensorrt, cuda, cpu) = ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider");
    check(&[(tensorrt, "Conv"), (cuda, "Softmax")], Ok(&[]));
    check(&[(tensorrt, "Conv"), (cpu, "Shape"), (cpu, "Gather"), (cpu, "Shape")], Ok(&[("Gather", 1), ("Shape", 2)]));
    check(&[(tensorrt, "Conv"), (cuda, "Conv"), (cpu, "FusedConv")], Err(2));
    check(&[(cpu, "ConvTranspose")], Err(1));
}

#[test]
fn a_broken_model_is_an_error() {
    check_open_error(Provider::Cpu, b"", "a model of 0 bytes in memory could not be opened on cpu");
    check_open_error(Provider::Cpu, b"not a model", "could not be opened on cpu");
    let Some(runtime) = runtime() else { return };
    let model = model();
    for n in 0..model.len() {
        assert!(
            OrtSession::from_bytes(&runtime, &model[..n], &on(Provider::Cpu)).is_err(),
            "{n} of {} bytes",
            model.len()
        );
    }
    let error = OrtSession::open(&runtime, "/nowhere/model.onnx", &on(Provider::Cpu)).unwrap_err();
    assert!(matches!(error, OpenError::Model { .. }), "{error}");
}

#[test]
fn a_model_of_two_inputs_is_no_half_of_a_vae() {
    // Protobuf messages merge when they are joined: this adds an input to the graph.
    let bytes = [model(), message(7, &message(11, &value("mask")))].concat();
    check_open_error(Provider::Cpu, &bytes, "`mask` Tensor<f32>");
    check_open_error(Provider::Cpu, &bytes, "expected one input and one output, both f32 of 4 dimensions");
}

#[test]
fn a_session_moves_to_another_thread() {
    fn check<T: Send + 'static>() {}
    check::<OrtSession>();
    check::<Runtime>();
}
