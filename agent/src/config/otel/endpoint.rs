//! `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin.

use http::Uri;

use super::Protocol;
use super::values::Reader;
use crate::export::batch::Signal;

/// The URL requests of a signal go to. A mistake is reported and gives the default.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    name: &str,
    generic: bool,
    signal: Signal,
    protocol: Protocol,
    insecure: bool,
) -> Uri {
    let resolved = match reader.text(name) {
        None => return default(signal, protocol),
        Some(text) => match protocol {
            Protocol::Grpc => grpc(&text, insecure),
            Protocol::HttpProtobuf => http(&text, generic.then(|| signal.http_path())),
        },
    };
    resolved.unwrap_or_else(|(problem, fix)| {
        reader.mistake(name, problem, fix);
        default(signal, protocol)
    })
}

/// A further gateway: a URL as `OTEL_EXPORTER_OTLP_ENDPOINT` takes it.
pub(super) fn further(text: &str, signal: Signal, protocol: Protocol) -> Result<Uri, Wrong> {
    match protocol {
        Protocol::Grpc => grpc(text, false),
        Protocol::HttpProtobuf => http(text, Some(signal.http_path())),
    }
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

const EXAMPLE: &str = "write it as http://host:4318 or https://host:4318";

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
