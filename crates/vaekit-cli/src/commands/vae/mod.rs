//! `vaekit vae`: the VAEs that are there, and the choice among them.

pub mod info;
pub mod list;
pub mod remember;
pub mod which;
