//! What `-o json` prints, exactly: an unknown field or a missing one is a failure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One line of output.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "there is one summary per run")]
pub(crate) enum Line {
    Request(Request),
    Summary(Summary),
}

/// A request as one side saw it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Request {
    pub(crate) start: String,
    pub(crate) duration_ns: u64,
    pub(crate) ttfb_ns: Option<u64>,
    pub(crate) side: Side,
    pub(crate) protocol: String,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) rpc_method: Option<String>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) request_body_bytes: Option<u64>,
    pub(crate) response_body_bytes: Option<u64>,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) comm: String,
    pub(crate) service: String,
    pub(crate) container_id: Option<String>,
    pub(crate) network: String,
    /// Null for the unnamed end of a Unix socket.
    pub(crate) local: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_span_id: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) incomplete: Vec<String>,
}

/// Which end of the connection the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    Server,
    Client,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Summary {
    pub(crate) seen: u64,
    pub(crate) emitted: u64,
    pub(crate) filtered: u64,
    pub(crate) lost: BTreeMap<String, u64>,
}

impl Summary {
    /// Requests lost for any reason.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

impl Request {
    /// Whether the request went to `port`, seen from either side.
    pub(crate) fn to_port(&self, port: u16) -> bool {
        let end = match self.side {
            Side::Server => self.local(),
            Side::Client => self.peer(),
        };
        port_of(end) == Some(port)
    }

    /// This process's end, empty if it has no name.
    pub(crate) fn local(&self) -> &str {
        self.local.as_deref().unwrap_or_default()
    }

    /// The other end, empty if it has no name.
    pub(crate) fn peer(&self) -> &str {
        self.peer.as_deref().unwrap_or_default()
    }

    /// Path, empty if unknown.
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_default()
    }

    /// `(method, path, status, request body, response body)`, all of them known.
    pub(crate) fn facts(&self) -> (&str, &str, u16, u64, u64) {
        (
            self.method.as_deref().unwrap(),
            self.path.as_deref().unwrap(),
            self.status.unwrap_or_else(|| panic!("no status: {self:?}")),
            self.request_body_bytes.unwrap(),
            self.response_body_bytes.unwrap(),
        )
    }
}

fn port_of(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}
