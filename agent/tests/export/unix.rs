//! Gateways on Unix sockets.

use std::path::Path;
use std::time::Duration;

use crate::receiver::{Receiver, ids, push, settings, start, wait};

fn receiver(protocol: &str, path: &Path) -> Receiver {
    match protocol {
        "grpc" => Receiver::grpc_unix(path),
        _ => Receiver::http_unix(path),
    }
}

#[test]
fn spans_arrive_over_unix_sockets() {
    for protocol in ["grpc", "http/protobuf"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let receiver = receiver(protocol, &path);
        for (scheme, variable) in [
            ("unix://", "OTEL_EXPORTER_OTLP_ENDPOINT"),
            ("unix:", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        ] {
            receiver.reset(vec![]);
            let endpoint = format!("{scheme}{}", path.display());
            let settings = settings(&[
                (variable, endpoint.as_str()),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                // Not for what is on this host.
                ("ALL_PROXY", "http://127.0.0.1:1"),
            ]);
            assert_eq!(
                settings.destination.to_string(),
                format!("unix:{}", path.display())
            );
            let (exporter, mut sink) = start(settings);
            push(&mut sink, 1, 100);
            wait(|| exporter.counters().snapshot().delivered == 100);
            assert_eq!(ids(&receiver.spans()), (1..=100).collect::<Vec<_>>());
            let received = receiver.received();
            if protocol != "grpc" {
                assert_eq!(received[0].path, "/v1/traces");
                assert_eq!(received[0].headers["host"], "localhost");
            }
        }
    }
}

#[test]
fn a_socket_that_comes_later_and_goes() {
    for protocol in ["grpc", "http/protobuf"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.sock");
        let endpoint = format!("unix://{}", path.display());
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]));
        push(&mut sink, 1, 1);
        wait(|| exporter.counters().snapshot().retries >= 2);
        let first = receiver(protocol, &path);
        wait(|| exporter.counters().snapshot().delivered == 1);
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = receiver(protocol, &path);
        push(&mut sink, 2, 1);
        wait(|| exporter.counters().snapshot().delivered == 2);
        assert_eq!(ids(&second.spans()), [2]);
        drop(sink);
        exporter.shutdown(Duration::from_secs(1));
    }
}
