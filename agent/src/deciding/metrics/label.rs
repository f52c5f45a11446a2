//! The attributes of series, in the words of the semantic conventions.

use super::active::ActiveKey;
use super::key::Key;
use crate::model::exchange::Side;
use crate::pairing::proto::grpc;

/// The attributes of a series, in the words of OTLP.
pub(super) fn labels<'a>(key: &'a Key) -> Vec<(&'static str, Label<'a>)> {
    if key.overflow {
        return vec![("otel.metric.overflow", Label::True)];
    }
    let mut labels = Vec::with_capacity(8);
    let mut text = |name, value: Option<&'a str>| {
        if let Some(value) = value {
            labels.push((name, Label::Text(value)));
        }
    };
    if key.rpc {
        text("rpc.system.name", Some("grpc"));
        text("rpc.method", key.text.as_deref());
        text("rpc.response.status_code", key.status.map(grpc_status));
    } else {
        text("http.request.method", Some(&*key.method));
        match key.side {
            Side::Server => text("http.route", key.text.as_deref()),
            Side::Client => text("url.template", key.text.as_deref()),
        }
        text("url.scheme", Some("http"));
        text("network.protocol.version", Some(key.version));
    }
    text("error.type", key.error.as_deref());
    text(
        "server.address",
        key.server.as_ref().map(|(name, _)| &**name),
    );
    if let Some(status) = key.status.filter(|_| !key.rpc) {
        labels.push(("http.response.status_code", Label::Number(status.into())));
    }
    if let Some((_, Some(port))) = key.server {
        labels.push(("server.port", Label::Number(port.into())));
    }
    labels
}

/// The value of an attribute.
pub(super) enum Label<'a> {
    Text(&'a str),
    Number(i64),
    True,
}

/// The attributes of a count of active requests.
pub(super) fn active_labels(key: &ActiveKey) -> Vec<(&'static str, Label<'_>)> {
    vec![
        ("http.request.method", Label::Text(&key.method)),
        ("url.scheme", Label::Text("http")),
    ]
}

/// The name of a `grpc-status`; one that gRPC does not know counts as UNKNOWN.
fn grpc_status(status: u32) -> &'static str {
    grpc::status_name(status).unwrap_or("UNKNOWN")
}
