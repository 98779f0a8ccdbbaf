//! One file a command: read the arguments, call the crates, report.

pub mod cache;
pub mod compare;
pub mod convert;
pub mod decode;
pub mod devices;
pub mod encode;
pub mod inspect;
pub mod roundtrip;
pub mod runtime;
pub mod vae;
