//! The host: what its kernel allows ([`preflight`]), and what its processes are
//! ([`discovery`]).

pub mod discovery;
pub mod preflight;
