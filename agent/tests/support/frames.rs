//! Hand-made HTTP/2 records, as the kernel programs would write them: beside `stream.rs`.
#![allow(
    dead_code,
    reason = "each user of this module needs another part of it"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "shared by crates of different roots, tests only"
)]

use remora_common::pod::Pod;
use remora_common::record::{
    Close, Conn, Frame, Frames, Header, Kind, conn_flags, family, frame_part, side,
};

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WHOLE: u8 = frame_part::FIRST | frame_part::LAST;
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const PUSH_PROMISE: u8 = 5;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const CALL: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.v1.Orders/Get"),
    (":authority", "orders:50051"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("user-agent", "grpc-go/1.60.0"),
];
pub const ANSWER: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/grpc")];
pub const TRAILERS: &[(&str, &str)] = &[("grpc-status", "0"), ("grpc-message", "")];
pub const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/users/7?fields=name"),
    (":authority", "api.example:8080"),
    ("user-agent", "curl/7.88.1"),
];
pub const OK: &[(&str, &str)] = &[(":status", "200"), ("content-type", "text/plain")];

/// A header block of literals whose first byte is `first`: 0 for those without indexing,
/// 0x40 for those that are inserted.
pub fn literals(first: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(first);
        for text in [name, value] {
            let mut len = text.len();
            if len < 127 {
                block.push(len as u8);
            } else {
                block.push(127);
                len -= 127;
                while len >= 128 {
                    block.push(len as u8 | 0x80);
                    len >>= 7;
                }
                block.push(len as u8);
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// One entry in the making.
#[derive(Clone, Debug)]
pub struct Entry {
    pub frame: Frame,
    pub payload: Vec<u8>,
}

impl Entry {
    fn new(kind: u8, stream: u32, flags: u8, payload: &[u8]) -> Self {
        let frame = Frame {
            stream,
            len: payload.len() as u32,
            kind,
            flags,
            part: WHOLE,
            padding: 0,
            captured: payload.len() as u16,
            messages: 0,
        };
        let payload = payload.to_vec();
        Self { frame, payload }
    }

    /// HEADERS of one frame, nothing inserted.
    pub fn headers(stream: u32, fields: &[(&str, &str)]) -> Self {
        Self::block(stream, &literals(0, fields))
    }

    /// HEADERS of one frame.
    pub fn block(stream: u32, block: &[u8]) -> Self {
        Self::new(HEADERS, stream, END_HEADERS, block)
    }

    pub fn continuation(stream: u32, flags: u8, fragment: &[u8]) -> Self {
        Self::new(CONTINUATION, stream, flags, fragment)
    }

    /// DATA, of which only the size is known.
    pub fn data(stream: u32, len: u32, messages: u16) -> Self {
        let mut entry = Self::new(DATA, stream, 0, b"");
        (entry.frame.len, entry.frame.messages) = (len, messages);
        entry
    }

    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, stream, 0, &code.to_be_bytes())
    }

    pub fn goaway(last: u32, code: u32) -> Self {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        Self::new(GOAWAY, 0, 0, &payload)
    }

    pub fn promise(stream: u32, promised: u32, fields: &[(&str, &str)]) -> Self {
        let payload = [&promised.to_be_bytes()[..], &literals(0x40, fields)].concat();
        Self::new(PUSH_PROMISE, stream, END_HEADERS, &payload)
    }

    /// It opens its stream.
    pub fn opens(mut self) -> Self {
        self.frame.part |= frame_part::OPENS;
        self
    }

    /// It ends its direction of the stream.
    pub fn ends(mut self) -> Self {
        self.frame.flags |= END_STREAM;
        self
    }

    pub fn part(mut self, part: u8) -> Self {
        self.frame.part = part;
        self
    }

    pub fn flags(mut self, flags: u8) -> Self {
        self.frame.flags = flags;
        self
    }

    /// The frame in two entries, cut at `at` of its payload.
    pub fn split(&self, at: usize) -> [Self; 2] {
        let (one, two) = self.payload.split_at(at);
        let piece = |payload: &[u8], without: u8| {
            let mut piece = self.clone();
            piece.payload = payload.to_vec();
            piece.frame.captured = payload.len() as u16;
            piece.frame.len = payload.len() as u32;
            piece.frame.part &= !without;
            piece
        };
        let opens = frame_part::OPENS;
        [
            piece(one, frame_part::LAST),
            piece(two, frame_part::FIRST | opens),
        ]
    }
}

/// The records of one connection, numbered.
#[derive(Clone, Debug)]
pub struct Wire {
    pub conn: u64,
    pub next: [u32; 2],
}

impl Wire {
    pub fn new(conn: u64) -> Self {
        let next = [0; 2];
        Self { conn, next }
    }

    /// The announcement of the connection.
    pub fn conn(&self, role: u8, joined: bool) -> Vec<u8> {
        let mut local_addr = [0; 16];
        local_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
        let record = Conn {
            header: Header::new(Kind::CONN, size_of::<Conn>() as u32),
            conn: self.conn,
            time: 900,
            tgid: 42,
            tid: 43,
            netns: 4_026_531_840,
            family: family::INET,
            local_port: 50_051,
            remote_port: 51_324,
            role,
            flags: conn_flags::HTTP2 | (u8::from(joined) * conn_flags::JOINED),
            reserved: 0,
            local_addr,
            remote_addr: local_addr,
        };
        record.as_bytes().to_vec()
    }

    /// A record of the client's frames, at this time.
    pub fn client(&mut self, time: u64, entries: &[Entry]) -> Vec<u8> {
        self.record(side::REQUEST, time, entries)
    }

    /// A record of the server's frames, at this time.
    pub fn server(&mut self, time: u64, entries: &[Entry]) -> Vec<u8> {
        self.record(side::RESPONSE, time, entries)
    }

    /// A record for which the ring had no room.
    pub fn lost(&mut self, side: u8) {
        self.next[usize::from(side)] += 1;
    }

    /// The end of the connection, at this time.
    pub fn close(&self, time: u64, reason: u8) -> Vec<u8> {
        let [request_body, response_body] = self.next.map(u64::from);
        let record = Close {
            header: Header::new(Kind::CLOSE, size_of::<Close>() as u32),
            conn: self.conn,
            time,
            request_body,
            response_body,
            response_last: 0,
            lost: 0,
            request_index: 0,
            response_index: 0,
            errno: 0,
            reason,
            request_open: 0,
            response_open: 0,
            reserved: 0,
        };
        record.as_bytes().to_vec()
    }

    pub fn record(&mut self, side: u8, time: u64, entries: &[Entry]) -> Vec<u8> {
        let mut body = Vec::new();
        for Entry { frame, payload } in entries {
            body.extend_from_slice(frame.as_bytes());
            body.extend_from_slice(payload);
            body.resize(body.len().next_multiple_of(8), 0xaa);
        }
        let mut sequence = 0;
        if let Some(next) = self.next.get_mut(usize::from(side)) {
            sequence = *next;
            *next += 1;
        }
        let frames = Frames {
            header: Header::new(Kind::FRAMES, (size_of::<Frames>() + body.len()) as u32),
            conn: self.conn,
            first: time,
            last: time,
            tgid: 42,
            tid: 43,
            sequence,
            side,
            reserved: [0; 3],
        };
        [frames.as_bytes(), &body].concat()
    }
}

/// Unary calls on warm connections, as a gRPC client and server make them: one record for
/// the request, one for the whole response. Connections are opened first and not closed.
pub fn unary_calls(conns: u64, per_conn: u32) -> Vec<Vec<u8>> {
    let mut wires: Vec<_> = (0..conns).map(Wire::new).collect();
    let mut records: Vec<_> = wires
        .iter()
        .map(|wire| wire.conn((wire.conn % 2 + 1) as u8, false))
        .collect();
    // The newest insertion has index 62: what the first call inserted last.
    let indexed = |count: u8| (0..count).rev().map(|age| 0xbe + age).collect::<Vec<_>>();
    for number in 0..per_conn {
        for wire in &mut wires {
            let (stream, at) = (2 * number + 1, 1_000 * u64::from(number) + 1_000);
            let [call, answer, trailers] = if number == 0 {
                [CALL, ANSWER, TRAILERS].map(|fields| literals(0x40, fields))
            } else {
                // The server's table holds answer and trailers.
                [indexed(7), vec![0xc1, 0xc0], vec![0xbf, 0xbe]]
            };
            let request = [
                Entry::block(stream, &call).opens(),
                Entry::data(stream, 25, 1).ends(),
            ];
            records.push(wire.client(at, &request));
            let response = [
                Entry::block(stream, &answer),
                Entry::data(stream, 105, 1),
                Entry::block(stream, &trailers).ends(),
            ];
            records.push(wire.server(at + 500, &response));
        }
    }
    records
}
