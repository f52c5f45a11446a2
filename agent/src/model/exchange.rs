//! One HTTP request with its response, as one side of a connection saw it.
//!
//! An [`Exchange`] borrows everything: the stage that pairs messages lends it to the
//! sinks (table, JSON, OTLP encoder, …), which write it out at once. Nothing is
//! allocated for it, and no sink can keep it.

use std::net::SocketAddr;

/// A completed (or aborted) exchange.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// First byte of the request, wall clock, ns since 1970.
    pub start_unix_ns: u64,
    /// From the first byte of the request to the last byte of the response, ns.
    pub duration_ns: u64,
    /// From the first byte of the request to the first byte of the (final) response,
    /// ns; unknown if no response was seen.
    pub ttfb_ns: Option<u64>,
    /// Whether the process answered or asked.
    pub side: Side,
    /// HTTP version.
    pub protocol: Protocol,
    /// Request method as it was sent.
    pub method: Option<&'a str>,
    /// Path of the request target, without query. `*` and authority forms as they are.
    pub path: Option<&'a str>,
    /// Query without `?`, unredacted: sinks show it only if the user allowed that.
    pub query: Option<&'a str>,
    /// `Host` header, or the authority of an absolute target.
    pub authority: Option<&'a str>,
    /// `User-Agent` header.
    pub user_agent: Option<&'a str>,
    /// Route pattern, if one is known.
    pub route: Option<&'a str>,
    /// Status code of the final response.
    pub status: Option<u16>,
    /// What is known of the call, if it is one.
    pub rpc: Option<Rpc<'a>>,
    /// Bytes of request body, transfer coding removed.
    pub request_body_bytes: Option<u64>,
    /// Bytes of response body, transfer coding removed.
    pub response_body_bytes: Option<u64>,
    /// The process on this side.
    pub process: &'a ProcessInfo,
    /// Thread that received (server) or sent (client) the request.
    pub tid: u32,
    /// Index of the request on its connection; of HTTP/2, the stream's identifier.
    pub request: u32,
    /// Whether one thread received the whole request and sent the whole response, so that
    /// what it did in between is known to be this exchange's. Never known of HTTP/2, whose
    /// connections carry many requests at a time.
    pub one_thread: bool,
    /// The connection.
    pub conn: &'a ConnInfo,
    /// Ids.
    pub trace: TraceContext<'a>,
    /// OpenTelemetry `error.type`: a status code, or a low-cardinality reason.
    pub error: Option<&'a str>,
    /// What is not known, and why.
    pub incomplete: Incomplete,
}

/// A gRPC call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rpc<'a> {
    /// Full method name: `package.Service/Method`, the path without its first slash;
    /// empty if the path is not known.
    pub method: &'a str,
    /// `grpc-status` (0 to 16) from the trailers, if it was seen.
    pub status: Option<u32>,
    /// `grpc-message` from the trailers, percent-decoded.
    pub message: Option<&'a str>,
    /// Messages that the client sent.
    pub request_messages: u64,
    /// Messages that the server sent.
    pub response_messages: u64,
}

/// Which end of the connection the process is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// It answered the request.
    Server,
    /// It made the request.
    Client,
}

/// HTTP version of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// gRPC over HTTP/2: [`Exchange::rpc`] is present.
    Grpc,
}

/// A process that speaks HTTP, resolved once and shared by its exchanges.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct ProcessInfo {
    /// Dense number of this process within the agent, never reused: key for caches.
    /// Given by the process table, also to processes from a recording.
    #[serde(skip)]
    pub id: u32,
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Command name, as the kernel shows it; empty if the process is not known.
    pub comm: String,
    /// Path of the executable, if it could be read.
    pub executable: Option<String>,
    /// `service.name`; empty if the process is not known.
    pub service: String,
    /// `service.namespace`.
    pub service_namespace: Option<String>,
    /// Further resource attributes from the process's `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// Container id (64 hex digits) from the cgroup path.
    pub container_id: Option<String>,
    /// Kubernetes pod UID from the cgroup path.
    pub pod_uid: Option<String>,
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnInfo {
    /// Number of the connection, unique while the agent runs.
    pub id: u64,
    /// Network namespace (inode number).
    pub netns: u32,
    /// This process's end.
    pub local: Endpoint,
    /// The other end.
    pub peer: Endpoint,
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// TCP. IPv4-mapped IPv6 addresses are shown as IPv4.
    Tcp(SocketAddr),
    /// Unix stream socket, with its path (`@name` if abstract, empty if unnamed).
    Unix(String),
}

/// Trace context (W3C Trace Context) of an exchange.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceContext<'a> {
    /// The received trace id, or a new one; never all zero.
    pub trace_id: [u8; 16],
    /// This span; never zero.
    pub span_id: [u8; 8],
    /// The received parent id.
    pub parent_span_id: Option<[u8; 8]>,
    /// The received trace flags, or [`Self::NEW_FLAGS`].
    pub flags: u8,
    /// The received `tracestate`, as it was.
    pub state: Option<&'a str>,
}

impl TraceContext<'_> {
    /// Flags of a trace that begins here: sampled, and an id that is random (W3C Trace Context
    /// level 2, section 3.2.2.5.2), which samplers further on rely on. A received context keeps
    /// its own, for who made its id is not known.
    pub const NEW_FLAGS: u8 = 0x03;
}

/// Set of reasons why parts of an exchange are unknown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Incomplete(u16);

impl Incomplete {
    /// Everything is known.
    pub const NONE: Self = Self(0);
    /// The head was longer than the capture limit: the target may be cut, header values may be missing.
    pub const HEAD_TRUNCATED: Self = Self(1);
    /// The connection was joined while the exchange was under way.
    pub const JOINED_MIDSTREAM: Self = Self(1 << 1);
    /// No response was seen.
    pub const RESPONSE_NOT_SEEN: Self = Self(1 << 2);
    /// The response began but did not end.
    pub const RESPONSE_INCOMPLETE: Self = Self(1 << 3);
    /// The request did not end.
    pub const REQUEST_INCOMPLETE: Self = Self(1 << 4);
    /// Malformed bytes or unreadable memory: sizes are lower bounds.
    pub const FRAMING_LOST: Self = Self(1 << 5);
    /// Header names or values refer to entries of the compression table that were made
    /// before the connection was joined, or in records that were lost.
    pub const HPACK_TABLE_UNKNOWN: Self = Self(1 << 6);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::HEAD_TRUNCATED, "head_truncated"),
        (Self::JOINED_MIDSTREAM, "joined_midstream"),
        (Self::RESPONSE_NOT_SEEN, "response_not_seen"),
        (Self::RESPONSE_INCOMPLETE, "response_incomplete"),
        (Self::REQUEST_INCOMPLETE, "request_incomplete"),
        (Self::FRAMING_LOST, "framing_lost"),
        (Self::HPACK_TABLE_UNKNOWN, "hpack_table_unknown"),
    ];

    /// Adds the reasons in `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether all reasons in `other` are present.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether everything is known.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All reasons.
    #[cfg(test)]
    pub(crate) const ALL: Self = Self((1 << Self::NAMES.len()) - 1);

    /// The names used in output, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(bit, _)| self.contains(*bit))
            .map(|(_, name)| name)
    }
}

/// Where exchanges go. Sinks are called on one thread, in order of completion.
pub trait Sink {
    /// Takes one exchange. Must not block.
    fn exchange(&mut self, exchange: &Exchange<'_>);
}
