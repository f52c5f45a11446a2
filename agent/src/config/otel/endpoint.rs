//! `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin.

use std::path::PathBuf;

use http::Uri;

use super::Protocol;
use super::values::Reader;
use crate::config::proxy::Proxies;
use crate::model::telemetry::Signal;

/// Where requests go.
pub(super) struct Place {
    pub(super) endpoint: Uri,
    pub(super) socket: Option<PathBuf>,
}

impl From<Uri> for Place {
    fn from(endpoint: Uri) -> Self {
        Self {
            endpoint,
            socket: None,
        }
    }
}

/// The place requests of a signal go to. A mistake is reported and gives the default.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    name: &str,
    generic: bool,
    signal: Signal,
    protocol: Protocol,
    insecure: bool,
) -> Place {
    let Some(text) = reader.text(name) else {
        return default(signal, protocol).into();
    };
    let resolved = match (unix(&text, signal, protocol), protocol) {
        (Some(place), _) => place,
        (None, Protocol::Grpc) => grpc(&text, insecure).map(Place::from),
        (None, Protocol::HttpProtobuf) => {
            http(&text, generic.then(|| signal.http_path())).map(Place::from)
        }
    };
    resolved.unwrap_or_else(|(problem, fix)| {
        reader.mistake(name, problem, fix);
        default(signal, protocol).into()
    })
}

/// A further gateway: a URL as `OTEL_EXPORTER_OTLP_ENDPOINT` takes it.
pub(super) fn further(text: &str, signal: Signal, protocol: Protocol) -> Result<Place, Wrong> {
    match (unix(text, signal, protocol), protocol) {
        (Some(place), _) => place,
        (None, Protocol::Grpc) => grpc(text, false).map(Place::from),
        (None, Protocol::HttpProtobuf) => http(text, Some(signal.http_path())).map(Place::from),
    }
}

/// What is wrong with a variable of a proxy.
pub(super) const PROXY: Wrong = (
    "not the URL of a proxy that speaks HTTP",
    "write it as http://host:3128, or name the gateway in NO_PROXY",
);

/// The proxies; the names in capitals come first.
pub(super) fn proxies(reader: &Reader<'_>) -> Proxies {
    let first = |names: [&'static str; 2]| {
        let mut set = names
            .into_iter()
            .filter_map(|name| Some((name, reader.text(name)?)));
        set.next().unwrap_or_default()
    };
    Proxies {
        http: first(["HTTP_PROXY", "http_proxy"]),
        https: first(["HTTPS_PROXY", "https_proxy"]),
        all: first(["ALL_PROXY", "all_proxy"]),
        no: first(["NO_PROXY", "no_proxy"]),
    }
}

/// Longest path of a Unix socket, bytes (unix(7): 108 with the zero behind it).
const MAX_SOCKET_PATH: usize = 107;

/// `unix:///path` or `unix:/path`, as gRPC writes it. There is no room for a path of HTTP.
fn unix(text: &str, signal: Signal, protocol: Protocol) -> Option<Result<Place, Wrong>> {
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.ends_with('/') {
        return Some(Err((
            "not the path of a socket from the root on",
            "write it as unix:///run/otel.sock",
        )));
    }
    if path.len() > MAX_SOCKET_PATH {
        return Some(Err((
            "longer than the path of a socket can be",
            "use a path of 107 bytes at most",
        )));
    }
    let endpoint = match protocol {
        Protocol::Grpc => parse("http://localhost"),
        Protocol::HttpProtobuf => parse(&format!("http://localhost/{}", signal.http_path())),
    };
    Some(endpoint.map(|endpoint| Place {
        endpoint,
        socket: Some(path.into()),
    }))
}

fn default(signal: Signal, protocol: Protocol) -> Uri {
    match (protocol, signal) {
        (Protocol::Grpc, _) => Uri::from_static("http://localhost:4317"),
        (_, Signal::Traces) => Uri::from_static("http://localhost:4318/v1/traces"),
        (_, Signal::Metrics) => Uri::from_static("http://localhost:4318/v1/metrics"),
        (_, Signal::Profiles) => Uri::from_static("http://localhost:4318/v1development/profiles"),
    }
}

/// Problem and fix.
pub(super) type Wrong = (&'static str, &'static str);

const EXAMPLE: &str = "write it as http://host:4318, https://host:4318 or unix:///path";

fn grpc(text: &str, insecure: bool) -> Result<Uri, Wrong> {
    // Only an endpoint without scheme is subject to INSECURE.
    let text = match (text.contains("://"), insecure) {
        (true, _) => text.to_owned(),
        (false, true) => format!("http://{text}"),
        (false, false) => format!("https://{text}"),
    };
    let uri = parse(&text)?;
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err((
            "a gRPC endpoint has no path",
            "remove the path, or set the protocol to http/protobuf",
        ));
    }
    Ok(uri)
}

fn http(text: &str, append: Option<&str>) -> Result<Uri, Wrong> {
    if !text.contains("://") {
        return Err(("a scheme is missing", EXAMPLE));
    }
    let uri = parse(text)?;
    let Some(append) = append else { return Ok(uri) };
    if uri.query().is_some() {
        return Err((
            "a path is appended to this URL, it cannot have a query",
            "remove the query, or set the signal's own ENDPOINT",
        ));
    }
    let slash = if text.ends_with('/') { "" } else { "/" };
    parse(&format!("{text}{slash}{append}"))
}

fn parse(text: &str) -> Result<Uri, Wrong> {
    if text.contains('#') {
        return Err(("a fragment has no meaning here", "remove it"));
    }
    let uri: Uri = text.parse().map_err(|_| ("not a URL", EXAMPLE))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(("neither http nor https", EXAMPLE));
    }
    let authority = uri.authority().ok_or(("the host is missing", EXAMPLE))?;
    if authority.as_str().contains('@') {
        return Err((
            "credentials in the URL would end up in logs",
            "put them into HEADERS: Authorization=Basic%20...",
        ));
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err(("the host is missing", EXAMPLE));
    }
    let colon = authority
        .as_str()
        .strip_prefix(authority.host())
        .is_some_and(|rest| !rest.is_empty());
    if colon && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(("not a valid port", "use a port from 1 to 65535"));
    }
    Ok(uri)
}
