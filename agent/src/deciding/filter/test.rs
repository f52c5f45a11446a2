//! One condition on one property of an exchange.

use super::glob::Glob;
use crate::model::exchange::{Endpoint, Exchange, Protocol, Side};
use crate::model::text::duration::parse_duration;
use crate::pairing::proto::grpc;

/// Longest command name the kernel keeps, bytes (`TASK_COMM_LEN - 1`).
const COMM_LEN: usize = 15;

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
    /// Reads the value of a flag. The error says what the flag takes.
    pub(super) fn parse(property: Property, value: &str) -> Result<Self, String> {
        match property {
            Property::Pid => match value.parse() {
                Ok(pid @ 1..=4_194_304) => Ok(Self::Pid(pid)),
                _ => Err("a process id is a number from 1 to 4194304".into()),
            },
            Property::Comm => {
                let glob = glob(value)?;
                if glob.fixed_len().is_some_and(|len| len > COMM_LEN) {
                    return Err(format!(
                        "the kernel keeps {COMM_LEN} characters of a command name; \
                         shorten it or end it with *"
                    ));
                }
                Ok(Self::Comm(glob))
            }
            Property::Port => match value.parse() {
                Ok(port @ 1..) => Ok(Self::Port(port)),
                _ => Err("a port is a number from 1 to 65535".into()),
            },
            Property::Side => match value {
                "server" => Ok(Self::Side(Side::Server)),
                "client" => Ok(Self::Side(Side::Client)),
                _ => Err("it is server or client".into()),
            },
            Property::Protocol => protocol(value),
            Property::Method => {
                // RFC 9110, section 5.6.2: a method is a token.
                let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                if value.is_empty() || !value.bytes().all(token) {
                    return Err("a method is one word such as GET".into());
                }
                Ok(Self::Method(value.to_owned()))
            }
            Property::Path => Ok(Self::Path(glob(value)?)),
            Property::Status => status(value).ok_or_else(|| {
                "it takes a status (404), a class (5xx) or a range (400-499)".into()
            }),
            Property::MinDuration => Ok(Self::MinDuration(parse_duration(value)?)),
            Property::Container => prefix(value, 64, |c| c.is_ascii_hexdigit())
                .map(Self::Container)
                .ok_or_else(|| "containers are known by id: give 4 to 64 hex digits of it".into()),
            Property::Pod => prefix(value, 36, |c| c.is_ascii_hexdigit() || c == '-')
                .map(Self::Pod)
                .ok_or_else(|| "pods are known by UID: give at least 4 characters of it".into()),
            Property::GrpcStatus => grpc::status_code(value)
                .map(Self::GrpcStatus)
                .ok_or_else(|| "it takes a number from 0 to 16 or a name: UNAVAILABLE".into()),
        }
    }

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

fn glob(value: &str) -> Result<Glob, String> {
    if value.is_empty() {
        return Err("the pattern is empty".into());
    }
    Ok(Glob::parse(value)?)
}

fn protocol(value: &str) -> Result<Test, String> {
    use Protocol::{Grpc, Http2, Http10, Http11};
    Ok(Test::Protocol(match value.to_ascii_lowercase().as_str() {
        "http" => &[Http10, Http11, Http2],
        "http/1" => &[Http10, Http11],
        "http/1.0" => &[Http10],
        "http/1.1" => &[Http11],
        "http/2" | "http/2.0" | "h2" => &[Http2],
        "grpc" => &[Grpc],
        _ => return Err("it takes http/1.0, http/1.1, http/2, http (all three) or grpc".into()),
    }))
}

fn status(value: &str) -> Option<Test> {
    let number = |text: &str| -> Option<u16> {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|s| digits && (100..=999).contains(s))
    };
    let bytes = value.as_bytes();
    if let [class @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] = bytes {
        let first = u16::from(class - b'0') * 100;
        return Some(Test::Status(first, first + 99));
    }
    let (first, last) = match value.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(value)?, number(value)?),
    };
    (first <= last).then_some(Test::Status(first, last))
}

fn prefix(value: &str, max: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    ((4..=max).contains(&value.len()) && value.chars().all(allowed))
        .then(|| value.to_ascii_lowercase())
}

/// Whether the known `value` begins with `prefix`, which is in lower case.
fn starts_with(value: Option<&str>, prefix: &str) -> bool {
    value
        .and_then(|value| value.as_bytes().get(..prefix.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}
