//! A Collector that refuses because its memory is full, and what it answers when it refuses.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use serde_json::{Value, json};

use crate::collector::{self, Collector, binary, config, process};
use crate::encoded;
use crate::receiver::{ids, push, settings, start, wait};

/// Status and body of the answer to one span over HTTP.
pub(crate) fn ask_http(address: SocketAddr, token: Option<&str>) -> (u16, String) {
    use http_body_util::{BodyExt, Full};
    use prost::Message;
    let body = encoded().encode_to_vec();
    let mut request = hyper::Request::post("/v1/traces")
        .header("host", address.to_string())
        .header("content-type", "application/x-protobuf");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    })
}

/// The answer to one span over gRPC.
pub(crate) fn ask_grpc(address: SocketAddr, token: Option<&str>) -> Result<(), tonic::Status> {
    runtime().block_on(async {
        let client = TraceServiceClient::connect(format!("http://{address}")).await;
        let mut request = tonic::Request::new(encoded());
        if let Some(token) = token {
            let token = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", token);
        }
        client.unwrap().export(request).await.map(|_| ())
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A limit of memory, looked at twenty times a second, collecting garbage whenever it is above.
fn limited(dir: &Path, limit: u32, spike: u32, then: &[(&str, Value)]) -> Value {
    let mut config = config(dir);
    let limiter = json!({
        "check_interval": "50ms", "limit_mib": limit, "spike_limit_mib": spike,
        "min_gc_interval_when_soft_limited": "0s", "min_gc_interval_when_hard_limited": "0s",
    });
    let mut processors = vec![("memory_limiter", limiter)];
    processors.extend_from_slice(then);
    process(&mut config, &processors);
    config
}

/// 503 and UNAVAILABLE: both may be sent again.
#[test]
fn what_it_answers_without_memory() {
    let Some(binary) = binary() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = Collector::start(&binary, dir.path(), &limited(dir.path(), 2, 1, &[]));
    wait(|| gateway.log().contains("Refusing data"));
    let words = "data refused due to high memory usage";
    let (status, message) = ask_http(gateway.http, None);
    assert_eq!((status, message.contains(words)), (503, true), "{message}");
    let status = ask_grpc(gateway.grpc, None).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(status.message(), words);
    assert!(status.details().is_empty(), "no RetryInfo: {status:?}");
}

/// Traces wait in its memory for a second before they are decided on: that fills it, and it has
/// room again when they are written.
#[test]
fn what_it_refuses_comes_later_and_once() {
    let Some(binary) = binary() else { return };
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let all = json!({"name": "all", "type": "always_sample"});
        let tail = json!({"decision_wait": "1s", "num_traces": 1000, "policies": [all]});
        let config = limited(dir.path(), 200, 176, &[("tail_sampling", tail)]);
        let gateway = Collector::start(&binary, dir.path(), &config);
        let url = gateway.url(protocol);
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]));
        let counters = exporter.counters();
        let (mut made, mut refused) = (0, 0);
        while refused == 0 {
            assert!(made < 200_000, "it takes everything: {}", gateway.log());
            push(&mut sink, made + 1, 500);
            made += 500;
            // No faster than it takes them, until it takes none.
            wait(|| {
                let now = counters.snapshot();
                refused = now.retries;
                now.queued < 5000 || refused > 0
            });
        }
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(25));
        assert_eq!((end.delivered, end.dropped_total()), (made, 0), "{end:?}");
        let log = gateway.log();
        assert!(log.contains("Refusing data"), "{log}");
        // What waits for its decision when it ends may be lost: a surprise of its own.
        wait(|| collector::spans(dir.path()).len() as u64 >= made);
        gateway.stop();
        let spans = collector::spans(dir.path());
        assert_eq!(ids(&spans), (1..=made).collect::<Vec<_>>(), "{protocol}");
        println!("{protocol}: {made} spans, {} sent again", end.retries);
    }
}
