//! Out of the agent: encoding spans as OTLP, and delivering them to a gateway.
//!
//! The ingest thread encodes every span into the open batch of an [`OtlpSink`](sink::OtlpSink)
//! and hands full or old batches to a [`Queue`](crate::delivery::queue::Queue) without ever waiting.
//! One thread of its own ([`Exporter`](exporter::Exporter)) takes batches out and sends them
//! over [gRPC](mod@grpc), [HTTP](mod@http) or into a [file](mod@file), until they are acknowledged or
//! given up. [`ExportCounters`](counters::ExportCounters) know what became of every span.

mod answer;
pub mod batch;
pub mod body;
pub mod breaker;
pub mod compress;
pub mod connect;
pub mod counters;
pub mod deliver;
pub mod exporter;
pub mod file;
mod fit;
pub mod grpc;
mod headers;
pub mod http;
pub mod lane;
mod loan;
pub mod otlp;
pub mod pace;
pub mod probe;
pub mod profiles;
pub mod response;
pub mod retry;
pub mod sink;
pub mod split;
pub mod stream;
pub mod target;
pub mod tls;

use std::time::Duration;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A silent connection is probed this often.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How the agent introduces itself to gateways.
const USER_AGENT: &str = concat!("OTel-OTLP-Exporter-Remora/", env!("CARGO_PKG_VERSION"));

/// How the `User-Agent` of every version begins.
pub(crate) const PRODUCT: &str = "OTel-OTLP-Exporter-Remora/";
