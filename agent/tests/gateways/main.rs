//! Gateways of others: what the exporter sends to them is what comes out of them.
//!
//! The OpenTelemetry Collector (`REMORA_TEST_COLLECTOR`, built by `cargo xtask peer collector`)
//! with the components that gateways are made of, and rotel (`REMORA_TEST_ROTEL`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "../support/collector.rs"]
mod collector;
mod credentials;
mod metrics;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/ports.rs"]
mod ports;
mod pressure;
mod profiles;
#[path = "../export/receiver.rs"]
#[allow(dead_code, reason = "the other half of it is for the export tests")]
mod receiver;
mod rotel;
#[path = "../export/sample.rs"]
#[allow(dead_code, reason = "as above")]
mod sample;
#[path = "../support/profile.rs"]
mod sample_profile;
mod spans;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use remora::delivery::export::otlp::Encoder;

/// Whether nothing may be skipped.
fn all() -> bool {
    std::env::var_os("REMORA_TEST_ALL").is_some_and(|all| all == "1")
}

/// A request with the span of the sample.
fn encoded() -> ExportTraceServiceRequest {
    let settings = receiver::settings(&[]);
    let mut encoder = Encoder::new(settings.span, settings.host);
    encoder.push(&sample::server().exchange());
    Message::decode(encoder.seal().unwrap().body).unwrap()
}

fn sorted(resource: Option<Resource>) -> Resource {
    let mut resource = resource.expect("a resource");
    resource.attributes.sort_by(|a, b| a.key.cmp(&b.key));
    resource
}
