//! Whole checkpoints: the fixtures with PyTorch's files, and files written here byte by byte.

mod fixtures;
mod formats;
mod hostile;
mod layouts;
mod write;
