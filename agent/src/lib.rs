//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.
//!
//! The folders in the order of the flow; each may name those before it, never those behind
//! (`cargo xtask layering`):
//!
//! [`model`] → [`host`] → [`capture`] → [`pairing`] → [`profile`] → [`span`] → [`deciding`] →
//! [`config`] → [`delivery`], [`output`] → [`cli`], [`app`].

pub mod app;
pub mod capture;
pub mod cli;
pub mod config;
pub mod deciding;
pub mod delivery;
pub mod host;
pub mod model;
pub mod output;
pub mod pairing;
pub mod profile;
pub mod span;

#[cfg(test)]
extern crate self as remora;
#[cfg(test)]
mod fixture;
#[cfg(test)]
#[path = "../tests/support/frames.rs"]
mod frames;
#[cfg(test)]
#[path = "../tests/support/profile.rs"]
mod sample_profile;
#[cfg(test)]
#[path = "../tests/support/stream.rs"]
mod stream;
