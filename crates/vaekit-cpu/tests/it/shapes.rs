//! Graphs of known operations whose operands do not fit each other.

use std::io::Cursor;

use ndarray::Array4;
use vaekit::{Failure, Half};
use vaekit_cpu::{CpuSession, OpenError, Options};

use crate::onnx::{Node, graph};
use crate::weights::{Kind, weights};
use crate::{model, open, run, vaes};

#[track_caller]
fn check_open(nodes: &[Node], expected: &str) {
    let error = CpuSession::open(Cursor::new(graph(2, nodes)), &Options::default()).err().expect("refused");
    assert!(matches!(error, OpenError::Schedule { .. }) && error.is_unsupported());
    assert_eq!(error.to_string(), format!("{expected}, which this engine has no step for"));
}

#[test]
fn operands_of_other_sides_are_known_when_a_model_is_opened() {
    let halve = |from: &str, to: &str| Node::conv(from, to, 3, 2);
    check_open(
        &[halve("x", "c"), Node::new("Add", &["c", "x"], "y")],
        "`c` adds an image of 4096 by 4096 to one of 2048 by 2048",
    );
    check_open(
        &[
            halve("x", "c"),
            Node::new("Relu", &["c"], "a"),
            Node::new("Relu", &["x"], "b"),
            Node::new("Add", &["a", "b"], "y"),
        ],
        "`y` adds an image of 4096 by 4096 to one of 2048 by 2048",
    );
    // Keys of half the sides, which would do, and values of the whole ones.
    let attention = |k: &'static str, v: &'static str| {
        [
            halve("x", "half"),
            Node::flat("x", "q"),
            Node::transpose("q", "qt"),
            Node::flat(k, "k"),
            Node::new("MatMul", &["qt", "k"], "scores"),
            Node::new("Softmax", &["scores"], "weights"),
            Node::flat(v, "v"),
            Node::transpose("v", "vt"),
            Node::new("MatMul", &["weights", "vt"], "sum"),
            Node::transpose("sum", "sum_t"),
            Node::new("Shape", &["x"], "shape"),
            Node::new("Reshape", &["sum_t", "shape"], "y"),
        ]
    };
    check_open(&attention("half", "x"), "`y` has keys of 2048 by 2048 and values of 4096 by 4096");
    let mut session = open(&graph(2, &attention("half", "half")), 2);
    let found = run(&mut session, &Array4::from_elem((1, 2, 6, 6), 0.5), &mut ()).unwrap();
    assert!(found.iter().all(|value| value.is_finite()));
    assert_eq!(session.steps([2, 6, 6]).unwrap().last().unwrap().macs, 2 * 2 * 36 * 9);
}

#[test]
fn sizes_that_leave_nothing_are_errors() {
    let config = vaes::kl(4, |kl| kl.encoder.as_mut().unwrap().block_out_channels = vec![4, 4, 8, 8]);
    let mut session = open(&model(&config, &weights(&config, Kind::Random, 1), Half::Encoder), 2);
    let expected = |height: usize, width: usize, step: &str| {
        Failure::Other(format!("`encoder.{step}` has nothing to compute for an input of {height} by {width}"))
    };
    for (height, width, step) in [
        (4, 4, "down_blocks.2.downsamplers.0.conv"),
        (9, 4, "down_blocks.2.downsamplers.0.conv"),
        (1, 64, "down_blocks.0.downsamplers.0.conv"),
        (0, 5, "conv_in"),
    ] {
        assert_eq!(session.output([3, height, width]), Err(expected(height, width, step)));
        let error = run(&mut session, &Array4::zeros((1, 3, height, width)), &mut ()).unwrap_err();
        assert_eq!(error, expected(height, width, step));
    }
    run(&mut session, &Array4::zeros((1, 3, 8, 8)), &mut ()).unwrap();
}

#[test]
fn sides_that_grow_beyond_all_bounds_are_out_of_memory() {
    let names: Vec<String> = (0..=120).map(|i| if i == 0 { "x".into() } else { format!("y{i}") }).collect();
    let nodes = names.windows(2).enumerate().map(|(i, two)| match i % 2 {
        0 => Node::new("Resize", &[&two[0], "", "scales"], &two[1]),
        _ => Node::conv(&two[0], &two[1], 3, 1),
    });
    let session = open(&graph(2, &nodes.collect::<Vec<_>>()), 1);
    assert!(matches!(session.steps([2, 3, 5]), Err(Failure::OutOfMemory(_))));
}
