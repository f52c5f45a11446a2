//! Finds lines in a window, eight bytes at a time.

use super::start::start_line;
use super::words::{LOWER, first_lf, load, word};
use super::{Stream, WINDOW, phase};

/// Why [`scan`] stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scan {
    /// The window ends within a line that begins at `stream.line`.
    More,
    /// The empty line that ends a head or the trailers; `stream.at` is behind it.
    Blank,
    /// A chunk size line from `stream.line`; `stream.at` is behind it.
    ChunkLine,
    /// The first line is not that of an HTTP/1 message.
    Bad,
}

/// Rounds of the scan loop: one per eight bytes and one per line. Heads with more and
/// shorter lines than this allows in one window are taken up where the scan stopped.
const ROUNDS: usize = 112;

/// Scans `window[stream.at..len]` line by line and records what the header lines say
/// about framing in `stream`.
///
/// # Safety
/// `window` is readable for `WINDOW + SLACK` bytes and `len <= WINDOW_MAX`.
#[inline(always)]
pub unsafe fn scan(window: *const u8, len: usize, stream: &mut Stream) -> Scan {
    if stream.phase == phase::START || stream.phase == phase::CHUNK_LINE {
        // SAFETY: passed on.
        let end = unsafe { next_line(window, len, stream) };
        if end == usize::MAX {
            return Scan::More;
        }
        if stream.phase == phase::CHUNK_LINE {
            stream.long_line = 0;
            return Scan::ChunkLine;
        }
        let line = (stream.line as usize) & (WINDOW - 1);
        // SAFETY: `line < WINDOW`, and SLACK bytes are readable behind the window.
        if stream.long_line == 0 && unsafe { is_blank(window, line, end) } {
            // RFC 9112, section 2.2: empty lines before a start line are passed over.
            stream.line = stream.at;
            stream.first = 0;
            return Scan::More;
        }
        // SAFETY: `line` and `end` are positions in the window.
        if unsafe { !start_line(window, line, end, stream) } {
            return Scan::Bad;
        }
        stream.long_line = 0;
        stream.surplus = 0;
        stream.astray = 0;
        stream.phase = phase::HEAD;
        stream.line = end as u32 + 1;
    }
    // SAFETY: passed on.
    unsafe { header_lines(window, len, stream) }
}

/// Whether nothing but a CR lies before the LF at `end`.
///
/// # Safety
/// `line < WINDOW`, and the window is readable as [`scan`] asks.
#[inline(always)]
unsafe fn is_blank(window: *const u8, line: usize, end: usize) -> bool {
    // SAFETY: promised by the caller.
    let first = unsafe { load(window, line) } & 0xff;
    end == line || (end == line + 1 && first == 0x0d)
}

/// Position of the next LF, `usize::MAX` if there is none; `stream.at` is behind it, or
/// at the end of what was looked at.
///
/// # Safety
/// As [`scan`].
#[inline(always)]
unsafe fn next_line(window: *const u8, len: usize, stream: &mut Stream) -> usize {
    let s: *mut Stream = stream;
    let mut round = 0;
    while round < WINDOW / 8 {
        round += 1;
        // SAFETY: `s` comes from a reference. Volatile, so that the compiler does not
        // keep the values in registers (see the module comment).
        let at = (unsafe { (&raw const (*s).at).read_volatile() } as usize) & (WINDOW - 1);
        if at >= len {
            break;
        }
        // SAFETY: `at < WINDOW`, and SLACK bytes are readable behind the window.
        let lf = first_lf(unsafe { load(window, at) });
        if lf == 8 {
            // SAFETY: as above.
            unsafe { (&raw mut (*s).at).write_volatile(at as u32 + 8) };
            continue;
        }
        let end = at + lf;
        if end >= len {
            break;
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*s).at).write_volatile(end as u32 + 1) };
        return end;
    }
    // Nothing up to the end of the contents.
    // SAFETY: as above.
    unsafe { (&raw mut (*s).at).write_volatile(len as u32) };
    usize::MAX
}

/// Goes through header or trailer lines up to the empty one.
///
/// # Safety
/// As [`scan`].
#[inline(always)]
pub(super) unsafe fn header_lines(window: *const u8, len: usize, stream: &mut Stream) -> Scan {
    let s: *mut Stream = stream;
    let mut round = 0;
    while round < ROUNDS {
        round += 1;
        // SAFETY: `s` comes from a reference; volatile as above.
        let at = (unsafe { (&raw const (*s).at).read_volatile() } as usize) & (WINDOW - 1);
        if at >= len {
            return Scan::More;
        }
        // SAFETY: `at < WINDOW`, and SLACK bytes are readable behind the window.
        let lf = first_lf(unsafe { load(window, at) });
        if lf == 8 {
            // SAFETY: as above.
            unsafe { (&raw mut (*s).at).write_volatile(at as u32 + 8) };
            continue;
        }
        let end = at + lf;
        if end >= len {
            // Bytes behind the window's contents: all of the contents are scanned.
            // SAFETY: as above.
            unsafe { (&raw mut (*s).at).write_volatile(len as u32) };
            return Scan::More;
        }
        // SAFETY: as above.
        let line = (unsafe { (&raw const (*s).line).read_volatile() } as usize) & (WINDOW - 1);
        // SAFETY: as above.
        unsafe {
            (&raw mut (*s).at).write_volatile(end as u32 + 1);
            (&raw mut (*s).line).write_volatile(end as u32 + 1);
        }
        // SAFETY: as above.
        let long = unsafe { (&raw const (*s).long_line).read_volatile() };
        if long != 0 {
            // SAFETY: as above.
            unsafe { (&raw mut (*s).long_line).write_volatile(0) };
            continue;
        }
        // SAFETY: `line < WINDOW`, and SLACK bytes are readable behind the window.
        let first = unsafe { load(window, line) };
        if end == line || (end == line + 1 && first & 0xff == 0x0d) {
            return Scan::Blank;
        }
        // SAFETY: as above.
        unsafe { header_line(window, line, end, first, s) };
    }
    Scan::More
}

/// Notes `Content-Length` and `Transfer-Encoding: …chunked`.
///
/// # Safety
/// As [`scan`]; `line <= end < WINDOW`, `first` is the word at `line`, `stream` is valid.
#[inline(always)]
unsafe fn header_line(window: *const u8, line: usize, end: usize, first: u64, stream: *mut Stream) {
    let name = first | LOWER;
    if name == word(b"content-") {
        // SAFETY: SLACK covers it.
        let rest = (unsafe { load(window, line + 8) } | LOWER) & 0x00ff_ffff_ffff_ffff;
        if rest == word(b"length:\0") {
            // SAFETY: promised by the caller.
            unsafe { length_line(line + 15, stream) };
        }
    } else if name == word(b"transfer") {
        // SAFETY: SLACK covers it.
        let rest = unsafe { load(window, line + 8) } | LOWER;
        // SAFETY: masked into the window.
        let cr = unsafe { load(window, end.wrapping_sub(1) & (WINDOW - 1)) } & 0xff == 0x0d;
        let value_end = if cr { end.wrapping_sub(1) } else { end };
        // SAFETY: masked into the window.
        let last = unsafe { load(window, value_end.wrapping_sub(8) & (WINDOW - 1)) } | LOWER;
        if rest == word(b"-encodin") {
            let chunked = last >> 8 == word(b"chunked\0");
            // SAFETY: promised by the caller.
            unsafe { (&raw mut (*stream).chunked).write_volatile(2 - chunked as u8) };
        }
    }
}

/// Notes where a `Content-Length` is, and where the one before it was: they are compared when
/// the window was scanned, because a branch here would be followed in every round.
///
/// # Safety
/// As [`header_line`]; the value begins at `at`.
#[inline(always)]
unsafe fn length_line(at: usize, stream: *mut Stream) {
    // SAFETY: promised by the caller.
    unsafe {
        let before = (&raw const (*stream).length_at).read_volatile();
        (&raw mut (*stream).length_before).write_volatile(before);
        (&raw mut (*stream).length_at).write_volatile(at as u32);
    }
}
