//! HTTP/2 frames (RFC 9113), as the kernel programs hand them on: framed already, with
//! the payloads of those that mean something.

mod block;

pub use block::{Assembler, HeaderBlock, Pushed};

/// Frame types (section 6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PUSH_PROMISE.
    pub const PUSH_PROMISE: u8 = 5;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// Frame flags (section 6).
pub mod flag {
    /// The last frame of this direction of the stream.
    pub const END_STREAM: u8 = 1;
    /// The last frame of a header block.
    pub const END_HEADERS: u8 = 1 << 2;
    /// The payload begins with a pad length.
    pub const PADDED: u8 = 1 << 3;
    /// HEADERS carry a priority.
    pub const PRIORITY: u8 = 1 << 5;
}

/// `NO_ERROR`.
pub const NO_ERROR: u32 = 0;
/// `CANCEL`.
pub const CANCEL: u32 = 8;

/// Names of the error codes (section 7), by number.
const ERROR_NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// The name of an error code. Codes that nobody defined are to be treated as
/// `INTERNAL_ERROR` (section 7).
#[must_use]
pub fn error_name(code: u32) -> &'static str {
    let known = usize::try_from(code)
        .ok()
        .and_then(|at| ERROR_NAMES.get(at));
    known.copied().unwrap_or("INTERNAL_ERROR")
}

/// What a GOAWAY frame says (section 6.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoAway {
    /// Streams above this one were not and will not be processed.
    pub last: u32,
    /// Why.
    pub code: u32,
}

impl GoAway {
    /// Reads the start of a payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (last, rest) = payload.split_first_chunk()?;
        Some(Self {
            last: u32::from_be_bytes(*last) & 0x7fff_ffff,
            code: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// The start of a small frame's payload that may come in pieces.
#[derive(Clone, Copy, Default, Debug)]
pub struct Small {
    bytes: [u8; 8],
    len: u8,
}

impl Small {
    /// Takes in a piece; `first` if it begins the frame.
    pub fn push(&mut self, first: bool, piece: &[u8]) {
        if first {
            self.len = 0;
        }
        let have = usize::from(self.len);
        let take = piece.len().min(self.bytes.len() - have);
        self.bytes[have..have + take].copy_from_slice(&piece[..take]);
        self.len += take as u8;
    }

    /// What was taken in since the frame began.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The error code of a RST_STREAM frame (section 6.4).
    #[must_use]
    pub fn reset_code(&self) -> Option<u32> {
        self.bytes()
            .first_chunk()
            .map(|code| u32::from_be_bytes(*code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_come_in_pieces() {
        let payload = [0x80, 0, 0, 7, 0, 0, 0, 11, b'x', b'y'];
        for cut in 0..payload.len() {
            let mut small = Small::default();
            small.push(true, b"rest of another");
            small.push(true, &payload[..cut]);
            small.push(false, &payload[cut..]);
            let expected = GoAway { last: 7, code: 11 };
            assert_eq!(GoAway::parse(small.bytes()), Some(expected));
            assert_eq!(small.reset_code(), Some(0x8000_0007));
        }
        assert_eq!(GoAway::parse(&payload[..7]), None);
    }

    #[test]
    fn error_codes() {
        assert_eq!(error_name(NO_ERROR), "NO_ERROR");
        assert_eq!(error_name(CANCEL), "CANCEL");
        assert_eq!(error_name(13), "HTTP_1_1_REQUIRED");
        assert_eq!(error_name(14), "INTERNAL_ERROR");
        assert_eq!(error_name(u32::MAX), "INTERNAL_ERROR");
    }
}
