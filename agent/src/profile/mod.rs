//! CPU profiles.
//!
//! ```text
//! kernel ─ samples ─ session ─ collect ─ model ─ …
//!    ▲                  │          ▲
//!    └─ tables ─ unwind ┴ process  └ symbolize
//! ```
//!
//! The kernel programs take samples and follow stacks by what [`unwind`] prepared; the
//! [`session`] tells them what processes have mapped. [`collect`] turns samples into a
//! [`model::Profile`]; it knows neither files nor clocks, so that a recording gives the
//! same profile.

pub mod collect;
pub mod kernel;
pub mod model;
pub mod process;
pub mod recording;
pub mod session;
pub mod symbolize;
pub mod symbols;
pub mod unwind;
