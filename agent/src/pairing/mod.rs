//! Records become exchanges: parsers of what the kernel programs hand over ([`proto`]), the
//! pairing of requests with their responses ([`conn`]), the context that a request carries
//! ([`context`]), and the same over a recording ([`replay`]). No I/O, no clock.

pub mod conn;
pub mod context;
pub mod proto;
pub mod replay;
