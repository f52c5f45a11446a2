//! The attributes of HTTP and gRPC spans (semantic conventions 1.41).
//!
//! What is not known is left out, never invented: a span without `url.full` says that
//! the agent does not know the URL. Query strings are written only where the user
//! allowed it, credentials in URLs never.

use super::authority::Authority;
use super::ip::IpText;
use super::keys::{
    CLIENT_ADDRESS, ERROR_TYPE, HTTP_REQUEST_BODY_SIZE, HTTP_REQUEST_METHOD,
    HTTP_REQUEST_METHOD_ORIGINAL, HTTP_RESPONSE_BODY_SIZE, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_NAME, NETWORK_PROTOCOL_VERSION,
    NETWORK_TRANSPORT, REMORA_INCOMPLETE, REMORA_REQUEST_MESSAGES, REMORA_RESPONSE_MESSAGES,
    RPC_METHOD, RPC_RESPONSE_STATUS_CODE, RPC_SYSTEM_NAME, SERVER_ADDRESS, SERVER_PORT, THREAD_ID,
    URL_FULL, URL_PATH, URL_QUERY, URL_SCHEME, URL_TEMPLATE, USER_AGENT_ORIGINAL,
};
use super::method::{KnownMethods, OTHER, OTHER_NAME};
use super::wire::{int, string, string_parts, strings};
use crate::model::exchange::{Endpoint, Exchange, Protocol, Rpc, Side};
use crate::pairing::proto::grpc;

/// What may be written, and how.
#[derive(Clone, Debug, Default)]
pub struct SpanOptions {
    /// Write `url.query`, and the query in `url.full`. Off by default: queries carry
    /// personal data and secrets.
    pub allow_query: bool,
    /// Methods reported by name.
    pub known_methods: KnownMethods,
    /// Leave out what only describes: peers, user agents, threads, queries. What counts, groups
    /// or explains a request stays.
    pub brief: bool,
}

impl SpanOptions {
    const fn shows_query(&self) -> bool {
        self.allow_query && !self.brief
    }
}

/// The system of calls, and the name of those whose method is not known.
const GRPC: &str = "grpc";
/// The scheme of what is captured as plaintext.
const SCHEME: &str = "http";
/// Its default port (RFC 9110, section 4.2.1).
const DEFAULT_PORT: u16 = 80;

/// The two parts of a span's name: the method, and the route if there is one; of a call
/// its full method.
#[inline]
#[must_use]
pub fn name<'a>(exchange: &Exchange<'a>, options: &SpanOptions) -> (&'a str, Option<&'a str>) {
    if let Some(rpc) = exchange.rpc {
        let known = Some(rpc.method).filter(|method| !method.is_empty());
        return (known.unwrap_or(GRPC), None);
    }
    let method = match exchange.method {
        Some(method) if options.known_methods.contains(method) => method,
        _ => OTHER_NAME,
    };
    (method, exchange.route)
}

/// `error.type`, or `None` for a span that is no error: the reason found when the exchange
/// was put together, else the status code, where the conventions call it an error (4xx for
/// clients only, 5xx for both).
#[inline]
#[must_use]
pub fn error_type<'a>(exchange: &Exchange<'a>, digits: &'a mut itoa::Buffer) -> Option<&'a str> {
    // Of a call, HTTP's status says nothing that its error does not.
    if exchange.error.is_some() || exchange.rpc.is_some() {
        return exchange.error;
    }
    let first_error = match exchange.side {
        Side::Server => 500,
        Side::Client => 400,
    };
    exchange
        .status
        .filter(|status| *status >= first_error)
        .map(|status| digits.format(status))
}

/// Appends all attributes. `error` is what [`error_type`] returned.
pub fn write(
    out: &mut Vec<u8>,
    exchange: &Exchange<'_>,
    error: Option<&str>,
    options: &SpanOptions,
) {
    if let Some(rpc) = exchange.rpc {
        return call(out, exchange, rpc, error, options);
    }
    method(out, exchange, options);
    let mut text = IpText::new();
    match exchange.side {
        Side::Server => server(out, exchange, options, &mut text),
        Side::Client => client(out, exchange, options, &mut text),
    }
    if !options.brief {
        described(out, exchange, &mut text);
    }
    if let Some(status) = exchange.status {
        int(out, HTTP_RESPONSE_STATUS_CODE, u64::from(status));
    }
    if let Some(size) = exchange.request_body_bytes {
        int(out, HTTP_REQUEST_BODY_SIZE, size);
    }
    if let Some(size) = exchange.response_body_bytes {
        int(out, HTTP_RESPONSE_BODY_SIZE, size);
    }
    common(out, exchange, error, options);
}

/// What describes a request, and no more.
fn described(out: &mut Vec<u8>, exchange: &Exchange<'_>, text: &mut IpText) {
    network(out, exchange, text);
    if let Some(user_agent) = exchange.user_agent {
        string(out, USER_AGENT_ORIGINAL, user_agent);
    }
}

/// What every span has at its end.
fn common(out: &mut Vec<u8>, exchange: &Exchange<'_>, error: Option<&str>, options: &SpanOptions) {
    if let Some(error) = error {
        string(out, ERROR_TYPE, error);
    }
    if !options.brief {
        int(out, THREAD_ID, u64::from(exchange.tid));
    }
    if !exchange.incomplete.is_empty() {
        let reasons = exchange.incomplete;
        strings(out, REMORA_INCOMPLETE, ReasonNames(reasons).iter());
    }
}

/// The attributes of a gRPC span. The message of the status is left out: programs put
/// into it what they like.
fn call(
    out: &mut Vec<u8>,
    exchange: &Exchange<'_>,
    rpc: Rpc<'_>,
    error: Option<&str>,
    options: &SpanOptions,
) {
    string(out, RPC_SYSTEM_NAME, GRPC);
    if !rpc.method.is_empty() {
        string(out, RPC_METHOD, rpc.method);
    }
    if let Some(status) = rpc.status.and_then(grpc::status_name) {
        string(out, RPC_RESPONSE_STATUS_CODE, status);
    }
    let mut text = IpText::new();
    let authority = authority(exchange);
    match exchange.side {
        Side::Server => {
            server_address(out, authority, &exchange.conn.local, &mut text);
            if !options.brief {
                client_address(out, &exchange.conn.peer, &mut text);
            }
        }
        Side::Client => server_address(out, authority, &exchange.conn.peer, &mut text),
    }
    if !options.brief {
        described(out, exchange, &mut text);
    }
    // Not an answer to the call, but a proxy's.
    if let Some(status) = exchange.status.filter(|status| *status != 200) {
        int(out, HTTP_RESPONSE_STATUS_CODE, u64::from(status));
    }
    int(out, REMORA_REQUEST_MESSAGES, rpc.request_messages);
    int(out, REMORA_RESPONSE_MESSAGES, rpc.response_messages);
    common(out, exchange, error, options);
}

fn method(out: &mut Vec<u8>, exchange: &Exchange<'_>, options: &SpanOptions) {
    match exchange.method {
        Some(method) if options.known_methods.contains(method) => {
            string(out, HTTP_REQUEST_METHOD, method);
        }
        Some(method) => {
            string(out, HTTP_REQUEST_METHOD, OTHER);
            string(out, HTTP_REQUEST_METHOD_ORIGINAL, method);
        }
        None => string(out, HTTP_REQUEST_METHOD, OTHER),
    }
}

/// The request target's path where it has one: origin form, or `*` (RFC 9112, section 3.2).
/// The target of CONNECT is an authority and has none.
fn path<'a>(exchange: &Exchange<'a>) -> Option<&'a str> {
    exchange
        .path
        .filter(|path| path.starts_with('/') || *path == "*")
}

fn server(out: &mut Vec<u8>, exchange: &Exchange<'_>, options: &SpanOptions, text: &mut IpText) {
    string(out, URL_SCHEME, SCHEME);
    if let Some(path) = path(exchange) {
        string(out, URL_PATH, path);
    }
    if let Some(query) = exchange
        .query
        .filter(|query| options.shows_query() && !query.is_empty())
    {
        string(out, URL_QUERY, query);
    }
    if let Some(route) = exchange.route {
        string(out, HTTP_ROUTE, route);
    }
    server_address(out, authority(exchange), &exchange.conn.local, text);
    if !options.brief {
        client_address(out, &exchange.conn.peer, text);
    }
}

fn client_address(out: &mut Vec<u8>, peer: &Endpoint, text: &mut IpText) {
    match peer {
        Endpoint::Tcp(peer) => string(out, CLIENT_ADDRESS, text.format(peer.ip())),
        Endpoint::Unix(path) if !path.is_empty() => string(out, CLIENT_ADDRESS, path),
        Endpoint::Unix(_) => {}
    }
}

fn client(out: &mut Vec<u8>, exchange: &Exchange<'_>, options: &SpanOptions, text: &mut IpText) {
    let authority = authority(exchange);
    url_full(out, exchange, authority, options, text);
    if let Some(route) = exchange.route {
        string(out, URL_TEMPLATE, route);
    }
    server_address(out, authority, &exchange.conn.peer, text);
}

/// Where the request was addressed to: the target of CONNECT, or the `Host` header.
pub(crate) fn authority<'a>(exchange: &Exchange<'a>) -> Option<Authority<'a>> {
    exchange
        .path
        .filter(|_| exchange.method == Some("CONNECT"))
        .or(exchange.authority)
        .and_then(Authority::parse)
}

/// Writes `server.address` and `server.port`. A `Host` without port means the default
/// port of the scheme (RFC 9112, section 3.3), not the one the socket happens to have
/// behind a proxy; over Unix sockets it means nothing.
fn server_address(
    out: &mut Vec<u8>,
    authority: Option<Authority<'_>>,
    endpoint: &Endpoint,
    text: &mut IpText,
) {
    match (authority, endpoint) {
        (Some(authority), _) => {
            string(out, SERVER_ADDRESS, authority.host);
            let default = matches!(endpoint, Endpoint::Tcp(_)).then_some(DEFAULT_PORT);
            if let Some(port) = authority.port.or(default) {
                int(out, SERVER_PORT, u64::from(port));
            }
        }
        (None, Endpoint::Tcp(address)) => {
            string(out, SERVER_ADDRESS, text.format(address.ip()));
            int(out, SERVER_PORT, u64::from(address.port()));
        }
        (None, Endpoint::Unix(path)) if !path.is_empty() => string(out, SERVER_ADDRESS, path),
        (None, Endpoint::Unix(_)) => {}
    }
}

/// Writes `url.full`, rebuilt as RFC 9112, section 3.3 says: the path as sent after the
/// authority, or after the peer's address if none was sent. Credentials are replaced, the
/// query is left out unless allowed. Without path or any authority there is no URL.
fn url_full(
    out: &mut Vec<u8>,
    exchange: &Exchange<'_>,
    authority: Option<Authority<'_>>,
    options: &SpanOptions,
    text: &mut IpText,
) {
    let Some(target) = exchange.path else { return };
    let path = if target.starts_with('/') { target } else { "" };
    let (mark, query) = match exchange.query {
        Some(query) if options.shows_query() => ("?", query),
        _ => ("", ""),
    };
    let mut digits = itoa::Buffer::new();
    let (credentials, open, host, close, port) = match (authority, &exchange.conn.peer) {
        (Some(authority), _) => (
            if authority.userinfo {
                "REDACTED:REDACTED@"
            } else {
                ""
            },
            "",
            authority.host_literal,
            "",
            authority.port,
        ),
        (None, Endpoint::Tcp(peer)) => {
            let (open, close) = if peer.is_ipv6() { ("[", "]") } else { ("", "") };
            let port = Some(peer.port()).filter(|port| *port != DEFAULT_PORT);
            ("", open, text.format(peer.ip()), close, port)
        }
        (None, Endpoint::Unix(_)) => return,
    };
    let (colon, port) = match port {
        Some(port) => (":", digits.format(port)),
        None => ("", ""),
    };
    let parts = [
        "http://",
        credentials,
        open,
        host,
        close,
        colon,
        port,
        path,
        mark,
        query,
    ];
    string_parts(out, URL_FULL, &parts);
}

fn network(out: &mut Vec<u8>, exchange: &Exchange<'_>, text: &mut IpText) {
    string(out, NETWORK_PROTOCOL_NAME, "http");
    let version = match exchange.protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 | Protocol::Grpc => "2",
    };
    string(out, NETWORK_PROTOCOL_VERSION, version);
    match &exchange.conn.peer {
        Endpoint::Tcp(peer) => {
            string(out, NETWORK_TRANSPORT, "tcp");
            string(out, NETWORK_PEER_ADDRESS, text.format(peer.ip()));
            int(out, NETWORK_PEER_PORT, u64::from(peer.port()));
        }
        Endpoint::Unix(path) => {
            string(out, NETWORK_TRANSPORT, "unix");
            if !path.is_empty() {
                string(out, NETWORK_PEER_ADDRESS, path);
            }
        }
    }
}

/// Lets [`crate::model::exchange::Incomplete::names`] be walked twice: for the lengths and for the bytes.
#[derive(Clone, Copy)]
struct ReasonNames(crate::model::exchange::Incomplete);

impl ReasonNames {
    fn iter(self) -> impl Iterator<Item = &'static str> + Clone {
        let mut names = [""; 16];
        let mut len = 0;
        for (slot, name) in names.iter_mut().zip(self.0.names()) {
            *slot = name;
            len += 1;
        }
        names.into_iter().take(len)
    }
}
