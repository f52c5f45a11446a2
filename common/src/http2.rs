//! HTTP/2 framing (RFC 9113, section 4): what the kernel programs need to find frames and
//! pass over them. Header blocks are decoded in userspace.

use crate::pod::Pod;

/// Bytes of a frame header.
pub const HEAD: usize = 9;

/// Bytes of the client's connection preface (RFC 9113, section 3.4).
pub const PREFACE: u8 = 24;
/// Its first eight bytes.
pub const PREFACE_START: u64 = u64::from_le_bytes(*b"PRI * HT");

/// Smallest, default and largest capture of a header block, bytes.
pub const BLOCK_BYTES: (u32, u32, u32) = (1024, 4096, 16_384);

/// Frame types (RFC 9113, section 6).
pub mod kind {
    /// Content.
    pub const DATA: u8 = 0;
    /// A header block, or its beginning.
    pub const HEADERS: u8 = 1;
    /// Deprecated.
    pub const PRIORITY: u8 = 2;
    /// Ends a stream.
    pub const RST_STREAM: u8 = 3;
    /// Settings of the sender, or their acknowledgement.
    pub const SETTINGS: u8 = 4;
    /// A request that the server makes up.
    pub const PUSH_PROMISE: u8 = 5;
    /// Asks for a sign of life.
    pub const PING: u8 = 6;
    /// Ends a connection.
    pub const GOAWAY: u8 = 7;
    /// Flow control.
    pub const WINDOW_UPDATE: u8 = 8;
    /// Goes on with a header block.
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub mod flag {
    /// The last frame of its side of the stream.
    pub const END_STREAM: u8 = 1;
    /// An acknowledgement, of SETTINGS and PING.
    pub const ACK: u8 = 1;
    /// The header block ends.
    pub const END_HEADERS: u8 = 4;
    /// Padding, and its length before the content.
    pub const PADDED: u8 = 8;
    /// Five bytes of priority before the header block.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHead {
    /// Payload bytes.
    pub len: u32,
    /// One of [`kind`], or a type that is not known.
    pub kind: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Stream identifier.
    pub stream: u32,
}

impl FrameHead {
    /// Reads the header from its first eight bytes, as a little-endian word, and the ninth.
    #[must_use]
    #[inline(always)]
    pub const fn of(low: u64, ninth: u8) -> Self {
        let len = (low & 0xff) << 16 | (low >> 8 & 0xff) << 8 | (low >> 16 & 0xff);
        let stream = (low >> 40 & 0x7f) << 24 | (low >> 48 & 0xff) << 16 | (low >> 56) << 8;
        Self {
            len: len as u32,
            kind: (low >> 24) as u8,
            flags: (low >> 32) as u8,
            stream: stream as u32 | ninth as u32,
        }
    }

    /// Whether the header keeps to what RFC 9113 says of streams and lengths. Types that are
    /// not known may have any (section 5.5).
    #[must_use]
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        match self.kind {
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                self.stream != 0
            }
            kind::PRIORITY => self.stream != 0 && self.len == 5,
            kind::RST_STREAM => self.stream != 0 && self.len == 4,
            kind::SETTINGS => self.stream == 0 && matches!(self.len.checked_rem(6), Some(0)),
            kind::PING => self.stream == 0 && self.len == 8,
            kind::GOAWAY => self.stream == 0 && self.len >= 8,
            kind::WINDOW_UPDATE => self.len == 4,
            _ => true,
        }
    }

    /// Whether bytes that may be anything look like a frame header: valid, of a known type,
    /// with no other flags than that type has, and no longer than peers accept unasked.
    ///
    /// By a table: what [`Self::is_valid`] says, without a path for each type.
    #[must_use]
    #[inline(always)]
    pub const fn is_likely(self) -> bool {
        let rule = RULES[(self.kind & 15) as usize];
        let longest = if rule.longest == 0 {
            16_384
        } else {
            rule.longest as u32
        };
        self.kind <= kind::CONTINUATION
            && self.flags & !rule.flags == 0
            && self.len >= rule.shortest as u32
            && self.len <= longest
            && (rule.streams & 1 << (self.stream == 0) as u8) != 0
            && (self.kind != kind::SETTINGS || matches!(self.len.checked_rem(6), Some(0)))
    }
}

/// What RFC 9113, section 6, says of a frame type.
#[derive(Clone, Copy)]
struct Rule {
    flags: u8,
    /// Least and most payload bytes; 0 for no less, and for as many as peers accept unasked.
    shortest: u8,
    longest: u8,
    /// Bit 0 if it may be of a stream, bit 1 if it may be of the connection.
    streams: u8,
}

static RULES: [Rule; 16] = {
    const STREAM: u8 = 1;
    const CONNECTION: u8 = 2;
    const fn rule(flags: u8, (shortest, longest): (u8, u8), streams: u8) -> Rule {
        Rule {
            flags,
            shortest,
            longest,
            streams,
        }
    }
    let headers = flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY;
    let mut rules = [rule(0, (0, 0), 0); 16];
    rules[kind::DATA as usize] = rule(flag::END_STREAM | flag::PADDED, (0, 0), STREAM);
    rules[kind::HEADERS as usize] = rule(headers, (0, 0), STREAM);
    rules[kind::PRIORITY as usize] = rule(0, (5, 5), STREAM);
    rules[kind::RST_STREAM as usize] = rule(0, (4, 4), STREAM);
    rules[kind::SETTINGS as usize] = rule(flag::ACK, (0, 0), CONNECTION);
    rules[kind::PUSH_PROMISE as usize] = rule(flag::END_HEADERS | flag::PADDED, (0, 0), STREAM);
    rules[kind::PING as usize] = rule(flag::ACK, (8, 8), CONNECTION);
    rules[kind::GOAWAY as usize] = rule(0, (8, 0), CONNECTION);
    rules[kind::WINDOW_UPDATE as usize] = rule(0, (4, 4), STREAM | CONNECTION);
    rules[kind::CONTINUATION as usize] = rule(flag::END_HEADERS, (0, 0), STREAM);
    rules
};

/// Bytes of a header block that [`sender`] looks at.
pub const BLOCK_START: usize = 8;

/// What is known of a header block's sender after some of its bytes.
mod known {
    /// No field yet.
    pub(super) const NOTHING: u8 = 0;
    /// One field from the dynamic table.
    pub(super) const ONE: u8 = 1;
    /// More of them.
    pub(super) const MORE: u8 = 2;
    /// One of them, then a regular field.
    pub(super) const ONE_ONLY: u8 = 3;
    /// A client sent it.
    pub(super) const REQUEST: u8 = 4;
    /// A server sent it.
    pub(super) const RESPONSE: u8 = 5;
    /// It cannot be said.
    pub(super) const NEITHER: u8 = 6;
    /// Added to the first three while an integer of several bytes goes on.
    pub(super) const WITHIN: u8 = 8;
    /// Added to them where the length of a name is to come,
    pub(super) const NAME: u8 = 12;
    /// its first letter, if it has the length of `:path` or `:authority`,
    pub(super) const PATH: u8 = 16;
    /// its first, second, or third letter, if it has that of `:method`, `:scheme`, `:status`.
    pub(super) const SEVEN: u8 = 20;
    /// See [`SEVEN`].
    pub(super) const SECOND: u8 = 24;
    /// See [`SEVEN`].
    pub(super) const THIRD: u8 = 28;
}

/// The next of [`known`] by the last one and a byte. A table, because the verifier would
/// follow every branch through all that comes behind it.
static NEXT: [[u8; 256]; 32] = {
    let mut next = [[known::NEITHER; 256]; 32];
    let mut state = 0;
    while state < 32 {
        let mut byte = 0;
        while byte < 256 {
            next[state as usize][byte as usize] = after(state, byte as u8);
            byte += 1;
        }
        state += 1;
    }
    next
};

const fn after(state: u8, byte: u8) -> u8 {
    use known::{
        MORE, NAME, NEITHER, NOTHING, ONE, ONE_ONLY, PATH, REQUEST, RESPONSE, SECOND, SEVEN, THIRD,
        WITHIN,
    };
    let base = state & 3;
    // What a regular field means.
    let regular = if base == ONE { ONE_ONLY } else { NEITHER };
    match (state - base, byte) {
        (0, _) if base <= MORE => field(base, byte, regular),
        // The last byte of an integer has the highest bit clear (RFC 7541, section 5.1).
        (WITHIN, 0..=0x7f) => base,
        (NAME, 5 | 10) => PATH + base,
        (NAME, 7) => SEVEN + base,
        (PATH, b':') | (SECOND, b'm') | (THIRD, b'c') => REQUEST,
        (SEVEN, b':') => SECOND + base,
        (SECOND, b's') => THIRD + base,
        (THIRD, b't') if base == NOTHING => RESPONSE,
        (NAME | PATH | SEVEN, _) => regular,
        (SECOND | THIRD, _) => NEITHER,
        _ => state,
    }
}

/// As [`after`], where a field begins.
const fn field(state: u8, byte: u8, regular: u8) -> u8 {
    use known::{MORE, NAME, NEITHER, NOTHING, ONE, REQUEST, RESPONSE, WITHIN};
    let more = if state == NOTHING { ONE } else { MORE };
    match byte {
        // Pseudo-headers of requests in the static table, and literals with their names.
        0x81..=0x87 | 0x41..=0x47 | 0x01..=0x07 | 0x11..=0x17 => REQUEST,
        // `:status`.
        0x88..=0x8e | 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e if state == NOTHING => RESPONSE,
        // Literals with a name of their own: gRPC's core sends pseudo-headers like this to
        // peers without a table.
        0x40 | 0x00 | 0x10 => NAME + state,
        // Changes of the table's size come before all fields (section 4.2).
        0x20..=0x3e if state == NOTHING => NOTHING,
        0x3f if state == NOTHING => NOTHING + WITHIN,
        // Entries of the dynamic table.
        0xbe..=0xfe => more,
        0xff => more + WITHIN,
        // No field, or one that cannot be there.
        0x80 | 0x88..=0x8e | 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e | 0x20..=0x3f => NEITHER,
        _ => regular,
    }
}

/// Whether a client sent the header block that begins with the low `len` bytes of `start`,
/// if that can be said. `ends` if the block ends its side of the stream.
///
/// Pseudo-headers come first (RFC 9113, section 8.3), most of them from the static table
/// (RFC 7541, appendix A). What is in the dynamic table since before is passed over: a request
/// has more such fields, a response has no other than `:status`. Trailers have none, so they
/// decide nothing.
#[must_use]
#[inline(always)]
pub const fn sender(start: u64, len: u32, ends: bool) -> Option<bool> {
    let mut rest = start;
    if len < BLOCK_START as u32 {
        // What is not there is like the index 0, which there is not.
        let there = (1 << (len * 8)) - 1;
        rest = rest & there | 0x8080_8080_8080_8080 & !there;
    }
    let mut state = known::NOTHING;
    let mut at = 0;
    while at < BLOCK_START {
        state = NEXT[(state & 31) as usize][(rest & 0xff) as usize];
        rest >>= 8;
        at += 1;
    }
    match state {
        known::REQUEST => Some(true),
        known::RESPONSE => Some(false),
        known::ONE_ONLY if !ends => Some(false),
        _ => None,
    }
}

/// One direction of an HTTP/2 connection. All zero is a valid start.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Direction {
    /// Payload bytes left of the current frame.
    pub remaining: u32,
    /// Its payload bytes.
    pub len: u32,
    /// Its stream.
    pub stream: u32,
    /// Highest stream identifier that was opened (by the client).
    pub highest: u32,
    /// Number of the next record.
    pub sequence: u32,
    /// Bytes captured of the current header block.
    pub captured: u32,
    /// Bytes left of the current length-prefixed message.
    pub message_left: u32,
    /// Length-prefixed messages begun in the current frame.
    pub messages: u32,
    /// Streams whose message state was put aside, ever: none needs to be looked for at 0.
    pub set_aside: u32,
    /// Type of the current frame.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Bytes of its header that were seen: [`HEAD`] within the payload.
    pub head_len: u8,
    /// Bytes of the preface still to come.
    pub preface: u8,
    /// 1 once an entry of the frame was written.
    pub begun: u8,
    /// 1 if the frame opens a stream.
    pub opens: u8,
    /// Pad length of a DATA frame.
    pub padding: u8,
    /// 1 once the pad length is known, or there is none.
    pub padding_known: u8,
    /// Bytes of a message prefix that were seen.
    pub prefix_len: u8,
    /// 1 if messages of the frame are not counted.
    pub uncounted: u8,
    /// 1 if the connection was joined, and no frame of this direction was found yet.
    pub unsynced: u8,
    /// Zero.
    pub reserved: u8,
    /// The frame header as far as it was seen.
    pub head: [u8; 16],
    /// The message prefix as far as it was seen.
    pub prefix: [u8; 8],
}

// SAFETY: `repr(C)`, integers only, no padding: size asserted below.
unsafe impl Pod for Direction {}
const _: () = assert!(size_of::<Direction>() == 72);
const _: () = assert!(core::mem::offset_of!(Direction, head) % 8 == 0);
const _: () = assert!(core::mem::offset_of!(Direction, prefix) % 8 == 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: [u8; HEAD]) -> FrameHead {
        let mut low = [0; 8];
        low.copy_from_slice(&bytes[..8]);
        FrameHead::of(u64::from_le_bytes(low), bytes[8])
    }

    #[test]
    fn a_frame_header_is_read_in_network_order() {
        let found = head([0x01, 0x02, 0x03, 1, 0x25, 0x8a, 0xbb, 0xcc, 0xdd]);
        assert_eq!(found.len, 0x01_0203);
        assert_eq!((found.kind, found.flags), (kind::HEADERS, 0x25));
        // The reserved bit is not part of the identifier.
        assert_eq!(found.stream, 0x0abb_ccdd);
    }

    #[test]
    fn frames_keep_to_their_streams_and_lengths() {
        assert!(head([0, 0, 4, 8, 0, 0, 0, 0, 0]).is_valid());
        assert!(head([0, 0, 8, 6, 1, 0, 0, 0, 0]).is_likely());
        assert!(!head([0, 0, 7, 6, 1, 0, 0, 0, 0]).is_valid());
        assert!(!head([0, 0, 6, 4, 0, 0, 0, 0, 1]).is_valid());
        assert!(!head([0, 0, 5, 1, 4, 0, 0, 0, 0]).is_valid());
        // An unknown type is passed over, but is no reason to think of HTTP/2.
        assert!(head([0, 0, 5, 0x30, 4, 0, 0, 0, 0]).is_valid());
        assert!(!head([0, 0, 5, 0x30, 4, 0, 0, 0, 0]).is_likely());
        for text in [*b"GET / HTT", *b"HTTP/1.1 ", *b"*3\r\n$3\r\nS"] {
            assert!(!head(text).is_likely());
        }
    }

    #[test]
    fn likely_headers_are_valid_ones_of_known_types() {
        for kind in 0..=255u8 {
            for len in (0..40).chain([16_383, 16_384, 16_385, 1 << 23]) {
                for stream in [0, 1, 2, 1 << 30] {
                    let head = |flags| FrameHead {
                        len,
                        kind,
                        flags,
                        stream,
                    };
                    let known = kind <= kind::CONTINUATION && len <= 16_384;
                    let plain = head(0);
                    assert_eq!(plain.is_likely(), plain.is_valid() && known, "{plain:?}");
                    assert!(!head(0x40).is_likely());
                }
            }
        }
    }

    #[test]
    fn header_blocks_tell_who_sent_them() {
        let of = |block: &[u8], ends| {
            let mut start = [0; BLOCK_START];
            let len = block.len().min(BLOCK_START);
            start[..len].copy_from_slice(&block[..len]);
            sender(u64::from_le_bytes(start), len as u32, ends)
        };
        assert_eq!(of(&[0x82], false), Some(true));
        assert_eq!(of(&[0x88], true), Some(false));
        // Behind changes of the table's size: to 0, to 4096.
        assert_eq!(of(&[0x20, 0x3f, 0xe1, 0x1f, 0x83], false), Some(true));
        // `:authority` and `:path` from the dynamic table, then `:method: POST`.
        assert_eq!(of(&[0xc3, 0xff, 0x81, 0x01, 0x83, 0x86], true), Some(true));
        // `:status` from there, then `content-type`.
        assert_eq!(of(&[0xbe, 0x5f, 0x1d], false), Some(false));
        // Trailers: `grpc-status` from there, then a new name.
        assert_eq!(of(&[0xbe, 0x40, 0x05], true), None);
        assert_eq!(of(b"\xbe\x40\x0cgrpc-", true), None);
        assert_eq!(of(b"\xbe\x40\x0cgrpc-", false), Some(false));
        // Pseudo-headers with names of their own.
        assert_eq!(of(b"\x40\x05:path", false), Some(true));
        assert_eq!(of(b"\x20\x3f\xe1\x1f\x00\x0a:", false), Some(true));
        assert_eq!(of(b"\x10\x07:scheme", false), Some(true));
        assert_eq!(of(b"\xbe\x10\x07:method", false), Some(true));
        assert_eq!(of(b"\x40\x07:status", false), Some(false));
        for undecided in [
            &[0xbe][..],
            &[0xbe, 0xbf, 0x5f],
            &[0x80],
            &[0x5f],
            &[0xbe, 0x88],
            &[],
            b"\x40",
            b"\x40\x07:s",
            b"\xbe\x40\x07:status",
            b"\x40\x07server",
            b"\x40\x05range",
        ] {
            assert_eq!(of(undecided, false), None, "{undecided:x?}");
        }
    }
}
