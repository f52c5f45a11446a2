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
const ROUNDS: usize = 112;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const LF: u64 = 0x0a * ONES;
const LOWER: u64 = 0x20 * ONES;

#[inline(always)]
const fn word(text: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*text)
}

/// The eight bytes at `at % WINDOW`, the first one lowest.
///
/// # Safety
/// `window` is readable for `WINDOW + SLACK` bytes.
#[inline(always)]
pub(super) unsafe fn load(window: *const u8, at: usize) -> u64 {
    let at = within(at);
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: `at < WINDOW`, and SLACK covers the load, which needs no alignment.
    return u64::from_le(unsafe { window.add(at).cast::<u64>().read_unaligned() });
    // For BPF the compiler makes eight loads of a byte each out of an unaligned one,
    // though the processors that have a JIT all have unaligned loads, and the verifier
    // allows them on these.
    #[cfg(target_arch = "bpf")]
    {
        let word: u64;
        // SAFETY: `at < WINDOW`, and SLACK covers the load; it writes nothing.
        unsafe {
            core::arch::asm!("{word} = *(u64 *)({from} + 0)",
                word = out(reg) word, from = in(reg) window.add(at),
                options(pure, readonly, nostack, preserves_flags));
        }
        word
    }
}

/// `at % WINDOW`. On BPF the compiler must not know when that changes nothing, and leave
/// it out: old verifiers lose bounds that were found by comparing another copy of a value.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "bpf"),
    allow(unused_mut, reason = "changed on BPF only")
)]
pub(super) fn within(mut at: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
    }
    at & (WINDOW - 1)
}

/// Zero, in a register of its own: a constant that the compiler keeps for later use would
/// make states differ for the verifier.
#[inline(always)]
pub(super) fn zero() -> u64 {
    #[cfg(not(target_arch = "bpf"))]
    return 0;
    #[cfg(target_arch = "bpf")]
    {
        let value: u64;
        // SAFETY: sets one register.
        unsafe {
            core::arch::asm!("{0} = 0", out(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
}

/// Index of the first LF in `bytes`, or 8.
#[inline(always)]
pub(crate) const fn first_lf(bytes: u64) -> usize {
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
            return Scan::More;
        }
        stream.long_line = 0;
        // SAFETY: `line` and `end` are positions in the window.
        if unsafe { !start_line(window, line, end, stream) } {
            return Scan::Bad;
        }
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
unsafe fn header_lines(window: *const u8, len: usize, stream: &mut Stream) -> Scan {
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
/// As [`scan`]; `line <= end < WINDOW`, `first` is the word at `line`, `stream` is valid.
#[inline(always)]
unsafe fn header_line(window: *const u8, line: usize, end: usize, first: u64, stream: *mut Stream) {
    let name = first | LOWER;
    if name == word(b"content-") {
        // SAFETY: SLACK covers it.
        let rest = (unsafe { load(window, line + 8) } | LOWER) & 0x00ff_ffff_ffff_ffff;
        if rest == word(b"length:\0") {
            // SAFETY: promised by the caller.
            unsafe { (&raw mut (*stream).length_at).write_volatile(line as u32 + 15) };
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
            // SAFETY: promised by the caller.
            unsafe { (&raw mut (*stream).chunked).write_volatile(1) };
        }
    }
}
