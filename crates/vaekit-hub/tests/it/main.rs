//! The hub's client against a real server that misbehaves.

mod fake_hub;
mod fetch;
mod local;
mod refuse;
mod registry;
mod resume;
mod server;
