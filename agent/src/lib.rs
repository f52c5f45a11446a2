//! Remora: zero-instrumentation tracing of HTTP requests on a Linux host.
//!
//! The folders in the order of the flow; each may name those before it, never those behind
//! (`cargo xtask layering`):
//!
//! [`model`] → [`host`] → [`capture`] → [`pairing`] → [`profile`] → [`span`] → [`deciding`] →
//! [`config`] → [`delivery`], [`output`] → [`cli`], [`app`].
//!
//! `unsafe` stands only in the modules that call the kernel or map its memory; each allows it
//! with a reason. What parses the bytes of others must not have it at all.

#![deny(unsafe_code)]

pub mod app;
pub mod capture;
#[forbid(unsafe_code)]
pub mod cli;
#[forbid(unsafe_code)]
pub mod config;
#[forbid(unsafe_code)]
pub mod deciding;
pub mod delivery;
pub mod host;
pub mod model;
#[forbid(unsafe_code)]
pub mod output;
#[forbid(unsafe_code)]
pub mod pairing;
pub mod profile;
#[forbid(unsafe_code)]
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
