//! What tells series apart: the attributes of the semantic conventions, all of them of low
//! cardinality or bounded by the limit of series.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use rustc_hash::FxHasher;

use crate::deciding::route::Routed;
use crate::model::exchange::{Endpoint, Exchange, Protocol, Side};
use crate::span::attrs;
use crate::span::method::{KnownMethods, OTHER};

/// Longest text kept of what clients choose, bytes. More is cut.
const MAX_TEXT: usize = 256;
/// Port of a `Host` without port (RFC 9110, section 4.2.1).
const DEFAULT_PORT: u16 = 80;

/// What tells a request's series from others, borrowed from the request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct KeyRef<'a> {
    pub(super) service: u32,
    pub(super) side: Side,
    /// Number of the route; the method too, for gRPC.
    pub(super) route: u32,
    pub(super) rpc: bool,
    pub(super) method: &'a str,
    /// Of HTTP, or of gRPC.
    pub(super) status: Option<u32>,
    pub(super) version: &'static str,
    pub(super) error: Option<&'a str>,
    pub(super) server: Server<'a>,
    /// Nothing but service, side and kind: what found no room.
    pub(super) overflow: bool,
}

/// The server that a client asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Server<'a> {
    None,
    Name(&'a str, Option<u16>),
    Ip(IpAddr, u16),
}

/// The same, owned.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) service: u32,
    pub(super) side: Side,
    route: u32,
    pub(super) rpc: bool,
    pub(super) method: Box<str>,
    pub(super) status: Option<u32>,
    pub(super) version: &'static str,
    pub(super) error: Option<Box<str>>,
    /// `server.address` and `server.port`.
    pub(super) server: Option<(Box<str>, Option<u16>)>,
    ip: Option<(IpAddr, u16)>,
    pub(super) overflow: bool,
    /// Pattern, or gRPC method.
    pub(super) text: Option<Box<str>>,
}

impl<'a> KeyRef<'a> {
    /// The key of a request. `digits` is where a status code becomes text.
    #[inline]
    pub(super) fn of(
        exchange: &Exchange<'a>,
        routed: Routed<'a>,
        service: u32,
        known: &KnownMethods,
        digits: &'a mut itoa::Buffer,
    ) -> Self {
        let method = exchange
            .method
            .filter(|method| known.contains(method))
            .unwrap_or(OTHER);
        let rpc = exchange.rpc;
        Self {
            service,
            side: exchange.side,
            route: routed.id,
            rpc: rpc.is_some(),
            method: if rpc.is_some() { "" } else { method },
            status: match rpc {
                Some(rpc) => rpc.status,
                None => exchange.status.map(u32::from),
            },
            version: match exchange.protocol {
                Protocol::Http10 => "1.0",
                Protocol::Http11 => "1.1",
                Protocol::Http2 | Protocol::Grpc => "2",
            },
            error: attrs::error_type(exchange, digits).map(cut),
            server: server(exchange),
            overflow: false,
        }
    }

    /// The series of its service that takes what finds no room.
    pub(super) const fn overflowing(self) -> Self {
        Self {
            route: u32::MAX,
            method: "",
            status: None,
            version: "",
            error: None,
            server: Server::None,
            overflow: true,
            ..self
        }
    }

    #[inline]
    pub(super) fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    /// Whether an owned key is the same.
    #[inline]
    pub(super) fn is(&self, key: &Key) -> bool {
        let server = match (self.server, &key.server) {
            (Server::None, None) => true,
            (Server::Name(name, port), Some((own, own_port))) => {
                key.ip.is_none() && name == &**own && port == *own_port
            }
            (Server::Ip(ip, port), Some(_)) => key.ip == Some((ip, port)),
            _ => false,
        };
        server
            && (self.service, self.side, self.route, self.rpc)
                == (key.service, key.side, key.route, key.rpc)
            && (self.status, self.version, self.overflow) == (key.status, key.version, key.overflow)
            && self.method == &*key.method
            && self.error == key.error.as_deref()
    }

    pub(super) fn to_owned(self, text: Option<&str>) -> Key {
        let (server, ip) = match self.server {
            Server::None => (None, None),
            Server::Name(name, port) => (Some((name.into(), port)), None),
            Server::Ip(ip, port) => (Some((ip.to_string().into(), Some(port))), Some((ip, port))),
        };
        Key {
            service: self.service,
            side: self.side,
            route: self.route,
            rpc: self.rpc,
            method: self.method.into(),
            status: self.status,
            version: self.version,
            error: self.error.map(Into::into),
            server,
            ip,
            overflow: self.overflow,
            text: text.filter(|_| !self.overflow).map(|text| cut(text).into()),
        }
    }
}

impl Key {
    /// The hash of [`KeyRef::hash`].
    pub(super) fn hash(&self) -> u64 {
        let server = match (&self.server, self.ip) {
            (_, Some((ip, port))) => Server::Ip(ip, port),
            (Some((name, port)), None) => Server::Name(name, *port),
            (None, None) => Server::None,
        };
        KeyRef {
            service: self.service,
            side: self.side,
            route: self.route,
            rpc: self.rpc,
            method: &self.method,
            status: self.status,
            version: self.version,
            error: self.error.as_deref(),
            server,
            overflow: self.overflow,
        }
        .hash()
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let server = self.server.as_ref().map_or(0, |(name, _)| name.len());
        self.method.len() + text(&self.error) + text(&self.text) + server
    }
}

/// Servers do not say what they were called: a client could make up names without end.
#[inline]
fn server<'a>(exchange: &Exchange<'a>) -> Server<'a> {
    if exchange.side == Side::Server {
        return Server::None;
    }
    match (attrs::authority(exchange), &exchange.conn.peer) {
        (Some(authority), Endpoint::Tcp(_)) => {
            Server::Name(cut(authority.host), authority.port.or(Some(DEFAULT_PORT)))
        }
        (Some(authority), Endpoint::Unix(_)) => Server::Name(cut(authority.host), authority.port),
        (None, Endpoint::Tcp(peer)) => Server::Ip(peer.ip(), peer.port()),
        // The peer is borrowed from the connection, not from the request.
        (None, Endpoint::Unix(_)) => Server::None,
    }
}

fn cut(text: &str) -> &str {
    let end = (0..=MAX_TEXT.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}
