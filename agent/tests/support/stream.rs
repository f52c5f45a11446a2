//! Hand-made record streams, as the kernel programs would write them: for unit
//! tests, integration tests, benches and fuzz targets alike.
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
    Close, Conn, Header, Kind, Message, Process, ProcessExit, conn_flags, family, message_flags,
    role, side,
};

pub const WHOLE: u16 = message_flags::START | message_flags::HEAD_END | message_flags::END;
pub const START: u16 = message_flags::START;
pub const HEAD_END: u16 = message_flags::HEAD_END;
pub const END: u16 = message_flags::END;

/// One MESSAGE record in the making.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    pub side: u8,
    pub head: &'a [u8],
    pub flags: u16,
    pub first: u64,
    pub last: u64,
    pub body: u64,
    pub tgid: u32,
    pub tid: u32,
    pub skip: u8,
}

impl<'a> Part<'a> {
    pub fn request(head: &'a [u8]) -> Self {
        Self {
            side: side::REQUEST,
            head,
            flags: WHOLE,
            first: 1_000,
            last: 1_100,
            body: 0,
            tgid: 42,
            tid: 43,
            skip: 0,
        }
    }

    pub fn response(head: &'a [u8]) -> Self {
        Self {
            side: side::RESPONSE,
            first: 5_000,
            last: 9_000,
            ..Self::request(head)
        }
    }

    pub fn flags(self, flags: u16) -> Self {
        Self { flags, ..self }
    }

    pub fn at(self, first: u64, last: u64) -> Self {
        Self {
            first,
            last,
            ..self
        }
    }

    pub fn body(self, body: u64) -> Self {
        Self { body, ..self }
    }

    pub fn by(self, tgid: u32, tid: u32) -> Self {
        Self { tgid, tid, ..self }
    }

    pub fn skip(self, skip: u8) -> Self {
        Self { skip, ..self }
    }
}

pub fn message(conn: u64, index: u32, part: Part<'_>) -> Vec<u8> {
    let len = size_of::<Message>() + part.head.len();
    let message = Message {
        header: Header::new(Kind::MESSAGE, len as u32),
        conn,
        first: part.first,
        last: part.last,
        body_bytes: part.body,
        tgid: part.tgid,
        tid: part.tid,
        index,
        flags: part.flags,
        side: part.side,
        skip: part.skip,
    };
    [message.as_bytes(), part.head].concat()
}

pub fn conn_record(conn: u64, role: u8) -> Conn {
    let mut local_addr = [0; 16];
    local_addr[..4].copy_from_slice(&[127, 0, 0, 1]);
    Conn {
        header: Header::new(Kind::CONN, size_of::<Conn>() as u32),
        conn,
        time: 900,
        tgid: 42,
        tid: 43,
        netns: 4_026_531_840,
        family: family::INET,
        local_port: 8080,
        remote_port: 51_324,
        role,
        flags: conn_flags::JOINED,
        reserved: 0,
        local_addr,
        remote_addr: local_addr,
    }
}

pub fn server(conn: u64) -> Vec<u8> {
    conn_record(conn, role::SERVER).as_bytes().to_vec()
}

pub fn client(conn: u64) -> Vec<u8> {
    conn_record(conn, role::CLIENT).as_bytes().to_vec()
}

pub fn unix(conn: u64, role: u8, path: &[u8]) -> Vec<u8> {
    let mut record = conn_record(conn, role);
    record.family = family::UNIX;
    with_len(&[record.as_bytes(), path].concat())
}

pub fn close_record(conn: u64, request_index: u32, response_index: u32) -> Close {
    Close {
        header: Header::new(Kind::CLOSE, size_of::<Close>() as u32),
        conn,
        time: 20_000,
        request_body: 0,
        response_body: 0,
        response_last: 0,
        lost: 0,
        request_index,
        response_index,
        errno: 0,
        reason: remora_common::record::close_reason::LOCAL,
        request_open: 0,
        response_open: 0,
        reserved: 0,
    }
}

pub fn close(conn: u64, request_index: u32, response_index: u32) -> Vec<u8> {
    close_record(conn, request_index, response_index)
        .as_bytes()
        .to_vec()
}

pub fn process(tgid: u32, comm: &str) -> Vec<u8> {
    let mut name = [0; 16];
    name[..comm.len()].copy_from_slice(comm.as_bytes());
    let record = Process {
        header: Header::new(Kind::PROCESS, size_of::<Process>() as u32),
        time: 800,
        cgroup: 1,
        tgid,
        reserved: 0,
        comm: name,
    };
    record.as_bytes().to_vec()
}

pub fn process_exit(tgid: u32, exec: bool) -> Vec<u8> {
    let record = ProcessExit {
        header: Header::new(Kind::PROCESS_EXIT, size_of::<ProcessExit>() as u32),
        time: 30_000,
        tgid,
        exec: u32::from(exec),
    };
    record.as_bytes().to_vec()
}

/// `bytes` with the length in the header made to agree.
pub fn with_len(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_ne_bytes());
    bytes
}

/// A request as curl would send it.
pub const GET: &[u8] =
    b"GET /users/7?fields=name HTTP/1.1\r\nHost: api.example:8080\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
/// Its response.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\n";

/// A keep-alive stream: `conns` connections, `per_conn` exchanges each, one record a
/// message, opened first and closed at the end, the messages interleaved over the
/// connections.
pub fn keep_alive(conns: u64, per_conn: u32) -> Vec<Vec<u8>> {
    let mut records = vec![process(42, "nginx")];
    records.extend((0..conns).map(|conn| {
        if conn % 2 == 0 {
            server(conn)
        } else {
            client(conn)
        }
    }));
    for index in 0..per_conn {
        for conn in 0..conns {
            let at = 1_000 * u64::from(index) + conn;
            records.push(message(conn, index, Part::request(GET).at(at, at)));
            records.push(message(
                conn,
                index,
                Part::response(OK).at(at + 300, at + 500).body(12),
            ));
        }
    }
    records.extend((0..conns).map(|conn| close(conn, per_conn, per_conn)));
    records
}
