//! The test export of `remora doctor`.

use std::time::{Duration, Instant};

use remora::config::otel::OtlpSettings;
use remora::export::exporter::Destination;
use remora::export::probe::probe;

use crate::receiver::{Answer, Receiver, to};

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
