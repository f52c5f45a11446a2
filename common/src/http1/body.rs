//! How long a body is, and the way through it: `Content-Length`, chunk sizes.

use super::words::{HIGH, ONES, first_lf, load, lowest, within};
use super::{Event, Stream, WINDOW, phase};

impl Stream {
    /// Reads the digits of `Content-Length`. If there are none, too many, others than those of
    /// an earlier line, or if more follows them, the message is unframed.
    ///
    /// Where the digits begin goes through memory and the number of digits is the loop's
    /// own counter: otherwise the verifier follows every combination of the two.
    #[inline(always)]
    pub(super) unsafe fn content_length(&mut self, window: *const u8) {
        let first = within(self.length_before as usize);
        if first != 0 {
            // SAFETY: both are positions in the window.
            let (known, value) =
                unsafe { (load(window, first), load(window, self.length_at as usize)) };
            // As far as the line goes, of what can be seen of it.
            let end = first_lf(known);
            let last = if end < 7 { end } else { 7 };
            if (known ^ value) & (u64::MAX >> (8 * (7 - last))) != 0 {
                self.unframed = 1;
            }
        }
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
        // Only what an earlier line said, if there was one.
        let before = if self.has_length != 0 {
            self.length
        } else {
            u64::MAX
        };
        // SAFETY: a field of `self`.
        unsafe { (&raw mut self.remaining).write_volatile(before) };
        self.length = 0;
        self.has_length = 1;
        let mut digits = 0;
        let mut bad = true;
        // 10^18 bytes are more than any body, and 19 digits still fit a `u64`.
        while digits < 20 {
            // SAFETY: `from < WINDOW`, and SLACK covers 20 bytes more.
            let byte = unsafe { window.add(from + digits).read() };
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                let ends = byte == b'\r' || byte == b'\n' || byte == b' ' || byte == b'\t';
                bad = digits == 0 || !ends;
                break;
            }
            self.length = self.length.wrapping_mul(10).wrapping_add(digit as u64);
            digits += 1;
        }
        // SAFETY: a field of `self`.
        let before = unsafe { (&raw const self.remaining).read_volatile() };
        self.remaining = 0;
        if bad || (before != u64::MAX && before != self.length) {
            self.unframed = 1;
        }
    }

    /// Reads a chunk size (RFC 9112, section 7.1). Extensions are passed over.
    #[inline(always)]
    pub(super) unsafe fn chunk_line(&mut self, window: *const u8) -> Event {
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
    // The position of the first CR, as in `first_lf`.
    let x = low ^ (0x0d * ONES);
    let hits = x.wrapping_sub(ONES) & !x & HIGH;
    let digits = lowest(hits);
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
