//! Every engine of this machine.

use std::path::Path;

use vaekit::Session;
use vaekit_cli::engine::{open_cpu, open_tract};
use vaekit_ort::{OrtSession, Provider, Runtime};

/// Opens a model on ONNX Runtime's CPU provider, on vaekit's own engine and on tract.
///
/// # Panics
/// If an engine cannot open it, or `VAEKIT_REQUIRE_ORT` is set and there is no ONNX Runtime.
pub fn sessions(model: &Path) -> Vec<Box<dyn Session>> {
    let mut sessions: Vec<Box<dyn Session>> = Vec::new();
    match Runtime::load() {
        Ok(runtime) => {
            let options = vaekit_ort::Options { provider: Provider::Cpu.into(), ..Default::default() };
            let opened = OrtSession::open(&runtime, model, &options).unwrap_or_else(|error| panic!("{error}"));
            sessions.push(Box::new(opened.0));
        }
        Err(error) if std::env::var_os("VAEKIT_REQUIRE_ORT").is_some() => panic!("{error}"),
        Err(error) => eprintln!("skipped: {error}"),
    }
    let cpu = open_cpu(model, None).unwrap_or_else(|error| panic!("{error:#}"));
    sessions.push(Box::new(cpu.unwrap_or_else(|error| panic!("{error}"))));
    sessions.push(Box::new(open_tract(model, None).unwrap_or_else(|error| panic!("{error:#}"))));
    sessions
}
