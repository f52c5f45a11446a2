//! The state of one direction of a connection, and its transitions.

use super::scan::{Scan, header_lines, scan};
use super::start::{begins_response, class, long_start};
use super::words::{load, zero};
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
    /// 1 if the body is chunked, 2 if its transfer coding does not tell where it ends.
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
    /// 1 while the message is a request by the beginning of its first line only, of which
    /// the end was not seen: nothing to be believed yet.
    pub candidate: u8,
    /// 1 if what the head says does not tell how long the body is.
    pub unframed: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Time of the message's latest byte.
    pub last: u64,
    /// Bytes that may follow the message though none should: the body of an answer to `HEAD`.
    pub surplus: u64,
    /// Index of the message.
    pub index: u32,
    /// Position in the window: everything before is scanned.
    pub at: u32,
    /// Position in the window where the current line begins.
    pub line: u32,
    /// 1 for responses, 0 for requests. Set by the caller.
    pub response: u8,
    /// 1 if what was passed over is not known: the next message is known by standing at the
    /// beginning of a call.
    pub astray: u8,
    /// Zero.
    pub reserved2: [u8; 2],
    /// As `length_at`, of the line before that one, 0 for none.
    pub length_before: u32,
    /// Zero.
    pub reserved3: u32,
    /// The beginning of an unfinished line.
    pub carry: [u8; CARRY],
}

/// Words at the beginning of a [`Stream`] that belong to one message.
const HEAD_WORDS: usize = core::mem::offset_of!(Stream, last) / 8;

// SAFETY: `repr(C)`, integers only, no padding: size asserted below.
unsafe impl Pod for Stream {}
const _: () = assert!(size_of::<Stream>() == 96 + CARRY);
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
    /// No message begins here: see [`Stream::stray`].
    Stray,
    /// The message is malformed.
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
    /// Nobody can tell: the message is over as far as it can be followed, and the stream is
    /// astray.
    Unframed,
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
            candidate: 0,
            unframed: 0,
            reserved: [0; 2],
            last: 0,
            surplus: 0,
            index: 0,
            at: 0,
            line: 0,
            response: 0,
            astray: 0,
            reserved2: [0; 2],
            length_before: 0,
            reserved3: 0,
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
        self.length_before = 0;
        self.carry_len = 0;
        if self.response != 0 && self.phase == phase::START {
            // SAFETY: the first bytes of the window.
            let first = unsafe { load(window, 0) };
            if !begins_response(first, len) {
                return Event::Stray;
            }
        }
        // SAFETY: passed on.
        let found = unsafe { scan(window, len, self) };
        if self.at as usize > len {
            self.at = len as u32;
        }
        if self.length_at != 0 {
            // SAFETY: `length_at` is masked into the window.
            unsafe { self.content_length(window) };
        }
        match found {
            Scan::Bad if self.candidate != 0 => Event::Bad,
            Scan::Bad => Event::Stray,
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

    /// As [`Self::lines`], within a head, for a caller that goes on with [`Self::lines`] where it
    /// ends: a window with [`Event::HeadEnd`] is to be looked at again, with the same bytes
    /// carried.
    ///
    /// # Safety
    /// As [`Self::lines`].
    #[inline(always)]
    pub unsafe fn header_lines(&mut self, window: *const u8, len: usize) -> Event {
        self.at = self.carry_len as u32;
        self.line = 0;
        self.length_at = 0;
        self.length_before = 0;
        self.carry_len = 0;
        // SAFETY: passed on.
        unsafe {
            let found = header_lines(window, len, self);
            if self.at as usize > len {
                self.at = len as u32;
            }
            if self.length_at != 0 {
                self.content_length(window);
            }
            if found == Scan::Blank {
                return Event::HeadEnd;
            }
            let line = (self.line as usize) & (WINDOW - 1);
            let length = (self.at as usize).wrapping_sub(line);
            self.carry_line(window, line, length);
        }
        Event::More
    }

    /// Keeps the beginning of the line that the window ends in.
    #[inline(always)]
    unsafe fn keep_line(&mut self, window: *const u8) -> Event {
        let line = (self.line as usize) & (WINDOW - 1);
        let length = (self.at as usize).wrapping_sub(line);
        if self.phase == phase::START && self.astray != 0 && length != 0 {
            // Only a line that is whole tells.
            return Event::Stray;
        }
        if length > CARRY || self.long_line != 0 {
            if self.phase == phase::CHUNK_LINE {
                return Event::Bad;
            }
            if self.phase == phase::START && self.long_line == 0 {
                // A start line too long to be judged by its end: by its beginning for now.
                // SAFETY: passed on.
                if unsafe { !long_start(window, line, self) } {
                    return Event::Stray;
                }
                if self.response != 0 {
                    self.phase = phase::HEAD;
                } else {
                    self.candidate = 1;
                }
            }
        }
        // SAFETY: passed on.
        unsafe { self.carry_line(window, line, length) };
        Event::More
    }

    /// Keeps a line of `length` bytes without end, or the end of it if it is long.
    ///
    /// # Safety
    /// As [`Self::lines`]; the line begins at `line`.
    #[inline(always)]
    unsafe fn carry_line(&mut self, window: *const u8, line: usize, length: usize) {
        let (from, kept) = if length <= CARRY && self.long_line == 0 {
            (line, length)
        } else {
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
                // Some servers send the body all the same.
                self.surplus = self.length;
                return Settled::Complete;
            }
        }
        if self.unframed != 0 || (self.chunked > 1 && self.response == 0) {
            return self.lose_body();
        }
        if self.chunked == 1 {
            self.phase = phase::CHUNK_LINE;
            return Settled::Body;
        }
        if self.has_length != 0 && self.chunked == 0 {
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

    /// The message cannot be followed any further.
    #[inline(always)]
    pub fn lose_body(&mut self) -> Settled {
        self.unframed = 1;
        self.astray = 1;
        Settled::Unframed
    }

    /// After [`Event::Stray`], of which `carried` bytes came in earlier calls: how many of the
    /// next `available` bytes are known to belong to no message; 0 if that is not known of any,
    /// and the next message is to be looked for at the beginning of the next call.
    #[inline(always)]
    pub fn stray(&mut self, carried: u64, available: u64) -> u64 {
        let surplus = self.surplus.saturating_sub(carried);
        let taken = if available < surplus {
            available
        } else {
            surplus
        };
        self.surplus = surplus - taken;
        self.first = 0;
        self.astray = (taken == 0) as u8;
        taken
    }
}

const _: () = assert!(WINDOW.is_power_of_two() && WINDOW_MAX + 8 == WINDOW);
