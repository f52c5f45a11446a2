//! OTLP/HTTP against a real server.

use std::time::Duration;

use remora::delivery::export::counters::DropReason;

use crate::receiver::{Answer, Receiver, ids, push, start, to, wait};

const HTTP: &str = "http/protobuf";
const LIMIT: Duration = Duration::from_secs(5);

/// Sends `count` spans as one batch; returns what the counters say at the end.
fn deliver(
    receiver: &Receiver,
    count: u64,
    extra: &[(&str, &str)],
) -> remora::delivery::export::counters::Snapshot {
    let (exporter, mut sink) = start(to(receiver, HTTP, extra));
    push(&mut sink, 1, count);
    let counters = exporter.counters();
    wait(|| {
        let snapshot = counters.snapshot();
        assert!(snapshot.balances(), "{snapshot:?}");
        snapshot.queued == 0
    });
    drop(sink);
    let snapshot = exporter.shutdown(LIMIT);
    assert!(
        snapshot.balances() && snapshot.accepted == count,
        "{snapshot:?}"
    );
    snapshot
}

#[test]
fn spans_arrive_with_the_right_headers() {
    let receiver = Receiver::http(vec![]);
    let snapshot = deliver(
        &receiver,
        100,
        &[(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "X-Key=v1,content-type=text/plain",
        )],
    );
    assert_eq!(snapshot.delivered, 100);
    assert_eq!(ids(&receiver.spans()), (1..=100).collect::<Vec<_>>());
    let [request] = &receiver.received()[..] else {
        panic!("one request")
    };
    assert_eq!(request.path, "/v1/traces");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    assert_eq!(request.headers["x-key"], "v1");
    assert!(
        request.headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("OTel-OTLP-Exporter-Remora/")
    );
    assert!(!request.headers.contains_key("content-encoding"));
    let resource = request.request().resource_spans[0]
        .resource
        .clone()
        .unwrap();
    assert!(
        resource
            .attributes
            .iter()
            .any(|attribute| attribute.key == "service.name")
    );
}

#[test]
fn bodies_are_compressed_when_asked() {
    for coding in ["gzip", "zstd"] {
        let receiver = Receiver::http(vec![]);
        deliver(
            &receiver,
            500,
            &[("OTEL_EXPORTER_OTLP_COMPRESSION", coding)],
        );
        assert_eq!(ids(&receiver.spans()), (1..=500).collect::<Vec<_>>());
        let received = receiver.received();
        assert_eq!(received[0].headers["content-encoding"], coding);
        let length: usize = received[0].headers["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            length * 4 < received[0].body.len(),
            "{coding}: {length} of {}",
            received[0].body.len()
        );
    }
}

#[test]
fn connections_are_kept() {
    let receiver = Receiver::http(vec![]);
    let (exporter, mut sink) = start(to(&receiver, HTTP, &[]));
    for round in 0..10u64 {
        push(&mut sink, round, 1);
        wait(|| exporter.counters().snapshot().delivered == round + 1);
    }
    assert_eq!(*receiver.shared.connections.lock().unwrap(), 1);
}

#[test]
fn busy_gateways_are_tried_again() {
    let retry = |status| Answer::Status(status, vec![]);
    let receiver = Receiver::http(vec![
        retry(429),
        retry(502),
        retry(503),
        retry(504),
        Answer::Close,
    ]);
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!(
        (snapshot.delivered, snapshot.requests, snapshot.retries),
        (10, 6, 5)
    );
    assert_eq!(receiver.spans().len(), 10);
}

#[test]
fn retry_after_is_waited_for() {
    let receiver = Receiver::http(vec![Answer::Status(429, vec![("retry-after", "1")])]);
    deliver(&receiver, 1, &[]);
    let received = receiver.received();
    let pause = received[1].at - received[0].at;
    assert!(
        pause >= Duration::from_millis(995) && pause < Duration::from_millis(1500),
        "{pause:?}"
    );
}

#[test]
fn refused_spans_are_not_sent_again() {
    for status in [400, 401, 404, 500, 301, 408] {
        let receiver = Receiver::http(vec![Answer::Status(status, vec![("retry-after", "1")])]);
        let snapshot = deliver(&receiver, 7, &[]);
        assert_eq!((snapshot.requests, snapshot.delivered), (1, 0), "{status}");
        assert_eq!(snapshot.dropped_for(DropReason::Rejected), 7, "{status}");
    }
}

#[test]
fn partial_success_is_counted_and_not_repeated() {
    let receiver = Receiver::http(vec![Answer::Partial(3, "bad spans")]);
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!((snapshot.delivered, snapshot.requests), (7, 1));
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 3);
    for hostile in [i64::MIN, -1, i64::MAX] {
        let receiver = Receiver::http(vec![Answer::Partial(hostile, "")]);
        assert!(deliver(&receiver, 10, &[]).balances());
    }
}

#[test]
fn answers_that_make_no_sense_are_still_success() {
    let receiver = Receiver::http(vec![Answer::Garbage]);
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!((snapshot.delivered, snapshot.requests), (10, 1));
}

#[test]
fn too_large_requests_are_split_until_they_fit() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Limit(6000));
    let snapshot = deliver(&receiver, 101, &[]);
    assert_eq!(snapshot.delivered, 101);
    assert_eq!(ids(&receiver.spans()), (1..=101).collect::<Vec<_>>());
    let sizes: Vec<usize> = receiver
        .received()
        .iter()
        .map(|request| request.body.len())
        .collect();
    assert!(
        sizes.iter().filter(|size| **size <= 6000).count() > 10,
        "{sizes:?}"
    );
}

#[test]
fn a_span_that_is_too_large_alone_is_rejected() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Limit(10));
    let snapshot = deliver(&receiver, 5, &[]);
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 5);
    // 5, 2, and one of them; what is as large as that one is not asked for again.
    assert!((3..=7).contains(&snapshot.requests), "{snapshot:?}");
}

#[test]
fn silent_gateways_are_given_a_time() {
    let receiver = Receiver::http(vec![Answer::Hang]);
    let snapshot = deliver(&receiver, 10, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "200")]);
    assert_eq!((snapshot.delivered, snapshot.requests), (10, 2));
    let received = receiver.received();
    assert!(received[1].at - received[0].at >= Duration::from_millis(195));
}

#[test]
fn attempts_end_after_the_export_timeout() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Status(503, vec![]));
    let snapshot = deliver(&receiver, 10, &[("OTEL_BSP_EXPORT_TIMEOUT", "300")]);
    assert_eq!(snapshot.dropped_for(DropReason::RetryExhausted), 10);
    assert!(snapshot.requests > 3, "{snapshot:?}");
}

#[test]
fn servers_that_do_not_speak_http() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(3) {
            use std::io::Write;
            let _ = stream.unwrap().write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    let settings = crate::receiver::settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_BSP_EXPORT_TIMEOUT", "5000"),
    ]);
    let (exporter, mut sink) = start(settings);
    push(&mut sink, 1, 1);
    wait(|| exporter.counters().snapshot().retries >= 3);
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_millis(10));
    assert_eq!(snapshot.dropped_for(DropReason::Shutdown), 1);
    server.join().unwrap();
}
