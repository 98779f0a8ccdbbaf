//! The crate from outside: files, folders, and hostile bytes.

mod folder;
mod hostile;
mod model;
mod vaes;
mod weights;
