//! Spans: each once, as it was sent, over both protocols, compressed or not, in pieces, through
//! batches and tail sampling.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;

use crate::collector::{self, Collector, binary, config, process, receive};
use crate::receiver::{ids, push, settings, start};
use crate::{encoded, sample, sorted};

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// Sends spans with ids from `first`, and waits until all of them are taken.
fn deliver(gateway: &Collector, protocol: &str, extra: &[(&str, &str)], first: u64, count: u64) {
    let url = gateway.url(protocol);
    let mut pairs = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ];
    pairs.extend(extra);
    let (exporter, mut sink) = start(settings(&pairs));
    push(&mut sink, first, count);
    drop(sink);
    let end = exporter.shutdown(Duration::from_secs(20));
    assert_eq!((end.accepted, end.delivered), (count, count), "{end:?}");
}

/// Every span of the file is the sample, but for its id.
fn as_sent(spans: &[Span]) {
    let expected = &encoded().resource_spans[0].scope_spans[0].spans[0];
    for span in spans {
        let mut span = span.clone();
        span.span_id.clone_from(&expected.span_id);
        assert_eq!(span, *expected);
    }
    assert_eq!(expected.trace_state, "vendor=value,ot=th:8");
}

#[test]
fn every_span_comes_once_and_as_it_was_sent() {
    let Some(binary) = binary() else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = Collector::start(&binary, dir.path(), &config(dir.path()));
    let mut first = 1;
    for protocol in PROTOCOLS {
        for compression in ["none", "gzip", "zstd"] {
            let extra = [("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
            deliver(&gateway, protocol, &extra, first, 2000);
            first += 2000;
        }
    }
    gateway.stop();
    let spans = collector::spans(dir.path());
    assert_eq!(ids(&spans), (1..first).collect::<Vec<_>>());
    as_sent(&spans);
    let ours = &encoded().resource_spans[0];
    for group in collector::groups(dir.path()) {
        assert_eq!(sorted(group.resource), sorted(ours.resource.clone()));
        assert_eq!(group.schema_url, ours.schema_url);
        assert_eq!(group.scope_spans[0].scope, ours.scope_spans[0].scope);
    }
}

/// A limit of the receiver below what the exporter sends: its requests are cut until they fit.
#[test]
fn what_is_too_large_for_it_comes_in_pieces() {
    let Some(binary) = binary() else { return };
    for (protocol, limit) in [
        ("grpc", ("max_recv_msg_size_mib", json!(1))),
        // It answers 400 to what is larger, not 413.
        ("http/protobuf", ("max_request_body_size", json!(100_000))),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let side = protocol.split('/').next().unwrap();
        config["receivers"]["otlp"]["protocols"][side][limit.0] = limit.1;
        let gateway = Collector::start(&binary, dir.path(), &config);
        let large = ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8000");
        // Its limit is one of what it unpacks.
        let gzip = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        deliver(&gateway, protocol, &[large], 1, 8000);
        deliver(&gateway, protocol, &[large, gzip], 8001, 8000);
        gateway.stop();
        let spans = collector::spans(dir.path());
        assert_eq!(ids(&spans), (1..=16_000).collect::<Vec<_>>(), "{protocol}");
        let requests = collector::lines(dir.path()).len();
        assert!(requests > 2, "{protocol}: nothing was cut: {requests}");
    }
}

/// Traces of three spans in two requests each; what is decided holds for the whole trace, and
/// says of the kept ones what sampling before has said.
#[test]
fn tail_sampling_and_batches_leave_state_and_flags() {
    let Some(binary) = binary() else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let errors = json!({"name": "errors", "type": "status_code",
        "status_code": {"status_codes": ["ERROR"]}});
    let tail = json!({"decision_wait": "1s", "num_traces": 10_000, "policies": [errors]});
    let batch = json!({"send_batch_size": 100, "timeout": "100ms"});
    process(&mut config, &[("tail_sampling", tail), ("batch", batch)]);
    let gateway = Collector::start(&binary, dir.path(), &config);
    let mut expected: BTreeMap<Vec<u8>, (String, u32)> = BTreeMap::new();
    for protocol in PROTOCOLS {
        let url = gateway.url(protocol);
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]));
        let base = if protocol == "grpc" { 0 } else { 100_000u64 };
        for part in 0..3u64 {
            for trace in 0..600 {
                let mut span = sample::server();
                let failed = trace % 3 == 0;
                span.trace_id =
                    (u128::from(base + trace + 1) << 64 | 0x00e0_7000_1234_5678).to_be_bytes();
                span.span_id = (base * 10 + trace * 3 + part + 1).to_be_bytes();
                span.status = Some(if failed && part == 1 { 503 } else { 200 });
                let state = format!(
                    "ot=th:{:x};rv:ffffffffffff{trace:02x},v={part}",
                    trace % 15 + 1
                );
                span.state = Some(state.replace("rv:ffffffffffff", "rv:fffffffffff"));
                span.flags = if trace % 2 == 0 { 1 } else { 3 };
                if failed {
                    let state = span.state.clone().unwrap();
                    expected.insert(span.span_id.to_vec(), (state, u32::from(span.flags)));
                }
                remora::model::exchange::Sink::exchange(&mut sink, &span.exchange());
            }
            sink.flush();
        }
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(20));
        assert_eq!((end.delivered, end.dropped_total()), (1800, 0), "{end:?}");
    }
    // Kept traces are passed on when their time has come; what is open at the end is decided then.
    crate::receiver::wait(|| collector::spans(dir.path()).len() >= expected.len());
    gateway.stop();
    let spans = collector::spans(dir.path());
    assert_eq!(spans.len(), expected.len());
    for span in &spans {
        let (state, flags) = &expected[&span.span_id];
        assert_eq!((&span.trace_state, span.flags & 0xff), (state, *flags));
    }
    let lines = collector::lines(dir.path());
    assert!(
        lines.len() < spans.len() / 50,
        "batches of 100: {}",
        lines.len()
    );
}

/// It ends and comes back on its ports while spans are made all the time.
#[test]
fn a_restart_under_load_loses_and_doubles_nothing() {
    let Some(binary) = binary() else { return };
    for protocol in PROTOCOLS {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        process(&mut config, &[("batch", json!({"timeout": "100ms"}))]);
        for side in ["grpc", "http"] {
            let address = crate::receiver::free_address().to_string();
            config["receivers"]["otlp"]["protocols"][side]["endpoint"] = json!(address);
        }
        let mut gateway = Collector::start(&binary, dir.path(), &config);
        let url = gateway.url(protocol);
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]));
        let counters = exporter.counters();
        let (mut made, mut lives) = (0, 1);
        loop {
            push(&mut sink, made + 1, 50);
            made += 50;
            std::thread::sleep(Duration::from_millis(2));
            let now = counters.snapshot();
            if lives == 4 && now.delivered > made / 2 {
                break;
            }
            // Each life takes something, and something waits for the next one.
            if lives < 4 && now.delivered >= lives * 3000 {
                gateway.stop();
                let (before, retries) = (made, counters.snapshot().retries);
                while counters.snapshot().retries == retries || made < before + 1000 {
                    push(&mut sink, made + 1, 50);
                    made += 50;
                    std::thread::sleep(Duration::from_millis(2));
                }
                gateway = Collector::start(&binary, dir.path(), &config);
                lives += 1;
            }
        }
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(20));
        assert_eq!((end.delivered, end.accepted), (made, made), "{end:?}");
        gateway.stop();
        let spans = collector::spans(dir.path());
        assert_eq!(ids(&spans), (1..=made).collect::<Vec<_>>(), "{protocol}");
        as_sent(&spans);
    }
}

/// The agent trusts an authority of its own, the Collector only agents that the same one knows.
#[test]
fn private_authorities_on_both_sides() {
    let Some(binary) = binary() else { return };
    let (known, stranger) = (crate::pki::pki(), crate::pki::pki());
    let (dir, strange) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [ca, certificate, key] = known.write(dir.path());
    let [server, server_key] = known.write_server(dir.path());
    let [_, other_certificate, other_key] = stranger.write(strange.path());
    let mut config = config(dir.path());
    let tls = json!({"cert_file": server, "key_file": server_key, "client_ca_file": ca});
    receive(&mut config, "tls", &tls);
    let gateway = Collector::start(&binary, dir.path(), &config);
    for (protocol, first) in [("grpc", 1), ("http/protobuf", 1001)] {
        let url = gateway.url(protocol).replace("http://", "https://");
        let with = |certificate: &str, key: &str| {
            start(settings(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key),
            ]))
        };
        let (exporter, mut sink) = with(&other_certificate, &other_key);
        push(&mut sink, 5000, 10);
        crate::receiver::wait(|| exporter.counters().snapshot().retries >= 2);
        drop(sink);
        assert_eq!(exporter.shutdown(Duration::from_millis(10)).delivered, 0);
        let (exporter, mut sink) = with(&certificate, &key);
        push(&mut sink, first, 1000);
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(20));
        assert_eq!(end.delivered, 1000, "{end:?}");
    }
    gateway.stop();
    let spans = collector::spans(dir.path());
    assert_eq!(ids(&spans), (1..=2000).collect::<Vec<_>>());
}
