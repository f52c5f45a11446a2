//! The test export of `remora doctor`.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use remora::config::otel::OtlpSettings;
use remora::delivery::export::exporter::Destination;
use remora::delivery::export::probe::probe;

use crate::receiver::{Answer, Receiver, settings, to};

const LIMIT: Duration = Duration::from_secs(1);

fn gateway(receiver: &Receiver, protocol: &str) -> OtlpSettings {
    match to(receiver, protocol, &[]).destination {
        Destination::Gateway(settings) => settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_without_spans_tells_what_a_gateway_thinks_of_the_settings() {
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = |script| match protocol {
            "grpc" => Receiver::grpc(script),
            _ => Receiver::http(script),
        };
        let good = receiver(vec![]);
        assert_eq!(probe(&gateway(&good, protocol), LIMIT), Ok(()));
        let received = good.received();
        assert_eq!(received.len(), 1, "{protocol}");
        assert!(received[0].body.is_empty(), "{protocol}");

        let guarded = receiver(vec![]);
        guarded.otherwise(Answer::Wants("Bearer right".into()));
        let refused = probe(&gateway(&guarded, protocol), LIMIT).unwrap_err();
        assert!(!refused.is_empty(), "{protocol}");

        let slow = receiver(vec![Answer::Hang]);
        let begun = Instant::now();
        let late = probe(&gateway(&slow, protocol), LIMIT).unwrap_err();
        assert_eq!(late, "no answer within 1 s", "{protocol}");
        assert!(begun.elapsed() < 5 * LIMIT, "{protocol}");
    }
}

/// Whoever answers 200 is not a gateway yet.
#[test]
fn an_answer_that_is_not_of_otlp_is_told() {
    for (head, body, good) in [
        ("Content-Type: text/plain", "hello", false),
        ("Content-Type: text/html; charset=utf-8", "<html>", false),
        (
            "Content-Type: application/json",
            "{\"status\":\"ok\"}",
            false,
        ),
        ("Content-Type: application/json", "[]", false),
        ("Content-Type: application/x-protobuf", "hello", false),
        ("X-Nothing: known", "hello", false),
        ("X-Nothing: known", "", true),
        ("Content-Type: application/x-protobuf", "", true),
        (
            "Content-Type: application/x-protobuf",
            "\n\u{2}\u{8}\u{3}",
            true,
        ),
        ("Content-Type: text/plain", "", true),
        (
            "Content-Type: application/json",
            "{\"partialSuccess\":{}}",
            true,
        ),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let len = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {len}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let Destination::Gateway(settings) =
            settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]).destination
        else {
            panic!("a gateway");
        };
        let answer = probe(&settings, LIMIT);
        assert_eq!(answer.is_ok(), good, "{head} {body:?}: {answer:?}");
        let said = answer.err().unwrap_or_default();
        assert!(
            good || said.ends_with("not the answer of an OTLP gateway"),
            "{said}"
        );
        server.join().unwrap();
    }
}
