//! What a message begins with: first sight of a connection, and the rule for start lines.
//!
//! [`likeness`] looks at eight bytes and only says which connections are worth following:
//! what is believed to be a request is decided here alone, by `start_line`.

use super::words::{HIGH, LOWER, first_lf, in_range, load, lowest, space, token, within, word};
use super::{Stream, WINDOW};
use crate::http2::PREFACE_START;

/// Beginning of a response, and what is looked at of it.
const VERSION: u64 = word(b"HTTP/1.\0");
const VERSION_BYTES: u64 = 7;
const VERSION_MASK: u64 = 0x00ff_ffff_ffff_ffff;

/// Bytes by what they are in a method, of which the table says it at less cost than
/// comparisons: their constants would fill the stack of the kernel programs.
static KINDS: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        if token(byte as u64) & 0x80 != 0 {
            kinds[byte] = TOKEN;
        }
        byte += 1;
    }
    kinds[b' ' as usize] = SPACE;
    kinds
};
const OTHER: u8 = 0;
const TOKEN: u8 = 1;
const SPACE: u8 = 2;

/// What is looked at of a method, in bytes. One that is longer is judged by the end of its line.
const METHOD_BYTES: usize = 32;

/// Bytes before the end of a line in which the version begins. What stands behind it makes a
/// request a bad one, which is for its server to say.
const VERSION_WITHIN: usize = 20;

/// What the framing of a response needs to know of its request.
pub mod class {
    /// Any other method.
    pub const PLAIN: u8 = 0;
    /// `HEAD`: the response has no body, whatever its header lines say.
    pub const HEAD: u8 = 1;
    /// `CONNECT`: a 2xx response switches to a tunnel.
    pub const CONNECT: u8 = 2;
}

/// What the first bytes of a call look like.
pub mod likeness {
    use super::{
        HIGH, VERSION, VERSION_BYTES, in_range, lowest, space, target_begins, token, word,
    };

    /// Not HTTP/1.
    pub const NEITHER: u8 = 0;
    /// A request, as far as can be seen.
    pub const REQUEST: u8 = 1;
    /// A response, as far as can be seen.
    pub const RESPONSE: u8 = 2;
    /// Nothing that could become HTTP/1 later on this connection (TLS).
    pub const NEVER: u8 = 3;
    /// What a proxy sends before anything else: see [`crate::proxy`].
    pub const PROXY: u8 = 4;
    /// Ends of lines, which a request may have before it (RFC 9112, section 2.2).
    pub const BLANK: u8 = 5;

    /// Judges the first `len` bytes, of which `low` has eight, zero behind their end. It is
    /// lenient where they do not tell: that costs no more than the way to the end of the first
    /// line, where it is found out.
    #[must_use]
    #[inline(always)]
    pub const fn of(low: u64, len: u64) -> u8 {
        if len == 0 {
            return NEITHER;
        }
        let have = if len < VERSION_BYTES {
            len
        } else {
            VERSION_BYTES
        };
        let mask = (1u64 << (8 * have)) - 1;
        if low & mask == VERSION & mask && have > 4 {
            return RESPONSE;
        }
        let first = low & 0xff;
        // TLS records: handshake or application data, version 3.x.
        if (first == 0x16 || first == 0x17) && (len == 1 || (low >> 8) & 0xff == 3) {
            return NEVER;
        }
        let all = if len < 8 { len } else { 8 };
        let blank = blank(low);
        if blank >= all {
            return BLANK;
        }
        let low = low >> (8 * (blank & 7));
        let len = all - blank;
        // Without branches (the verifier would follow each): a token up to the first space.
        let seen = HIGH >> (8 * ((8 - len) & 7));
        let spaces = space(low) & seen;
        let first_space = spaces & spaces.wrapping_neg();
        // All bits below the first space's, or all there are.
        let before = first_space.wrapping_sub(1) & seen;
        if !token(low) & before & !first_space != 0 || first_space == 0x80 {
            return NEITHER;
        }
        if first_space == 0 {
            return REQUEST;
        }
        let at = lowest(first_space) + 1;
        if at >= len || target_begins(low >> (8 * (at & 7)), len - at) {
            REQUEST
        } else {
            NEITHER
        }
    }

    /// How many ends of lines a word begins with.
    #[inline(always)]
    const fn blank(low: u64) -> u64 {
        let wide = low | HIGH;
        let ends = (in_range(wide, 0x0a, 0x0a) | in_range(wide, 0x0d, 0x0d)) & !low;
        let others = !ends & HIGH;
        if others == 0 { 8 } else { lowest(others) }
    }

    /// The [`super::class`] of a request that begins with these eight bytes.
    #[must_use]
    #[inline(always)]
    pub const fn class_of(low: u64) -> u8 {
        const HEAD: u64 = word(b"HEAD \0\0\0");
        const CONNECT: u64 = word(b"CONNECT ");
        let low = low >> (8 * (blank(low) & 7));
        if low & 0xff_ffff_ffff == HEAD {
            super::class::HEAD
        } else if low == CONNECT {
            super::class::CONNECT
        } else {
            super::class::PLAIN
        }
    }
}

/// Whether a request target begins with these bytes, of which `len` > 0 are there (RFC 9112,
/// section 3.2): a path, `*`, or an absolute URI of scheme http(s).
#[inline(always)]
const fn target_begins(low: u64, len: u64) -> bool {
    const SCHEME: u64 = word(b"http\0\0\0\0");
    let have = if len < 4 { len } else { 4 };
    let mask = (1u64 << (8 * have)) - 1;
    let first = low & 0xff;
    first == 0x2f || first == 0x2a || (low | LOWER) & mask == SCHEME & mask
}

/// Whether the first bytes of a window can be those of a response.
#[inline(always)]
pub(super) const fn begins_response(low: u64, len: usize) -> bool {
    let first = low & 0xff;
    let have = if len < VERSION_BYTES as usize {
        len as u64
    } else {
        VERSION_BYTES
    };
    let mask = (1u64 << (8 * have)) - 1;
    // Ends of lines before it are passed over.
    low & mask == VERSION & mask || first == 0x0d || first == 0x0a
}

/// What the beginning of a line says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// No request does.
    Bad,
    /// A request, with method, space and the beginning of a target.
    Request,
    /// The method has more bytes than are looked at.
    Open,
}

/// Judges the beginning of a line: a token and a space. A target of any kind may follow on a
/// connection that has had a request: what is wrong with it is for the server to say.
///
/// # Safety
/// `line` is a position in the window, which is readable as [`super::scan()`] asks.
#[inline(always)]
unsafe fn begins(window: *const u8, line: usize, any_target: bool) -> Begins {
    let mut at = 0;
    while at < METHOD_BYTES {
        // SAFETY: within the window.
        let byte = unsafe { window.add(within(line + at)).read() };
        let kind = KINDS[byte as usize];
        if kind == TOKEN {
            at += 1;
            continue;
        }
        if kind != SPACE || at == 0 {
            return Begins::Bad;
        }
        // SAFETY: masked into the window.
        let (low, target) = unsafe { (load(window, line), load(window, line + at + 1)) };
        if low == PREFACE_START {
            return Begins::Bad;
        }
        let connect = at == 7 && low == word(b"CONNECT ");
        return if any_target || connect || target_begins(target, 8) {
            Begins::Request
        } else {
            Begins::Bad
        };
    }
    Begins::Open
}

/// Whether a line ends in the version of a request. Most do in ` HTTP/1.1`, CR; what stands
/// behind the version, or is wrong with it, a server refuses.
///
/// # Safety
/// As [`begins`]; `line <= end < WINDOW`.
#[inline(always)]
unsafe fn has_version(window: *const u8, line: usize, end: usize) -> bool {
    const SPACE_HTT: u32 = u32::from_le_bytes(*b" htt");
    const P_SLASH: u32 = u32::from_le_bytes(*b"p/\0\0");
    let mut back = 7;
    while back < VERSION_WITHIN {
        let at = end.wrapping_sub(back);
        if end < back || at < line {
            return false;
        }
        // SAFETY: masked into the window.
        let bytes = unsafe { load(window, at) };
        // In halves: what fits an instruction takes no register.
        let (low, high) = (bytes as u32 | 0x2020_2020, (bytes >> 32) as u32 | 0x2020);
        let digit = (high >> 16) & 0xff;
        if low == SPACE_HTT && high & 0xffff == P_SLASH && digit >= 0x30 && digit <= 0x39 {
            return true;
        }
        back += 1;
    }
    false
}

/// Whether a line of which no end is seen begins like that of a message, which notes the
/// status of a response.
///
/// # Safety
/// As [`begins`].
#[inline(always)]
pub(super) unsafe fn long_start(window: *const u8, line: usize, stream: &mut Stream) -> bool {
    // SAFETY: passed on.
    unsafe {
        if stream.response != 0 {
            return status_line(window, line, stream);
        }
        begins(window, line, stream.index != 0) == Begins::Request
    }
}

/// Checks a start line. A request is believed to be one when a method, a space, a target and a
/// version were seen, a response by `HTTP/1.x NNN`.
///
/// # Safety
/// As [`begins`]; `line <= end < WINDOW`.
#[inline(always)]
pub(super) unsafe fn start_line(
    window: *const u8,
    line: usize,
    end: usize,
    stream: &mut Stream,
) -> bool {
    // SAFETY: passed on.
    unsafe {
        if stream.response != 0 {
            return status_line(window, line, stream);
        }
        // Of a long line the beginning is gone, and was judged before.
        let good = stream.long_line != 0 || begins(window, line, stream.index != 0) != Begins::Bad;
        good && has_version(window, line, end)
    }
}

/// # Safety
/// As [`begins`].
#[inline(always)]
unsafe fn status_line(window: *const u8, line: usize, stream: &mut Stream) -> bool {
    // SAFETY: masked into the window.
    let (version, status) = unsafe { (load(window, line), load(window, line + 8)) };
    let digit = |shift: u32| ((status >> shift) & 0xff).wrapping_sub(0x30);
    let (hundreds, tens, ones) = (digit(8), digit(16), digit(24));
    if version & VERSION_MASK != VERSION
        || status & 0xff != 0x20
        || hundreds > 9
        || tens > 9
        || ones > 9
    {
        return false;
    }
    stream.status = (hundreds * 100 + tens * 10 + ones) as u16;
    true
}

impl Stream {
    /// Whether the first line of a window is that of a request, whatever the stream is in. It
    /// changes nothing but positions in the window.
    ///
    /// # Safety
    /// As [`Stream::lines`].
    #[inline(always)]
    pub unsafe fn finds_request(&mut self, window: *const u8, len: usize) -> bool {
        let mut end = 0;
        while end < WINDOW {
            if end >= len {
                return false;
            }
            // SAFETY: masked into the window.
            let lf = first_lf(unsafe { load(window, end) });
            if lf < 8 {
                let end = end + lf;
                // SAFETY: `end < WINDOW`: the window has no more than that but for its slack.
                return end < len
                    && unsafe {
                        begins(window, 0, true) == Begins::Request && has_version(window, 0, end)
                    };
            }
            end += 8;
        }
        false
    }
}
