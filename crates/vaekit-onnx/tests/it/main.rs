//! The crate from outside: files, folders, and hostile bytes.

#[cfg(not(target_family = "wasm"))] // writes to the disk
mod folder;
mod hostile;
mod model;
mod vaes;
mod weights;
