//! One condition on one property of an exchange.

use super::glob::Glob;
use crate::model::exchange::{Endpoint, Exchange, Protocol, Side};

/// Property of an exchange that a filter looks at. The flag is its name with `--`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Property {
    /// Process id.
    Pid,
    /// Command name.
    Comm,
    /// TCP port of either end.
    Port,
    /// Server or client.
    Side,
    /// HTTP version.
    Protocol,
    /// Request method.
    Method,
    /// Request path.
    Path,
    /// Response status.
    Status,
    /// Duration.
    MinDuration,
    /// Container id.
    Container,
    /// Kubernetes pod UID.
    Pod,
    /// gRPC status.
    GrpcStatus,
}

impl Property {
    /// All properties, in the order of the help.
    pub const ALL: [Self; 12] = [
        Self::Pid,
        Self::Comm,
        Self::Port,
        Self::Side,
        Self::Protocol,
        Self::Method,
        Self::Path,
        Self::Status,
        Self::MinDuration,
        Self::Container,
        Self::Pod,
        Self::GrpcStatus,
    ];

    /// Letter of the flag, if it has one.
    #[must_use]
    pub const fn short(self) -> Option<char> {
        match self {
            Self::Pid => Some('p'),
            _ => None,
        }
    }

    /// Name of the flag, without `--`.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Comm => "comm",
            Self::Port => "port",
            Self::Side => "side",
            Self::Protocol => "protocol",
            Self::Method => "method",
            Self::Path => "path",
            Self::Status => "status",
            Self::MinDuration => "min-duration",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::GrpcStatus => "grpc-status",
        }
    }
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Test {
    Pid(u32),
    Comm(Glob),
    Port(u16),
    Side(Side),
    /// Any of these.
    Protocol(&'static [Protocol]),
    Method(String),
    Path(Glob),
    /// First and last status.
    Status(u16, u16),
    /// Nanoseconds.
    MinDuration(u64),
    /// First digits of the id, lower case.
    Container(String),
    /// First characters of the UID, lower case.
    Pod(String),
    GrpcStatus(u32),
}

impl Test {
    /// Whether the exchange meets the condition. What is unknown meets none.
    pub(super) fn matches(&self, exchange: &Exchange<'_>) -> bool {
        match self {
            Self::Pid(pid) => exchange.process.tgid == *pid,
            Self::Comm(glob) => glob.matches(&exchange.process.comm),
            Self::Port(port) => [&exchange.conn.local, &exchange.conn.peer]
                .into_iter()
                .any(|end| matches!(end, Endpoint::Tcp(addr) if addr.port() == *port)),
            Self::Side(side) => exchange.side == *side,
            Self::Protocol(protocol) => protocol.contains(&exchange.protocol),
            Self::Method(method) => exchange
                .method
                .is_some_and(|m| m.eq_ignore_ascii_case(method)),
            Self::Path(glob) => exchange.path.is_some_and(|path| glob.matches(path)),
            Self::Status(first, last) => exchange
                .status
                .is_some_and(|s| (*first..=*last).contains(&s)),
            Self::MinDuration(ns) => exchange.duration_ns >= *ns,
            Self::Container(id) => starts_with(exchange.process.container_id.as_deref(), id),
            Self::GrpcStatus(status) => {
                (exchange.rpc).is_some_and(|rpc| rpc.status == Some(*status))
            }
            Self::Pod(uid) => starts_with(exchange.process.pod_uid.as_deref(), uid),
        }
    }
}

/// Whether the known `value` begins with `prefix`, which is in lower case.
fn starts_with(value: Option<&str>, prefix: &str) -> bool {
    value
        .and_then(|value| value.as_bytes().get(..prefix.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
