//! Finds lines in a window, eight bytes at a time.

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
const ROUNDS: usize = 176;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const LF: u64 = 0x0a * ONES;
const LOWER: u64 = 0x20 * ONES;

#[inline(always)]
const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// The eight bytes at `at`, the first one lowest.
///
/// # Safety
/// `window + at .. window + at + 8` is readable.
#[inline(always)]
pub(super) unsafe fn load(window: *const u8, at: usize) -> u64 {
    // SAFETY: promised by the caller; the load needs no alignment.
    u64::from_le(unsafe { window.add(at).cast::<u64>().read_unaligned() })
}

/// Index of the first LF in `bytes`, or 8.
#[inline(always)]
const fn first_lf(bytes: u64) -> usize {
    let x = bytes ^ LF;
    let hits = x.wrapping_sub(ONES) & !x & HIGH;
    if hits == 0 {
        return 8;
    }
    // The lowest set bit is 7 above a multiple of 8. Multiplying by the constant moves
    // the byte whose value is the index to the top: BPF has no count-trailing-zeros.
    let lowest = (hits & hits.wrapping_neg()) >> 7;
    (lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56) as usize
}

/// Scans `window[stream.at..len]` line by line and records what the header lines say
/// about framing in `stream`.
///
/// # Safety
/// `window` is readable for `WINDOW + SLACK` bytes and `len <= WINDOW_MAX`.
#[inline(always)]
pub unsafe fn scan(window: *const u8, len: usize, stream: &mut Stream) -> Scan {
    let s: *mut Stream = stream;
    let mut round = 0;
    while round < ROUNDS {
        round += 1;
        // SAFETY: `s` comes from a reference. Volatile, so that the compiler does not
        // keep the values in registers (see the module comment).
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
        unsafe { (&raw mut (*s).at).write_volatile(end as u32 + 1) };
        // SAFETY: `line < WINDOW`, and SLACK bytes are readable behind the window.
        let first = unsafe { load(window, line) };
        let length = end.wrapping_sub(line);
        let long = stream.long_line;
        stream.long_line = 0;

        // SAFETY: `s` comes from a reference that is not used while `s` is.
        let phase_now = unsafe { (&raw const (*s).phase).read_volatile() };
        if phase_now == phase::CHUNK_LINE {
            return Scan::ChunkLine;
        }
        let blank = long == 0 && (length == 0 || (length == 1 && first & 0xff == 0x0d));
        if blank {
            if phase_now != phase::START {
                return Scan::Blank;
            }
            // RFC 9112, section 2.2: empty lines before a start line are passed over.
        } else if phase_now == phase::START {
            // SAFETY: `line` and `end` are positions in the window.
            if unsafe { !start_line(window, line, end, stream) } {
                return Scan::Bad;
            }
            // SAFETY: as above.
            unsafe { (&raw mut (*s).phase).write_volatile(phase::HEAD) };
        } else if long == 0 && phase_now == phase::HEAD {
            // SAFETY: as above.
            unsafe { header_line(window, line, end, first, stream) };
        }
        // SAFETY: as above.
        unsafe { (&raw mut (*s).line).write_volatile(end as u32 + 1) };
    }
    Scan::More
}

/// Checks a start line. Requests end in ` HTTP/1.x`, responses begin with `HTTP/1.x NNN`.
///
/// # Safety
/// As [`scan`]; `line <= end < WINDOW`.
#[inline(always)]
unsafe fn start_line(window: *const u8, line: usize, end: usize, stream: &mut Stream) -> bool {
    const VERSION: u64 = word(b"HTTP/1.\0");
    const MASK: u64 = 0x00ff_ffff_ffff_ffff;
    if stream.response != 0 {
        // SAFETY: `line < WINDOW`; SLACK covers 16 bytes.
        let (version, status) =
            unsafe { (load(window, line), load(window, (line + 8) & (WINDOW - 1))) };
        if version & MASK != VERSION {
            return false;
        }
        let digit = |shift: u32| ((status >> shift) & 0xff).wrapping_sub(0x30);
        let (hundreds, tens, ones) = (digit(8), digit(16), digit(24));
        if status & 0xff != 0x20 || hundreds > 9 || tens > 9 || ones > 9 {
            return false;
        }
        stream.status = (hundreds * 100 + tens * 10 + ones) as u16;
        return true;
    }
    // The version is the last eight bytes, before an optional CR.
    // SAFETY: `end - 1` is masked into the window.
    let cr = unsafe { load(window, end.wrapping_sub(1) & (WINDOW - 1)) } & 0xff == 0x0d;
    let from = end.wrapping_sub(if cr { 9 } else { 8 });
    if end < 9 {
        return false;
    }
    // SAFETY: masked into the window.
    unsafe { load(window, from & (WINDOW - 1)) & MASK == VERSION }
}

/// Notes `Content-Length` and `Transfer-Encoding: …chunked`.
///
/// # Safety
/// As [`scan`]; `line <= end < WINDOW`, `first` is the word at `line`.
#[inline(always)]
unsafe fn header_line(window: *const u8, line: usize, end: usize, first: u64, stream: &mut Stream) {
    let name = first | LOWER;
    if name == word(b"content-") {
        // SAFETY: SLACK covers it.
        let rest = (unsafe { load(window, line + 8) } | LOWER) & 0x00ff_ffff_ffff_ffff;
        if rest == word(b"length:\0") {
            stream.length_at = line as u32 + 15;
        }
    } else if name == word(b"transfer") {
        // SAFETY: SLACK covers it.
        let rest = unsafe { load(window, line + 8) } | LOWER;
        // SAFETY: masked into the window.
        let cr = unsafe { load(window, end.wrapping_sub(1) & (WINDOW - 1)) } & 0xff == 0x0d;
        let value_end = if cr { end.wrapping_sub(1) } else { end };
        // SAFETY: masked into the window.
        let last = unsafe { load(window, value_end.wrapping_sub(8) & (WINDOW - 1)) } | LOWER;
        if rest == word(b"-encodin") && last >> 8 == word(b"chunked\0") {
            stream.chunked = 1;
        }
    }
}
