//! Header names that mean something to the agent.

/// What a header is, decided once for each literal and then kept in the table beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    /// `:method`.
    Method,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
    /// `:path`.
    Path,
    /// `:status`.
    Status,
    /// `host`.
    Host,
    /// `user-agent`.
    UserAgent,
    /// `traceparent` (W3C Trace Context).
    Traceparent,
    /// `tracestate` (W3C Trace Context).
    Tracestate,
    /// `content-type`.
    ContentType,
    /// `content-length`.
    ContentLength,
    /// `grpc-timeout`.
    GrpcTimeout,
    /// `grpc-status`.
    GrpcStatus,
    /// `grpc-message`.
    GrpcMessage,
    /// Any other name, known but of no interest.
    Other,
}

impl Name {
    /// Names are lower case in HTTP/2 (RFC 9113, section 8.2); others are malformed.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b"host" => Self::Host,
            b"user-agent" => Self::UserAgent,
            b"traceparent" => Self::Traceparent,
            b"tracestate" => Self::Tracestate,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-message" => Self::GrpcMessage,
            _ => Self::Other,
        }
    }
}
