//! OTLP/gRPC against a real server.

use std::time::Duration;

use prost::Message;
use remora::delivery::export::counters::{DropReason, Snapshot};
use remora::delivery::export::response::{Any, ProtoDuration, RetryInfo, RpcStatus};
use tonic::{Code, Status};

use crate::receiver::{Answer, Receiver, free_address, ids, push, settings, start, to, wait};

fn deliver(receiver: &Receiver, count: u64, extra: &[(&str, &str)]) -> Snapshot {
    let (exporter, mut sink) = start(to(receiver, "grpc", extra));
    push(&mut sink, 1, count);
    let counters = exporter.counters();
    wait(|| {
        let snapshot = counters.snapshot();
        assert!(snapshot.balances(), "{snapshot:?}");
        snapshot.queued == 0
    });
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_secs(5));
    assert!(
        snapshot.balances() && snapshot.accepted == count,
        "{snapshot:?}"
    );
    snapshot
}

#[test]
fn spans_arrive_with_metadata() {
    let receiver = Receiver::grpc(vec![]);
    let snapshot = deliver(
        &receiver,
        100,
        &[("OTEL_EXPORTER_OTLP_HEADERS", "X-Key=v1")],
    );
    assert_eq!((snapshot.delivered, snapshot.requests), (100, 1));
    assert_eq!(ids(&receiver.spans()), (1..=100).collect::<Vec<_>>());
    let received = receiver.received();
    assert_eq!(received[0].headers["x-key"], "v1");
    assert!(
        received[0].headers["user-agent"]
            .to_str()
            .unwrap()
            .starts_with("OTel-OTLP-Exporter-Remora/")
    );
    assert!(received[0].headers.contains_key("grpc-timeout"));
}

#[test]
fn large_batches_compressed() {
    for coding in ["gzip", "zstd"] {
        let receiver = Receiver::grpc(vec![]);
        let variable = ("OTEL_EXPORTER_OTLP_COMPRESSION", coding);
        let snapshot = deliver(&receiver, 4096, &[variable]);
        assert_eq!((snapshot.delivered, snapshot.requests), (4096, 1));
        assert_eq!(receiver.received()[0].headers["grpc-encoding"], coding);
        assert_eq!(ids(&receiver.spans()), (1..=4096).collect::<Vec<_>>());
    }
}

#[test]
fn retryable_codes_are_tried_again() {
    let codes = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    let receiver = Receiver::grpc(
        codes
            .map(|code| Answer::Grpc(Status::new(code, "busy")))
            .into(),
    );
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!((snapshot.delivered, snapshot.requests), (10, 7));
}

#[test]
fn other_codes_are_final() {
    for code in [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::Unimplemented,
        Code::Unknown,
        Code::Internal,
    ] {
        let receiver = Receiver::grpc(vec![Answer::Grpc(Status::new(code, "no"))]);
        let snapshot = deliver(&receiver, 10, &[]);
        assert_eq!(snapshot.requests, 1, "{code:?}");
        assert_eq!(snapshot.dropped_for(DropReason::Rejected), 10, "{code:?}");
    }
}

/// It may mean too large: the smallest part is asked, and if that is taken, so is the rest.
#[test]
fn too_large_is_told_without_its_words() {
    for (code, words) in [
        (Code::ResourceExhausted, "no"),
        (
            Code::ResourceExhausted,
            "message size 9 is greater than configured",
        ),
        (Code::OutOfRange, "size limit, of 9 bytes, exceeded"),
    ] {
        let refusal = Answer::Grpc(Status::new(code, words));
        // OUT_OF_RANGE may pass, and is sent once more as it is.
        let passing = usize::from(code == Code::OutOfRange);
        let receiver = Receiver::grpc(vec![refusal; 1 + passing]);
        let snapshot = deliver(&receiver, 10, &[]);
        assert_eq!(snapshot.delivered, 10, "{code:?}");
        assert_eq!(snapshot.requests, 4 + passing as u64, "{code:?}");
        assert_eq!(ids(&receiver.spans()), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn a_quota_costs_a_few_requests_and_is_counted() {
    let receiver = Receiver::grpc(vec![]);
    receiver.otherwise(Answer::Grpc(Status::new(Code::ResourceExhausted, "quota")));
    let snapshot = deliver(&receiver, 200, &[]);
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 200);
    assert!(snapshot.requests < 12, "{snapshot:?}");
}

#[test]
fn resource_exhausted_with_retry_info_is_waited_for() {
    let info = RetryInfo {
        retry_delay: Some(ProtoDuration {
            seconds: 0,
            nanos: 400_000_000,
        }),
    };
    let details = vec![Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: info.encode_to_vec(),
    }];
    let details = RpcStatus {
        code: 8,
        message: "slow down".into(),
        details,
    }
    .encode_to_vec();
    let status = Status::with_details(Code::ResourceExhausted, "slow down", details.into());
    let receiver = Receiver::grpc(vec![Answer::Grpc(status)]);
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!((snapshot.delivered, snapshot.requests), (10, 2));
    let received = receiver.received();
    let pause = received[1].at - received[0].at;
    assert!(
        pause >= Duration::from_millis(395) && pause < Duration::from_millis(900),
        "{pause:?}"
    );
}

#[test]
fn partial_success() {
    let receiver = Receiver::grpc(vec![Answer::Partial(4, "too old")]);
    let snapshot = deliver(&receiver, 10, &[]);
    assert_eq!((snapshot.delivered, snapshot.requests), (6, 1));
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 4);
}

#[test]
fn too_large_requests_are_split() {
    let receiver = Receiver::grpc(vec![]);
    receiver.otherwise(Answer::Limit(20_000));
    let snapshot = deliver(&receiver, 200, &[]);
    assert_eq!(snapshot.delivered, 200);
    assert_eq!(ids(&receiver.spans()), (1..=200).collect::<Vec<_>>());
}

#[test]
fn silent_gateways_are_given_a_time() {
    let receiver = Receiver::grpc(vec![Answer::Hang]);
    let snapshot = deliver(&receiver, 10, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]);
    assert_eq!(snapshot.delivered, 10);
    assert!(snapshot.requests >= 2);
}

#[test]
fn a_gateway_that_comes_up_later() {
    let address = free_address();
    let endpoint = format!("http://{address}");
    let (exporter, mut sink) = start(settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]));
    push(&mut sink, 1, 10);
    wait(|| exporter.counters().snapshot().retries >= 2);
    let receiver = Receiver::grpc_at(address);
    wait(|| exporter.counters().snapshot().delivered == 10);
    assert_eq!(receiver.spans().len(), 10);
}

#[test]
fn servers_that_close_or_do_not_speak_http2() {
    for greeting in [
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                use std::io::Write;
                let _ = stream.unwrap().write_all(greeting.as_bytes());
            }
        });
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ]));
        push(&mut sink, 1, 10);
        wait(|| exporter.counters().snapshot().retries >= 3);
        drop(sink);
        let snapshot = exporter.shutdown(Duration::from_millis(10));
        assert_eq!(
            snapshot.dropped_for(DropReason::Shutdown),
            10,
            "{greeting:?}"
        );
    }
}
