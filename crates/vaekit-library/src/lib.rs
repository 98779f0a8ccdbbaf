//! Folders of VAEs, as AUTOMATIC1111's web UI, ComfyUI, diffusers and vaekit keep them: listed, named, chosen, and told apart
//! by what is in them.
//!
//! ```no_run
//! use vaekit_library::{Index, find, scan};
//!
//! let library = scan(&["stable-diffusion-webui".into()])?;
//! let index = Index::open("hashes.json");
//! let vae = find(&library.entries, "vae-ft-mse-840000-ema-pruned", &index)?;
//! println!("{} in {:?}", vae.name, vae.paths());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Hashes
//! A *short hash* is what the web UI shows: the first 10 hexadecimal digits of the file's sha256. Listing opens no file, so it
//! knows the hashes that an [`Index`] holds from earlier; the others are computed when asked for. Beside the file's there are
//! hashes of the weights alone ([`WeightsHashes`](vaekit_checkpoint::WeightsHashes)), by which a `.ckpt` and its
//! `.safetensors`, or a file and its F16 cast, are known to be the same VAE.
//!
//! # Choosing
//! [`Choice`] has the web UI's three cases: `Automatic`, `None`, or a name ([`find`] says what matches one).

#![forbid(unsafe_code)]

mod choice;
mod entry;
mod extra_paths;
mod file;
mod find;
mod identity;
mod index;
mod natural;
mod places;
mod remembered;
mod scan;

pub use choice::{Choice, own_vae};
pub use entry::{CHECKPOINT_ENDINGS, Entry, Kind, diffusers_weights};
pub use file::{Stamped, source};
pub use find::{FindError, MIN_HASH_DIGITS, SHORT_HASH_DIGITS, find, near};
pub use identity::{IdentityError, weights};
pub use index::Index;
pub use remembered::{Remembered, RememberedError};
pub use scan::{Library, ScanError, scan};
