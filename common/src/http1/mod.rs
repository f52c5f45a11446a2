//! HTTP/1 message framing (RFC 9112, section 6), byte-exact and restartable anywhere.
//!
//! The machine runs in the kernel programs and is tested and fuzzed in userspace. It
//! finds where messages begin and end in one direction of a connection; it does not
//! interpret anything else. It never needs more than one [`WINDOW`] of bytes at a
//! time, so heads and bodies may have any length and be split anywhere.
//!
//! What the verifier of Linux 5.10 asks for shapes the code: everything is inlined
//! (with a subprogram, 5.10 gives up merging states), loops are bounded by constants,
//! and positions live in memory instead of registers, because the verifier forgets
//! what it knew of a value that comes from memory and so can merge the states of
//! all paths through a loop body.

mod body;
mod scan;
mod start;
mod stream;
#[cfg(test)]
mod tests;
mod words;

pub use scan::{Scan, scan};
pub use start::{class, likeness};
pub use stream::{Event, Settled, Stream, phase};
pub(crate) use words::first_lf;

/// Bytes looked at in one step, a power of two.
pub const WINDOW: usize = 1024;

/// Readable bytes behind the window, so that fixed-size loads at any position of the
/// window stay inside the buffer.
pub const SLACK: usize = 64;

/// Bytes of an unfinished line kept between steps. Header lines longer than this that
/// are split are passed over: no `Content-Length` or `Transfer-Encoding` line is.
pub const CARRY: usize = 64;

/// Most bytes in a window: a load of 8 bytes at the last one still begins inside.
pub const WINDOW_MAX: usize = WINDOW - 8;
