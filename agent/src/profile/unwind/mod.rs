//! Unwind rows: what a binary says about its stack frames, made small enough for the
//! kernel to search.
//!
//! ```text
//! .eh_frame, .debug_frame ─ cfi ─┐
//! .gopclntab ─────────────── go ─┤
//! code without either ── infer ──┴ rows (sorted) ─ table ─ blocks ─ kernel
//! ```

pub mod cfi;
mod go;
mod infer;
mod prepare;
mod rows;
mod rules;
mod table;
pub mod worker;

pub(crate) use prepare::gopclntab;
pub use prepare::{Prepared, prepare};
pub use rows::{Row, Rows};
pub use rules::Rules;
pub use table::table;
