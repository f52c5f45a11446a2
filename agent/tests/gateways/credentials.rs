//! A bearer token that the Collector reads from a file, changed on both sides.

use std::sync::Arc;
use std::time::Duration;

use remora::config::credentials::Credentials;
use remora::delivery::export::counters::DropReason;
use remora::delivery::export::exporter::Destination;
use serde_json::json;

use crate::collector::{self, Collector, binary, config, receive};
use crate::pressure::{ask_grpc, ask_http};
use crate::receiver::{ids, push, settings, start, wait};

#[test]
fn a_token_that_changes_costs_no_span() {
    let Some(binary) = binary() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("ours"));
    std::fs::write(&theirs, "first").unwrap();
    let mut config = config(dir.path());
    config["extensions"]["bearertokenauth"] = json!({"filename": theirs});
    config["service"]["extensions"] = json!(["bearertokenauth"]);
    receive(
        &mut config,
        "auth",
        &json!({"authenticator": "bearertokenauth"}),
    );
    let gateway = Collector::start(&binary, dir.path(), &config);
    let (mut id, mut sent) = (0, Vec::new());
    for (protocol, old, new) in [
        ("grpc", "first", "second"),
        ("http/protobuf", "second", "third"),
    ] {
        std::fs::write(&ours, old).unwrap();
        let url = gateway.url(protocol);
        let mut settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ]);
        if let Destination::Gateway(gateway) = &mut settings.destination {
            let opened = Credentials::open(None, Some(ours.clone())).unwrap();
            gateway.credentials = Some(Arc::new(opened));
        }
        let (exporter, mut sink) = start(settings);
        let now = || exporter.counters().snapshot();
        let mut next = || {
            id += 1;
            push(&mut sink, id, 1);
            id
        };
        sent.push(next());
        wait(|| now().delivered == 1);

        // The Collector has the new one when it no longer takes the old one.
        std::fs::write(&theirs, new).unwrap();
        wait(|| ask_http(gateway.http, Some(old)).0 == 401);
        std::fs::write(&ours, new).unwrap();
        sent.push(next());
        wait(|| now().delivered == 2);
        assert_eq!(now().dropped_total(), 0);

        // A wrong one for which there is nothing newer.
        std::fs::write(&ours, "wrong").unwrap();
        wait(|| {
            next();
            std::thread::sleep(Duration::from_millis(100));
            now().dropped_for(DropReason::Rejected) > 0
        });
        let told = now();
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(5));
        assert!(end.balances() && end.delivered >= told.delivered, "{end:?}");
    }
    let (status, message) = ask_http(gateway.http, Some("wrong"));
    assert_eq!(status, 401, "{message}");
    let status = ask_grpc(gateway.grpc, Some("wrong")).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
    gateway.stop();
    let arrived = ids(&collector::spans(dir.path()));
    assert!(sent.iter().all(|id| arrived.contains(id)), "{arrived:?}");
}
