//! What the kernel programs remember: per connection, per thread, per other socket.

use remora_common::http1::{SLACK, Stream, WINDOW};
use remora_common::http2::Direction;
use remora_common::record::{CONN_STATE_BYTES, Message};

/// A connection that carries HTTP/1, keyed by the address of its socket.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Conn {
    /// Identity in records.
    pub id: u64,
    /// Inode number of the socket's file: tells Unix sockets apart that follow each
    /// other at one address. TCP sockets have their state tracepoint for that.
    pub ino: u64,
    /// When the connection was first seen, ns.
    pub time: u64,
    /// When a reset arrived, ns, 0 if none did.
    pub reset_time: u64,
    /// Requests with method HEAD: bit `index % 64`.
    pub head_requests: u64,
    /// Requests with method CONNECT: bit `index % 64`.
    pub connect_requests: u64,
    /// Requests in flight of which a record was lost: bit `index % 64`.
    pub lost: u64,
    /// Process whose [`remora_common::record::Process`] was sent last from here.
    pub tgid: u32,
    /// One more than the index of the request that is being sent right now.
    pub sending: u32,
    /// `sk_err` when the reset arrived.
    pub errno: u32,
    /// Address family.
    pub family: u16,
    /// [`remora_common::record::role`].
    pub role: u8,
    /// 1 once the connection record was sent.
    pub announced: u8,
    /// [`remora_common::record::conn_flags`].
    pub flags: u8,
    /// [`HTTP1`], [`HTTP2`], [`UPGRADED`] or [`PROXIED`].
    pub protocol: u8,
    pub reserved: [u8; 2],
    /// Thread that was noted to serve the request in flight, 0 for none.
    pub server_tid: u32,
    pub request: Stream,
    pub response: Stream,
    /// Of an HTTP/2 connection: what the client sends, and what the server sends.
    pub frames: [Direction; 2],
}

const _: () = assert!(core::mem::offset_of!(Conn, id) == 0);
const _: () = assert!(size_of::<Conn>() == CONN_STATE_BYTES);

const _: () =
    assert!(core::mem::offset_of!(Task, piece_len) == core::mem::offset_of!(Task, piece) + 8);

/// [`Conn::protocol`].
pub const HTTP1: u8 = 0;
/// See [`HTTP1`].
pub const HTTP2: u8 = 2;
/// After a 101 response: HTTP/2 (`Upgrade: h2c`), or something else.
pub const UPGRADED: u8 = 3;
/// Begins with a header of the PROXY protocol; what follows tells.
pub const PROXIED: u8 = 4;

const _: () = assert!(
    core::mem::offset_of!(Conn, response)
        == core::mem::offset_of!(Conn, request) + size_of::<Stream>()
);

impl Conn {
    /// Requests begun so far.
    #[inline(always)]
    pub fn begun(&self) -> u32 {
        let under_way = self.request.started != 0 && self.request.candidate == 0;
        self.request.index + under_way as u32
    }

    /// Whether nothing was seen of which it is sure that it is HTTP/1.
    #[inline(always)]
    pub fn is_guess(&self) -> bool {
        self.begun() | self.response.index | self.response.started as u32 == 0
    }
}

/// A socket that does not carry HTTP/1, as far as was seen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Other {
    /// As [`Conn::ino`].
    pub ino: u64,
    /// Looks that found no HTTP; [`NEVER`] to look no more.
    pub looks: u32,
    /// Direction of the call that was looked at last.
    pub direction: u32,
}

/// Give a socket up for good.
pub const NEVER: u32 = u32::MAX;
/// Looks at a socket, each after a change of direction, before it is given up. One
/// would do for sockets seen from their beginning; an agent that comes in the middle
/// of a transfer needs a few.
pub const LOOKS: u32 = 16;

/// Where a stream's length-prefixed messages are, between two of its DATA frames.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageState {
    /// Bytes left of the current message.
    pub left: u32,
    /// Bytes in `prefix`.
    pub prefix_len: u8,
    /// 1 if messages of this stream are not counted any more.
    pub uncounted: u8,
    pub reserved: u16,
    /// The prefix of the next message as far as it was seen.
    pub prefix: [u8; 8],
}

/// Key of a [`MessageState`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MessageKey {
    pub conn: u64,
    pub stream: u32,
    /// [`remora_common::record::side`].
    pub side: u32,
}

/// Bytes to or from user memory.
pub const SEND: u8 = 0;
/// See [`SEND`].
pub const RECEIVE: u8 = 1;

/// A send between its entry and its return.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Send {
    /// The connection's socket; 0 if the bytes could not be read when the call entered.
    pub sk: u64,
    /// Arguments of the call, to recognise its return.
    pub fd: u64,
    pub buffer: u64,
    /// When it entered, ns.
    pub first: u64,
    /// Thread that the slot belongs to, 0 for none.
    pub tid: u32,
    /// 1 until it returned.
    pub sending: u8,
    /// 1 if it cannot block.
    pub nonblocking: u8,
    /// 1 once a second thread had to do without the slot.
    pub shared: u8,
    pub reserved: u8,
}

/// A call that is being accounted. The staged record and its bytes lie behind each other
/// so that they go to the ring as one piece.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Task {
    pub message: Message,
    pub window: [u8; WINDOW + SLACK],
    /// The connection of the call, 0 for none.
    pub sk: u64,
    /// Next `struct iovec`.
    pub iov: u64,
    /// Current piece of user memory; 0 for bytes that cannot be seen (sendfile, splice).
    pub piece: u64,
    /// Behind it, as in a `struct iovec`.
    pub piece_len: u64,
    /// Bytes of the call not looked at yet.
    pub left: u64,
    /// Next `struct mmsghdr`.
    pub batch: u64,
    /// Time of the call's first byte, ns.
    pub first: u64,
    /// Time of the call's last byte, ns.
    pub last: u64,
    pub iov_left: u32,
    pub batch_left: u32,
    /// Bytes in the window that belong to a head and wait to be sent.
    pub staged: u32,
    /// How many of them were carried over, and sent before.
    pub staged_skip: u32,
    pub tgid: u32,
    pub tid: u32,
    /// [`SEND`] or [`RECEIVE`].
    pub direction: u8,
    /// What the continued program is to do first.
    pub pending: u8,
    /// 1 if the connection could not be announced: the ring was full.
    pub refused: u8,
    /// 1 if the receive that returns was accounted by the first instance of the program.
    pub received: u8,
    /// Which program accounts the call.
    pub stage: u8,
    /// Streams opened in the entries that wait to be sent.
    pub opens: u8,
    /// 1 if it was a 101 response that the connection switched by.
    pub upgraded: u8,
    pub reserved: u8,
    /// Offset of the stream in the connection.
    pub stream_at: u32,
    /// What is being looked at: bytes in the window, those of them that were carried,
    /// the first eight, what was found, and what was known before.
    pub look_len: u32,
    pub look_carried: u32,
    pub look_first: u64,
    pub look_event: u32,
    pub look_flags: u32,
    pub reserved2: u32,
    /// Runs of the program that moves the connection on.
    pub runs: u32,
}
