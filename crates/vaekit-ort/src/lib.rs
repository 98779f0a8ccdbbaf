//! Runs vaekit models on ONNX Runtime, which is found and loaded while the program runs.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use vaekit_ort::{Options, OrtSession, Runtime};
//!
//! let runtime = Runtime::load()?;
//! let options = Options { provider: "cuda".parse()?, ..Options::default() };
//! let (session, report) = OrtSession::open(&runtime, "sd-vae/vae_decoder/model.onnx", &options)?;
//! println!("{}, opened in {:.1} s", report.engine, report.seconds);
//! # Ok(())
//! # }
//! ```
//!
//! - [`Runtime`] finds the library and checks its version: [`LoadError`] says where was looked and what to do.
//! - [`OrtSession`] is a [`vaekit::Session`]. A provider asked for by name runs or is an [`OpenError`]; [`Choice::Auto`]
//!   tries what fits the platform and says what it skipped.
//! - [`devices`] tries every provider on a tiny model.
//! - [`install`] fetches a build of ONNX Runtime through the user's own `pip` or `npm`.
//!
//! The crate knows no pixels and no checkpoints. `unsafe` is in one module, `native`, behind safe functions.

#![deny(unsafe_code)]

mod devices;
mod install;
mod library;
#[expect(unsafe_code, reason = "calls into ONNX Runtime's C API that `ort` has no safe way for")]
mod native;
mod options;
mod packages;
mod probe;
mod provider;
mod reason;
mod session;

pub use devices::{Device, devices};
pub use install::{InstallError, Installed, Offer, Step, install, installed, offers};
pub use library::{Library, LoadError, Origin, Runtime, home};
pub use options::{ConvSearch, Options, Precision};
pub use packages::Client;
pub use provider::{Choice, Provider, UnknownProvider};
pub use session::{OpenError, OrtSession, Report, Skipped};
