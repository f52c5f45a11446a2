//! Records in the ring buffer, from the kernel to the agent.
//!
//! Every record starts with a [`Header`]. Records of one connection arrive in the
//! order in which the kernel saw them, with one exception: the record of a request
//! *sent* may follow the record of its response, because a send is accounted when
//! the call returns and the peer may answer before that. Message indices pair them.

use crate::pod::Pod;

/// Version of every layout in this module; recordings made by another are refused.
pub const VERSION: u8 = 1;

/// What a record is. Values from the kernel are compared, never transmuted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Kind(pub u16);

impl Kind {
    /// [`Process`]: a process was seen speaking HTTP for the first time.
    pub const PROCESS: Self = Self(1);
    /// [`ProcessExit`]: such a process ended or replaced its program.
    pub const PROCESS_EXIT: Self = Self(2);
    /// [`Conn`]: a connection was seen carrying HTTP for the first time.
    pub const CONN: Self = Self(3);
    /// [`Message`]: a part of a request or response, with head bytes behind it.
    pub const MESSAGE: Self = Self(4);
    /// [`Close`]: a connection ended.
    pub const CLOSE: Self = Self(5);
    /// [`crate::counters`] as `u64`s; written into recordings by the agent only.
    pub const COUNTERS: Self = Self(6);
    /// [`Frames`]: HTTP/2 frames of one direction of a connection.
    pub const FRAMES: Self = Self(7);
}

/// First bytes of every record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// [`VERSION`].
    pub version: u8,
    /// Zero.
    pub reserved: u8,
    /// Length of the whole record in bytes, header and trailing bytes included.
    pub len: u32,
}

impl Header {
    /// A header for a record of `len` bytes.
    #[must_use]
    #[inline(always)]
    pub const fn new(kind: Kind, len: u32) -> Self {
        Self {
            kind,
            version: VERSION,
            reserved: 0,
            len,
        }
    }
}

/// Which way a message went on the wire, seen from HTTP.
pub mod role {
    /// The process answers requests on this connection.
    pub const SERVER: u8 = 1;
    /// The process makes requests on this connection.
    pub const CLIENT: u8 = 2;
}

/// [`Message::side`].
pub mod side {
    /// The message is a request.
    pub const REQUEST: u8 = 0;
    /// The message is a response.
    pub const RESPONSE: u8 = 1;
}

/// A process that speaks HTTP. Sent once per process, and again after `exec`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Process {
    /// Kind [`Kind::PROCESS`].
    pub header: Header,
    /// Monotonic time, ns.
    pub time: u64,
    /// Cgroup v2 id of the process, 0 if it has none.
    pub cgroup: u64,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
    /// Command name of the thread that was seen, NUL-padded.
    pub comm: [u8; 16],
}

/// The end of a process that was announced by [`Process`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct ProcessExit {
    /// Kind [`Kind::PROCESS_EXIT`].
    pub header: Header,
    /// Monotonic time, ns.
    pub time: u64,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// 1 if the process goes on with another program (`exec`), 0 if it ended.
    pub exec: u32,
}

/// Address family of a [`Conn`], the kernel's own numbers.
pub mod family {
    /// `AF_UNIX`: no addresses; the path of the listening socket follows the record.
    pub const UNIX: u16 = 1;
    /// `AF_INET`: addresses are in the first four bytes.
    pub const INET: u16 = 2;
    /// `AF_INET6`.
    pub const INET6: u16 = 10;
}

/// [`Conn::flags`].
pub mod conn_flags {
    /// The connection was open before the kernel programs saw its first byte.
    pub const JOINED: u8 = 1;
    /// The connection speaks HTTP/2: [`super::Frames`] follow. Not set on one that began
    /// as HTTP/1 and changed (`Upgrade: h2c`, RFC 7540, section 3.2): there, frames
    /// follow the message of a 101 response without [`super::Close`] between them, and
    /// stream 1 is the request that asked for the change.
    pub const HTTP2: u8 = 1 << 1;
}

/// A connection that carries HTTP. For Unix sockets the path (at most 108 bytes,
/// without trailing NUL; abstract names start with NUL) follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Conn {
    /// Kind [`Kind::CONN`].
    pub header: Header,
    /// Identity of the connection on this side, unique while the agent runs.
    pub conn: u64,
    /// Monotonic time, ns, when it was first seen.
    pub time: u64,
    /// Process that was seen first on it.
    pub tgid: u32,
    /// Thread that was seen first on it.
    pub tid: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// One of [`family`].
    pub family: u16,
    /// Local port, host order; 0 for Unix sockets.
    pub local_port: u16,
    /// Remote port, host order; 0 for Unix sockets.
    pub remote_port: u16,
    /// One of [`role`].
    pub role: u8,
    /// Bits of [`conn_flags`].
    pub flags: u8,
    /// Zero.
    pub reserved: u32,
    /// Local address, network order.
    pub local_addr: [u8; 16],
    /// Remote address, network order.
    pub remote_addr: [u8; 16],
}

/// [`Message::flags`].
pub mod message_flags {
    /// This record holds the first bytes of the message.
    pub const START: u16 = 1 << 0;
    /// The message's head ended in or before this record.
    pub const HEAD_END: u16 = 1 << 1;
    /// The message is complete: `body_bytes` and `last` are final.
    pub const END: u16 = 1 << 2;
    /// Head bytes beyond the capture limit were not sent; framing is still exact.
    pub const HEAD_TRUNCATED: u16 = 1 << 3;
    /// The body is chunked.
    pub const CHUNKED: u16 = 1 << 4;
    /// The body ends with the connection.
    pub const UNTIL_CLOSE: u16 = 1 << 5;
    /// After this message the connection carries another protocol
    /// (101 Switching Protocols, CONNECT).
    pub const SWITCHED: u16 = 1 << 6;
    /// The framing of the message was lost (unreadable memory, malformed bytes);
    /// `body_bytes` is a lower bound.
    pub const FRAMING_LOST: u16 = 1 << 7;
    /// No request was seen for this response: it was under way when the agent came.
    pub const ORPHAN: u16 = 1 << 8;
    /// What the head says, or a chunk size, does not tell where the message ends (a
    /// malformed or contradictory `Content-Length`, an unknown coding): `body_bytes` is a
    /// lower bound. It is complete as far as it can be followed.
    pub const UNFRAMED: u16 = 1 << 9;
    /// The end of the request's first line was not seen yet, nor an answer: it may turn out to
    /// be none, and then ends with its connection, in no count. (A later record of the same
    /// message without this bit says that it is one.)
    pub const CANDIDATE: u16 = 1 << 10;
}

/// A part of one HTTP/1 message. Head bytes follow the record: the first
/// [`Message::skip`] of them were in an earlier record of the same message already.
///
/// A message is sent as one record when it is whole within one system call,
/// otherwise as several: head parts in order, and a last one with [`message_flags::END`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Message {
    /// Kind [`Kind::MESSAGE`].
    pub header: Header,
    /// [`Conn::conn`].
    pub conn: u64,
    /// Monotonic time, ns, of the first byte of the message.
    pub first: u64,
    /// Monotonic time, ns, of the last byte so far.
    pub last: u64,
    /// Bytes of body so far, transfer coding removed (RFC 9112, section 7).
    pub body_bytes: u64,
    /// Process that sent or received this part.
    pub tgid: u32,
    /// Thread that sent or received this part.
    pub tid: u32,
    /// Index of the request on its connection, from 0; a response has the index of
    /// the request it answers. Interim (1xx) responses are not reported.
    pub index: u32,
    /// Bits of [`message_flags`].
    pub flags: u16,
    /// One of [`side`].
    pub side: u8,
    /// Bytes behind the record to pass over.
    pub skip: u8,
}

/// HTTP/2 frames (RFC 9113) that passed in one direction of a connection in one system
/// call, in order. Entries follow: each a [`Frame`] and behind it
/// [`Frame::captured`] bytes of payload, rounded up to a multiple of 8 with bytes that mean
/// nothing. Entries end where the record ends. A call may give several records.
///
/// PRIORITY, PING, WINDOW_UPDATE and unknown frames are passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Frames {
    /// Kind [`Kind::FRAMES`].
    pub header: Header,
    /// [`Conn::conn`].
    pub conn: u64,
    /// Monotonic time, ns, at which the call began to send; of a receive, when it returned.
    pub first: u64,
    /// Monotonic time, ns, of the call's last byte.
    pub last: u64,
    /// Process that sent or received.
    pub tgid: u32,
    /// Thread that sent or received.
    pub tid: u32,
    /// Number of this record in its direction of the connection, from 0. A gap is a record
    /// that the ring had no room for. Streams whose first HEADERS were in it are counted
    /// as lost by the kernel programs; the state of the others, and what the record did
    /// to the header compression table, is not known.
    pub sequence: u32,
    /// One of [`side`]: frames that the client sent, or frames that the server sent.
    pub side: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// [`Frame::part`].
pub mod frame_part {
    /// The frame begins in this entry.
    pub const FIRST: u8 = 1;
    /// The frame ends in this entry: END_STREAM and END_HEADERS count now.
    pub const LAST: u8 = 1 << 1;
    /// Payload bytes of this entry beyond the capture limit were left out, at its end.
    pub const CUT: u8 = 1 << 2;
    /// The HEADERS frame opens a stream (sent by the client, with a higher stream
    /// identifier than any before).
    pub const OPENS: u8 = 1 << 3;
    /// Of DATA: messages were left uncounted, in this frame or an earlier one of the stream
    /// (thousands of tiny messages in one call).
    pub const UNCOUNTED: u8 = 1 << 4;
}

/// An entry of [`Frames`]: a frame, or the part of one that passed in the call.
///
/// HEADERS, CONTINUATION, PUSH_PROMISE, RST_STREAM, GOAWAY and SETTINGS come with their
/// payload, as on the wire (pad length, priority and padding included). Of DATA only sizes
/// are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Frame {
    /// Stream identifier, 0 for the connection.
    pub stream: u32,
    /// Payload bytes of the frame that passed in this entry.
    pub len: u32,
    /// Frame type (RFC 9113, section 6).
    pub kind: u8,
    /// Flags of the frame, as on the wire.
    pub flags: u8,
    /// Bits of [`frame_part`].
    pub part: u8,
    /// Of a padded DATA frame in the entry with [`frame_part::FIRST`]: the pad length. The
    /// frame's content is shorter than its payload by this plus one.
    pub padding: u8,
    /// Payload bytes behind this entry.
    pub captured: u16,
    /// Length-prefixed messages (gRPC over HTTP/2, `Length-Prefixed-Message`) whose prefix
    /// was completed in this entry; only meaningful if the stream carries gRPC.
    pub messages: u16,
}

/// [`Close::reason`].
pub mod close_reason {
    /// This side closed the connection, or ended its sending direction.
    pub const LOCAL: u8 = 1;
    /// The connection was reset by the peer.
    pub const RESET: u8 = 2;
    /// The kernel gave the connection up (ETIMEDOUT, EHOSTUNREACH …): see `errno`.
    pub const ERROR: u8 = 3;
    /// The end was not seen; the socket was found to be another one.
    pub const REPLACED: u8 = 4;
    /// The connection changed to another protocol.
    pub const SWITCHED: u8 = 5;
    /// The framing was lost and could not be found again.
    pub const FRAMING_LOST: u8 = 6;
    /// The connection ended, and the record of it was lost. Made by the agent, when it
    /// finds the connection gone.
    pub const UNTOLD: u8 = 7;
}

/// Bytes that the kernel programs keep of a connection. The first eight are [`Conn::conn`].
pub const CONN_STATE_BYTES: usize =
    80 + 2 * size_of::<crate::http1::Stream>() + 2 * size_of::<crate::http2::Direction>();

/// The end of a connection as far as HTTP goes. Requests with an index in
/// `response_index..request_index` were in flight; so was the request of that last
/// index if `request_open` is 1 (its bytes had begun, but not ended).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Close {
    /// Kind [`Kind::CLOSE`].
    pub header: Header,
    /// [`Conn::conn`].
    pub conn: u64,
    /// Monotonic time, ns.
    pub time: u64,
    /// Body bytes seen of the request that was under way, if any. Of HTTP/2, where only the
    /// agent knows what is under way: one more than [`Frames::sequence`] of the last record
    /// of what the client sent.
    pub request_body: u64,
    /// Body bytes seen of the response that was under way, if any. Of HTTP/2 as above, of what
    /// the server sent.
    pub response_body: u64,
    /// Monotonic time, ns, of the last response byte; 0 if no response was under way.
    pub response_last: u64,
    /// Bit `index % 64` is set for requests in flight of which a record was lost. They
    /// are counted as lost already and must not be reported.
    pub lost: u64,
    /// Requests begun on this connection.
    pub request_index: u32,
    /// Responses completed on this connection.
    pub response_index: u32,
    /// `sk_err` of the socket, a positive errno or 0.
    pub errno: u32,
    /// One of [`close_reason`].
    pub reason: u8,
    /// 1 if a request was incomplete.
    pub request_open: u8,
    /// 1 if a response was incomplete, 2 if it was of the kind that ends with the
    /// connection and so is complete now.
    pub response_open: u8,
    /// Zero.
    pub reserved: u8,
}

impl Close {
    /// The end of a connection of which no record came: see [`close_reason::UNTOLD`].
    #[must_use]
    pub const fn untold(conn: u64) -> Self {
        Self {
            header: Header::new(Kind::CLOSE, size_of::<Self>() as u32),
            conn,
            time: 0,
            request_body: 0,
            response_body: 0,
            response_last: 0,
            lost: 0,
            request_index: 0,
            response_index: 0,
            errno: 0,
            reason: close_reason::UNTOLD,
            request_open: 0,
            response_open: 0,
            reserved: 0,
        }
    }
}

/// `Close::response_open`: the response ended with the connection, as it should.
pub const RESPONSE_COMPLETE_AT_CLOSE: u8 = 2;

// SAFETY: `repr(C)`, integers only, no padding: sizes asserted below.
unsafe impl Pod for Header {}
// SAFETY: as above.
unsafe impl Pod for Process {}
// SAFETY: as above.
unsafe impl Pod for ProcessExit {}
// SAFETY: as above.
unsafe impl Pod for Conn {}
// SAFETY: as above.
unsafe impl Pod for Message {}
// SAFETY: as above.
unsafe impl Pod for Close {}
// SAFETY: as above.
unsafe impl Pod for Frames {}
// SAFETY: as above.
unsafe impl Pod for Frame {}

const _: () = {
    assert!(size_of::<Header>() == 8);
    assert!(size_of::<Process>() == 48);
    assert!(size_of::<ProcessExit>() == 24);
    assert!(size_of::<Conn>() == 80);
    assert!(size_of::<Message>() == 56);
    assert!(size_of::<Close>() == 72);
    assert!(size_of::<Frames>() == 48);
    assert!(size_of::<Frame>() == 16);
    assert!(align_of::<Message>() == 8);
};
