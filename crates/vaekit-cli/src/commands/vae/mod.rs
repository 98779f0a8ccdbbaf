//! `vaekit vae`: the VAEs that are there, and the choice among them.

pub mod fetch;
pub mod info;
pub mod known;
pub mod list;
pub mod path;
pub mod remember;
pub mod remove;
pub mod verify;
pub mod which;
