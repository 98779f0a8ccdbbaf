//! Progress out, and the wish to cancel in.

use std::ops::ControlFlow;

use js_sys::{Function, Promise};
use vaekit::{Cut, Observer, Progress, StepFuture};
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::js::object;

/// Calls `(done, total) => Promise<boolean>`: whether to go on. The promise lets the worker's messages through.
pub(crate) struct Asking {
    ask: Function,
    cut: Option<Cut>,
}

impl Asking {
    pub(crate) fn new(ask: Function) -> Self {
        Asking { ask, cut: None }
    }

    /// `{ columns, rows, width, height, alone, apart }`, width and height in latents; undefined where a run went in one piece.
    pub(crate) fn tiles(&self) -> JsValue {
        self.cut.as_ref().map_or(JsValue::UNDEFINED, |Cut { rows, columns, alone, apart }| {
            object([
                ("columns", columns.starts.len().into()),
                ("rows", rows.starts.len().into()),
                ("width", columns.len.into()),
                ("height", rows.len.into()),
                ("alone", (*alone).into()),
                ("apart", (*apart).map_or(JsValue::UNDEFINED, JsValue::from)),
            ])
        })
    }
}

impl Observer for Asking {
    fn step(&mut self, Progress { done, total }: Progress) -> StepFuture<'_> {
        let answer = self.ask.call2(&JsValue::NULL, &(done as f64).into(), &(total as f64).into());
        Box::pin(async move {
            let goes_on = match answer {
                Ok(promise) => JsFuture::from(promise.unchecked_into::<Promise>()).await,
                Err(error) => Err(error),
            };
            match goes_on {
                Ok(goes_on) if goes_on.is_truthy() => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })
    }

    fn cut(&mut self, cut: &Cut) {
        self.cut = Some(cut.clone());
    }
}

/// Calls `(stage, done, total) => void` about work that does not wait for an answer.
#[derive(Clone)]
pub(crate) struct Telling(pub(crate) Function);

impl Telling {
    pub(crate) fn tell(&self, stage: &str, done: u64, total: u64) {
        // A callback that throws is no reason to stop.
        let _ = self.0.call3(&JsValue::NULL, &stage.into(), &(done as f64).into(), &(total as f64).into());
    }
}
