//! HTTP/2 frames (RFC 9113) and header blocks (RFC 7541), put together byte by byte: for
//! what no library sends.

use super::raw::Raw;

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Frame flags.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
    /// Both ends of a message in one HEADERS frame.
    pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(kind, flags, stream, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The nine bytes in front of a payload of this length.
pub(crate) fn frame_head(kind: u8, flags: u8, stream: u32, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap().to_be_bytes();
    let mut head = vec![len[1], len[2], len[3], kind, flags];
    head.extend_from_slice(&stream.to_be_bytes());
    head
}

/// An empty SETTINGS frame.
pub(crate) fn settings() -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[])
}

/// RST_STREAM.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// GOAWAY.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(
        kind::GOAWAY,
        0,
        0,
        &[last.to_be_bytes(), code.to_be_bytes()].concat(),
    )
}

/// What a client sends before its first request.
pub(crate) fn opening() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

/// A whole GET without body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, &Block::get(path).0)
}

/// A whole response with status 200 in two frames.
pub(crate) fn ok(stream: u32, body: &[u8]) -> Vec<u8> {
    let head = frame(
        kind::HEADERS,
        flag::END_HEADERS,
        stream,
        &Block::default().index(8).0,
    );
    [head, frame(kind::DATA, flag::END_STREAM, stream, body)].concat()
}

/// Receives a frame: its kind, flags, stream and payload.
pub(crate) fn receive(peer: &mut Raw) -> (u8, u8, u32, Vec<u8>) {
    let head = peer.take(9);
    let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let payload = peer.take(usize::try_from(len).unwrap());
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    (head[3], head[4], stream, payload)
}

/// Receives frames up to one that ends a stream; returns the stream.
pub(crate) fn await_end(peer: &mut Raw) -> u32 {
    loop {
        let (kind, flags, stream, _) = receive(peer);
        let ends = match kind {
            kind::DATA | kind::HEADERS => flags & flag::END_STREAM != 0,
            kind::RST_STREAM => true,
            _ => false,
        };
        if ends {
            return stream;
        }
    }
}

/// A header block. Names and values are sent as they are, without Huffman's code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Block(pub(crate) Vec<u8>);

impl Block {
    /// The fields of a request with a path that does not enter the table.
    pub(crate) fn request(method: &str, path: &str) -> Self {
        Self::default()
            .field_of(2, method)
            .index(6)
            .field_of(4, path)
            .field_of(1, "test")
    }

    /// The fields of a GET.
    pub(crate) fn get(path: &str) -> Self {
        Self::request("GET", path)
    }

    /// The field at an index of the tables.
    pub(crate) fn index(mut self, index: usize) -> Self {
        self.integer(0x80, 7, index);
        self
    }

    /// A field that does not enter the table.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.0.push(0);
        self.text(name);
        self.text(value);
        self
    }

    /// As [`Block::field`], with the name at an index.
    pub(crate) fn field_of(mut self, name: usize, value: &str) -> Self {
        self.integer(0, 4, name);
        self.text(value);
        self
    }

    /// A field that enters the table.
    pub(crate) fn insert(mut self, name: &str, value: &str) -> Self {
        self.0.push(0x40);
        self.text(name);
        self.text(value);
        self
    }

    /// As [`Block::insert`], with the name at an index.
    pub(crate) fn insert_of(mut self, name: usize, value: &str) -> Self {
        self.integer(0x40, 6, name);
        self.text(value);
        self
    }

    /// A change of the table's size.
    pub(crate) fn size(mut self, size: usize) -> Self {
        self.integer(0x20, 5, size);
        self
    }

    fn text(&mut self, text: &str) {
        self.integer(0, 7, text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    /// An integer in the low `bits` of the first byte and as many more as it takes.
    fn integer(&mut self, first: u8, bits: u32, value: usize) {
        let most = (1 << bits) - 1;
        let low = |value: usize| u8::try_from(value).unwrap();
        if value < most {
            self.0.push(first | low(value));
            return;
        }
        self.0.push(first | low(most));
        let mut rest = value - most;
        while rest >= 128 {
            self.0.push(low((rest % 128) | 128));
            rest /= 128;
        }
        self.0.push(low(rest));
    }
}
