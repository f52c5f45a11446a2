//! The state of one direction of a connection, and its transitions.

use super::scan::{Scan, first_lf, load, scan, within, zero};
use super::{CARRY, WINDOW, WINDOW_MAX};
use crate::pod::Pod;

/// Where in a message a [`Stream`] is.
pub mod phase {
    /// Before or within a start line.
    pub const START: u8 = 0;
    /// Within the header lines.
    pub const HEAD: u8 = 1;
    /// Within a chunk size line (RFC 9112, section 7.1).
    pub const CHUNK_LINE: u8 = 2;
    /// Within trailer lines (RFC 9112, section 7.1.2).
    pub const TRAILERS: u8 = 3;
    /// Within a body of known length: `remaining` bytes.
    pub const BODY: u8 = 4;
    /// Within a chunk and the CR LF behind it: `remaining` bytes.
    pub const CHUNK: u8 = 5;
    /// Within a body that ends with the connection.
    pub const UNTIL_CLOSE: u8 = 6;
}

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

    /// Judges the first `len` (at most 16) bytes, given as two little-endian words.
    /// Methods are judged leniently, any token of upper-case letters: a wrong guess
    /// is found out at the end of the first line and costs no more than that.
    #[must_use]
    #[inline(always)]
    pub const fn of(low: u64, len: u64) -> u8 {
        const HTTP: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
        if len == 0 {
            return NEITHER;
        }
        let have = if len < 7 { len } else { 7 };
        let mask = (1u64 << (8 * have)) - 1;
        if low & mask == HTTP & mask && have > 4 {
            return RESPONSE;
        }
        let first = low & 0xff;
        // TLS records: handshake or application data, version 3.x.
        if (first == 0x16 || first == 0x17) && (len == 1 || (low >> 8) & 0xff == 3) {
            return NEVER;
        }
        // Byte by byte, without branches (the verifier would follow each): letters, and
        // '-' and '_' after the first one, up to the first space.
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x80 * ONES;
        let seen = if len < 8 {
            (1u64 << (8 * len)) - 1
        } else {
            u64::MAX
        };
        let wide = low | HIGH;
        let letters = wide.wrapping_sub(0x41 * ONES) & !wide.wrapping_sub(0x5b * ONES);
        let dashes = wide.wrapping_sub(0x2d * ONES) & !wide.wrapping_sub(0x2e * ONES);
        let lines = wide.wrapping_sub(0x5f * ONES) & !wide.wrapping_sub(0x60 * ONES);
        let spaces = wide.wrapping_sub(0x20 * ONES) & !wide.wrapping_sub(0x21 * ONES);
        let token = (letters | dashes | lines) & !low & HIGH;
        let spaces = spaces & !low & HIGH & seen;
        let first_space = spaces & spaces.wrapping_neg();
        // All bits below the first space's, or all there are.
        let before = first_space.wrapping_sub(1) & seen;
        if letters & !low & 0x80 == 0 || !token & HIGH & before & !first_space != 0 {
            return NEITHER;
        }
        if first_space == 0 {
            return REQUEST;
        }
        let at = (first_space >> 7).wrapping_mul(0x0001_0203_0405_0607) >> 56;
        if at < 2 {
            NEITHER
        } else {
            target_like(low, at, len)
        }
    }

    /// After the space at `at`: whether a request target follows (RFC 9112, section 3.2):
    /// a path, `*`, or an absolute URI of scheme http(s). `CONNECT` takes an authority.
    #[inline(always)]
    const fn target_like(low: u64, at: u64, len: u64) -> u8 {
        if at + 1 >= len || at + 1 >= 8 {
            return REQUEST;
        }
        let next = (low >> (8 * (at + 1))) & 0xff;
        if next == 0x2f || next == 0x2a || next | 0x20 == 0x68 {
            REQUEST
        } else {
            NEITHER
        }
    }

    /// The [`super::class`] of a request that begins with these eight bytes.
    #[must_use]
    #[inline(always)]
    pub const fn class_of(low: u64) -> u8 {
        const HEAD: u64 = u64::from_le_bytes(*b"HEAD \0\0\0");
        const CONNECT: u64 = u64::from_le_bytes(*b"CONNECT ");
        if low & 0xff_ffff_ffff == HEAD {
            super::class::HEAD
        } else if low == CONNECT {
            super::class::CONNECT
        } else {
            super::class::PLAIN
        }
    }
}

/// One direction of a connection. All zero (but for `response`) is a valid start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stream {
    // What `reset_head` clears comes first, in whole words.
    /// Bytes left of the body or chunk.
    pub remaining: u64,
    /// Body bytes so far, transfer coding removed.
    pub body: u64,
    /// Time of the message's first byte, 0 before it.
    pub first: u64,
    /// `Content-Length`.
    pub length: u64,
    /// Head bytes captured so far; kept for the caller.
    pub captured: u32,
    /// Position in the window of a `Content-Length` value, 0 for none.
    pub length_at: u32,
    /// Status code of a response.
    pub status: u16,
    /// One of [`phase`].
    pub phase: u8,
    /// 1 if the body is chunked.
    pub chunked: u8,
    /// 1 if there is a `Content-Length`.
    pub has_length: u8,
    /// 1 within a line of which the beginning is gone.
    pub long_line: u8,
    /// Bytes in `carry`.
    pub carry_len: u8,
    /// 1 once the message is known to be one, 2 once a record of it was sent; kept for
    /// the caller.
    pub started: u8,
    /// 1 once the head has ended.
    pub head_ended: u8,
    /// 1 if head bytes were left out; kept for the caller.
    pub truncated: u8,
    /// 1 if a record of the message was lost; kept for the caller.
    pub lost: u8,
    /// 1 if this is a response without request; kept for the caller.
    pub orphan: u8,
    /// Zero.
    pub reserved: [u8; 4],
    /// Time of the message's latest byte.
    pub last: u64,
    /// Index of the message.
    pub index: u32,
    /// Position in the window: everything before is scanned.
    pub at: u32,
    /// Position in the window where the current line begins.
    pub line: u32,
    /// 1 for responses, 0 for requests. Set by the caller.
    pub response: u8,
    /// Zero.
    pub reserved2: [u8; 3],
    /// The beginning of an unfinished line.
    pub carry: [u8; CARRY],
}

/// Words at the beginning of a [`Stream`] that belong to one message.
const HEAD_WORDS: usize = core::mem::offset_of!(Stream, last) / 8;

// SAFETY: `repr(C)`, integers only, no padding: size asserted below.
unsafe impl Pod for Stream {}
const _: () = assert!(size_of::<Stream>() == 80 + CARRY);
const _: () = assert!(HEAD_WORDS == 7 && core::mem::offset_of!(Stream, last) % 8 == 0);
const _: () = assert!(core::mem::offset_of!(Stream, carry) % 8 == 0);

/// What one look at a window found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Lines go on behind what was consumed.
    More,
    /// The head ended.
    HeadEnd,
    /// A chunk begins: the phase is [`phase::CHUNK`] or [`phase::TRAILERS`] now.
    Chunk,
    /// The trailers ended, and with them the message.
    TrailersEnd,
    /// This is not HTTP/1, or malformed.
    Bad,
}

/// What follows a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// A body; the phase says of which kind.
    Body,
    /// Nothing: the message is complete.
    Complete,
    /// Nothing of HTTP: the connection changes to another protocol.
    Switched,
    /// The final response: this one was interim (RFC 9110, section 15.2).
    Interim,
}

impl Stream {
    /// The start of a connection in one direction.
    pub const REQUESTS: Self = Self::zeroed();

    const fn zeroed() -> Self {
        Self {
            remaining: 0,
            body: 0,
            first: 0,
            length: 0,
            captured: 0,
            length_at: 0,
            status: 0,
            phase: phase::START,
            chunked: 0,
            has_length: 0,
            long_line: 0,
            carry_len: 0,
            started: 0,
            head_ended: 0,
            truncated: 0,
            lost: 0,
            orphan: 0,
            reserved: [0; 4],
            last: 0,
            index: 0,
            at: 0,
            line: 0,
            response: 0,
            reserved2: [0; 3],
            carry: [0; CARRY],
        }
    }

    /// Prepares for another head: of the next message, or of the final response.
    ///
    /// Volatile: the compiler would make a call of `memset` of it, a loop over bytes in the
    /// kernel programs.
    #[inline(always)]
    pub fn reset_head(&mut self) {
        let words = (&raw mut *self).cast::<u64>();
        let zero = zero();
        let mut i = 0;
        while i < HEAD_WORDS {
            // SAFETY: within `self`, whose first fields fill whole words.
            unsafe { words.add(i).write_volatile(zero) };
            i += 1;
        }
    }

    /// Whether lines are read (and bytes must be looked at), rather than counted.
    #[must_use]
    #[inline(always)]
    pub const fn reads_lines(&self) -> bool {
        self.phase < phase::BODY
    }

    /// Puts the carried bytes at the start of the window; new bytes go behind them.
    /// Returns how many there are (at most [`CARRY`]).
    ///
    /// # Safety
    /// `window` is writable for [`CARRY`] bytes and aligned to 8.
    #[inline(always)]
    pub unsafe fn restore_carry(&self, window: *mut u8) -> usize {
        if self.carry_len == 0 {
            return 0;
        }
        let mut at = 0;
        while at < CARRY {
            // SAFETY: `at + 8 <= CARRY`, promised by the caller for the window; `carry`
            // is aligned because it lies behind multiples of 8 bytes (asserted below).
            unsafe {
                let word = self.carry.as_ptr().cast::<u64>().add(at / 8).read();
                window.cast::<u64>().add(at / 8).write(word);
            }
            at += 8;
        }
        (self.carry_len as usize) & (2 * CARRY - 1)
    }

    /// Looks at `window[..len]`, of which the first `carry_len` bytes were carried.
    /// `at` is then the number of bytes consumed, carried ones included.
    ///
    /// # Safety
    /// `window` is readable for `WINDOW + SLACK` bytes and `len <= WINDOW_MAX`.
    #[inline(always)]
    pub unsafe fn lines(&mut self, window: *const u8, len: usize) -> Event {
        self.at = self.carry_len as u32;
        self.line = 0;
        self.length_at = 0;
        self.carry_len = 0;
        // SAFETY: passed on.
        let found = unsafe { scan(window, len, self) };
        if self.at as usize > len {
            self.at = len as u32;
        }
        if self.length_at != 0 {
            // SAFETY: `length_at` is masked into the window.
            if unsafe { !self.content_length(window) } {
                return Event::Bad;
            }
        }
        match found {
            Scan::Bad => Event::Bad,
            Scan::Blank => {
                if self.phase == phase::TRAILERS {
                    Event::TrailersEnd
                } else {
                    self.head_ended = 1;
                    Event::HeadEnd
                }
            }
            // SAFETY: passed on.
            Scan::ChunkLine => unsafe { self.chunk_line(window) },
            // SAFETY: passed on.
            Scan::More => unsafe { self.keep_line(window) },
        }
    }

    /// Keeps the beginning of the line that the window ends in.
    #[inline(always)]
    unsafe fn keep_line(&mut self, window: *const u8) -> Event {
        let line = (self.line as usize) & (WINDOW - 1);
        let length = (self.at as usize).wrapping_sub(line);
        let (from, kept) = if length <= CARRY && self.long_line == 0 {
            (line, length)
        } else {
            if self.phase == phase::CHUNK_LINE {
                return Event::Bad;
            }
            if self.phase == phase::START && self.long_line == 0 && length > CARRY {
                // A start line too long to be judged by its end: by its beginning then.
                // SAFETY: masked into the window, SLACK covers the loads.
                let (low, high) =
                    unsafe { (load(window, line), load(window, (line + 8) & (WINDOW - 1))) };
                if self.response != 0 {
                    let digit = |shift: u32| ((high >> shift) & 0xff).wrapping_sub(0x30);
                    let (hundreds, tens, ones) = (digit(8), digit(16), digit(24));
                    let like = low & 0x00ff_ffff_ffff_ffff == u64::from_le_bytes(*b"HTTP/1.\0");
                    if !like || hundreds > 9 || tens > 9 || ones > 9 {
                        return Event::Bad;
                    }
                    self.status = (hundreds * 100 + tens * 10 + ones) as u16;
                    self.phase = phase::HEAD;
                } else if likeness::of(low, 8) != likeness::REQUEST {
                    // Judged before by what the first call brought: a byte, perhaps.
                    return Event::Bad;
                }
            }
            self.long_line = 1;
            ((self.at as usize).wrapping_sub(16) & (WINDOW - 1), 16)
        };
        let mut i = 0;
        while i < CARRY {
            // SAFETY: `from < WINDOW` and SLACK >= CARRY bytes follow; `i + 8 <= CARRY`.
            unsafe {
                let word = load(window, from + i);
                self.carry
                    .as_mut_ptr()
                    .add(i)
                    .cast::<u64>()
                    .write_unaligned(word);
            }
            i += 8;
        }
        self.carry_len = kept as u8;
        Event::More
    }

    /// Reads the digits of `Content-Length`. `false` if there are none or too many.
    ///
    /// Where the digits begin goes through memory and the number of digits is the loop's
    /// own counter: otherwise the verifier follows every combination of the two.
    #[inline(always)]
    unsafe fn content_length(&mut self, window: *const u8) -> bool {
        let mut i = 0;
        while i < 4 {
            let at = within(self.length_at as usize);
            // SAFETY: `at < WINDOW`.
            let byte = unsafe { window.add(at).read() };
            if byte != b' ' && byte != b'\t' {
                break;
            }
            // SAFETY: a field of `self`.
            unsafe { (&raw mut self.length_at).write_volatile(at as u32 + 1) };
            i += 1;
        }
        // SAFETY: a field of `self`.
        let from = (unsafe { (&raw const self.length_at).read_volatile() } as usize) & (WINDOW - 1);
        self.length = 0;
        self.has_length = 1;
        let mut digits = 0;
        // 10^18 bytes are more than any body, and 19 digits still fit a `u64`.
        while digits < 20 {
            // SAFETY: `from < WINDOW`, and SLACK covers 20 bytes more.
            let byte = unsafe { window.add(from + digits).read() };
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return digits > 0;
            }
            self.length = self.length.wrapping_mul(10).wrapping_add(digit as u64);
            digits += 1;
        }
        false
    }

    /// Reads a chunk size (RFC 9112, section 7.1). Extensions are passed over.
    #[inline(always)]
    unsafe fn chunk_line(&mut self, window: *const u8) -> Event {
        let from = (self.line as usize) & (WINDOW - 1);
        self.remaining = 0;
        let mut digits = 0;
        while digits < 15 {
            // SAFETY: `from < WINDOW`, and SLACK covers 15 bytes more.
            let byte = unsafe { window.add(from + digits).read() };
            let digit = byte.wrapping_sub(b'0');
            let letter = (byte | 0x20).wrapping_sub(b'a');
            let value = if digit < 10 {
                digit
            } else if letter < 6 {
                letter + 10
            } else {
                break;
            };
            self.remaining = (self.remaining << 4) | value as u64;
            digits += 1;
        }
        if digits == 0 || digits == 15 {
            return Event::Bad;
        }
        // SAFETY: a field of `self`. Volatile: forgets on which way it got its value.
        let size = unsafe { (&raw const self.remaining).read_volatile() };
        if size == 0 {
            self.phase = phase::TRAILERS;
        } else {
            self.remaining = size + 2;
            self.phase = phase::CHUNK;
        }
        Event::Chunk
    }

    /// Reads a chunk size line or the empty line behind the last chunk, if it is plain and
    /// ends in the first `len` (at most 16) bytes of a buffer, given as two words; or a
    /// short beginning of a chunk size line that the buffer ends with. (Node sends digits
    /// and line end in two buffers.) Returns how many bytes it took, and whether the message
    /// is complete with them; 0 if the line needs [`Self::lines`].
    #[inline(always)]
    pub fn short_line(&mut self, low: u64, high: u64, len: u64) -> (u64, bool) {
        const CR_LF: u64 = 0x0a0d;
        let carried = self.carry_len as u64;
        if carried > 7 || self.long_line != 0 {
            return (0, false);
        }
        if self.phase == phase::TRAILERS {
            return if carried == 0 && len >= 2 && low & 0xffff == CR_LF {
                (2, true)
            } else {
                (0, false)
            };
        }
        if self.phase != phase::CHUNK_LINE {
            return (0, false);
        }
        // Behind what was carried over.
        let shift = 8 * carried;
        let kept = self.first_carried() & !(u64::MAX << shift);
        let joined = kept | (low << shift);
        let rest = (high << shift) | ((low >> 1) >> (63 - shift));
        let total = carried + len;
        let Some((size, digits)) = hex_line(joined, rest) else {
            if total > 7 || first_lf(joined) < 8 {
                return (0, false);
            }
            self.carry_first(joined);
            self.carry_len = total as u8;
            return (len, false);
        };
        if digits + 2 > total {
            return (0, false);
        }
        self.carry_len = 0;
        if size == 0 {
            self.phase = phase::TRAILERS;
        } else {
            self.remaining = size + 2;
            self.phase = phase::CHUNK;
        }
        (digits + 2 - carried, false)
    }

    #[inline(always)]
    const fn first_carried(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.carry;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    fn carry_first(&mut self, bytes: u64) {
        // SAFETY: `carry` has eight bytes and more, and lies behind multiples of eight
        // (asserted above).
        unsafe { self.carry.as_mut_ptr().cast::<u64>().write(bytes) };
    }

    /// After [`Event::HeadEnd`]: what follows, given the [`class`] of the request.
    #[inline(always)]
    pub fn settle(&mut self, class: u8) -> Settled {
        if self.response != 0 {
            let status = self.status;
            if status == 101 {
                return Settled::Switched;
            }
            if matches!(status, 100..=199) {
                return Settled::Interim;
            }
            if class == class::CONNECT && matches!(status, 200..=299) {
                return Settled::Switched;
            }
            if class == class::HEAD || status == 204 || status == 304 {
                return Settled::Complete;
            }
        }
        if self.chunked != 0 {
            self.phase = phase::CHUNK_LINE;
            return Settled::Body;
        }
        if self.has_length != 0 {
            self.remaining = self.length;
            self.phase = phase::BODY;
            return if self.length == 0 {
                Settled::Complete
            } else {
                Settled::Body
            };
        }
        if self.response != 0 {
            self.phase = phase::UNTIL_CLOSE;
            return Settled::Body;
        }
        Settled::Complete
    }

    /// Whether the next `available` bytes all belong to the body or chunk.
    #[must_use]
    #[inline(always)]
    pub const fn takes(&self, available: u64) -> bool {
        self.phase == phase::UNTIL_CLOSE || available <= self.remaining
    }

    /// Passes over at most `available` bytes of body. Returns how many, and whether
    /// the message is complete with them.
    #[inline(always)]
    pub fn skip(&mut self, available: u64) -> (u64, bool) {
        if self.phase == phase::UNTIL_CLOSE {
            self.body = self.body.wrapping_add(available);
            return (available, false);
        }
        let before = self.remaining;
        let taken = if available < before {
            available
        } else {
            before
        };
        let after = before - taken;
        self.remaining = after;
        if self.phase == phase::BODY {
            self.body = self.body.wrapping_add(taken);
            return (taken, after == 0);
        }
        let data_before = before.saturating_sub(2);
        let data_after = after.saturating_sub(2);
        self.body = self.body.wrapping_add(data_before - data_after);
        if after == 0 {
            self.phase = phase::CHUNK_LINE;
        }
        (taken, false)
    }
}

/// The value and number of hexadecimal digits before a CR LF, for one to seven digits.
/// Without branches: the verifier would follow each through every small step.
#[inline(always)]
const fn hex_line(low: u64, high: u64) -> Option<(u64, u64)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    // The position of the first CR, as in `scan::first_lf`.
    let x = low ^ (0x0d * ONES);
    let hits = x.wrapping_sub(ONES) & !x & HIGH;
    let lowest = (hits & hits.wrapping_neg()) >> 7;
    let digits = lowest.wrapping_mul(0x0001_0203_0405_0607) >> 56;
    let lf = if digits == 7 {
        high & 0xff
    } else {
        (low >> (8 * ((digits + 1) & 7))) & 0xff
    };
    // The digits, moved up to the last byte, with zeros before them.
    let shift = (8 * (8 - digits)) & 63;
    let text = (low << shift) | ((0x30 * ONES) & !(u64::MAX << shift));
    // At or above a bound, byte by byte; right for bytes below 0x80.
    let lower = text | (0x20 * ONES);
    let digit = (text | HIGH).wrapping_sub(0x30 * ONES) & !(text | HIGH).wrapping_sub(0x3a * ONES);
    let letter =
        (lower | HIGH).wrapping_sub(0x61 * ONES) & !(lower | HIGH).wrapping_sub(0x67 * ONES);
    let good = (digit | letter) & !text & HIGH;
    if hits == 0 || digits == 0 || lf != 0x0a || good != HIGH {
        return None;
    }
    // Letters have bit 6 and are nine more than their low four bits say.
    let nibbles = (text & (0x0f * ONES)) + 9 * ((text >> 6) & ONES);
    let pairs = ((nibbles & 0x00ff_00ff_00ff_00ff) << 4) | ((nibbles >> 8) & 0x00ff_00ff_00ff_00ff);
    let quads = ((pairs & 0x0000_ffff_0000_ffff) << 8) | ((pairs >> 16) & 0x0000_ffff_0000_ffff);
    Some((((quads & 0xffff_ffff) << 16) | (quads >> 32), digits))
}

const _: () = assert!(matches!(
    hex_line(u64::from_le_bytes(*b"1aF\r\nxyz"), 0),
    Some((0x1af, 3))
));
const _: () = assert!(matches!(
    hex_line(u64::from_le_bytes(*b"7654321\r"), 10),
    Some((0x765_4321, 7))
));
const _: () = assert!(hex_line(u64::from_le_bytes(*b"1;F\r\nxyz"), 0).is_none());
const _: () = assert!(hex_line(u64::from_le_bytes(*b"\r\nxyzxyz"), 0).is_none());
const _: () = assert!(hex_line(u64::from_le_bytes(*b"12345678"), 0x0a0d).is_none());

const _: () = assert!(WINDOW.is_power_of_two() && WINDOW_MAX + 8 == WINDOW);
