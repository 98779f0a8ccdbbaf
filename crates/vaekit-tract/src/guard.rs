//! tract's failures as one line of text.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::TractResult;

/// Runs a step of tract's on a stranger's model. Some damaged graphs make tract panic where others make it err; to the caller
/// both are errors. On wasm32, where nothing unwinds, such a graph ends the worker.
///
/// The step must leave nothing behind that is looked at after a panic.
pub(crate) fn guarded<T>(step: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let causes: Vec<String> = error.chain().map(|cause| cause.to_string().trim().replace('\n', " ")).collect();
            Err(causes.join(": "))
        }
        Err(panic) => {
            let message = panic.downcast_ref::<&str>().copied();
            let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Err(format!("tract panicked: {}", message.unwrap_or("for no stated reason")))
        }
    }
}
