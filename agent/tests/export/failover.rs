//! Gateways that go away and come back, and wires that go dead.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use remora::config::otel::OtlpSettings;
use remora::delivery::export::breaker::Circuit;
use remora::delivery::export::exporter::Destination;

use crate::receiver::{Receiver, ids, push, settings, start, wait};
use crate::wire::Wire;

fn gateway(endpoint: &str, protocol: &str) -> OtlpSettings {
    let pairs = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ];
    match settings(&pairs).destination {
        Destination::Gateway(settings) => settings,
        other => panic!("{other:?}"),
    }
}

/// The first of two gateways is killed while spans go on coming, and comes back: all arrive,
/// and the first one is preferred again.
#[test]
fn the_next_gateway_takes_over_under_load_and_gives_back() {
    for protocol in ["http/protobuf", "grpc"] {
        let receiver = || match protocol {
            "grpc" => Receiver::grpc(vec![]),
            _ => Receiver::http(vec![]),
        };
        let (first, second) = (receiver(), receiver());
        let wire = Wire::to(first.address);
        let mut settings = settings(&[]);
        settings.destination =
            Destination::Gateway(gateway(&format!("http://{}", wire.address), protocol));
        settings.failover = vec![gateway(&format!("http://{}", second.address), protocol)];
        let (exporter, mut sink) = start(settings);
        let counters = exporter.counters();
        let mut next = 1;
        let mut load = |until: &dyn Fn() -> bool| {
            let begun = Instant::now();
            while !until() || begun.elapsed() < Duration::from_millis(200) {
                assert!(
                    begun.elapsed() < Duration::from_secs(10),
                    "{protocol}: in vain"
                );
                push(&mut sink, next, 10);
                next += 10;
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        load(&|| counters.snapshot().delivered > 500);
        assert!(second.received().is_empty(), "{protocol}");
        wire.refuse(true);
        wire.cut();
        load(&|| second.spans().len() > 500);
        assert_ne!(
            counters.snapshot().circuits[0],
            Circuit::Closed,
            "{protocol}"
        );
        assert!(counters.snapshot().failovers > 0);
        let before = first.spans().len();
        wire.refuse(false);
        load(&|| first.spans().len() > before + 500);
        let there = second.received().len();
        load(&|| true);
        assert_eq!(
            second.received().len(),
            there,
            "{protocol}: the first is preferred"
        );
        assert_eq!(counters.snapshot().circuits[..2], [Circuit::Closed; 2]);
        drop(sink);
        let end = exporter.shutdown(Duration::from_secs(5));
        assert_eq!(
            (end.accepted, end.delivered),
            (next - 1, next - 1),
            "{end:?}"
        );
        let (mut all, others) = (ids(&first.spans()), ids(&second.spans()));
        let twice = all.len() + others.len();
        all.extend(others);
        let all: BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(all, (1..next).collect(), "{protocol}");
        // Twice came at most what was under way when the wire was cut: 16 requests of ten
        // spans, and those that were joined with them.
        let twice = twice - all.len();
        assert!(twice <= 16 * 100, "{protocol}: {twice} came twice");
    }
}

/// The other end of a connection vanishes without a word: keep-alive finds that out, and
/// nothing else does.
#[test]
fn a_dead_connection_is_found_by_keep_alive() {
    let with = |interval: Duration| {
        let receiver = Receiver::grpc(vec![]);
        let wire = Wire::to(receiver.address);
        let mut to = gateway(&format!("http://{}", wire.address), "grpc");
        to.timeout = Some(Duration::from_millis(200));
        to.keep_alive.interval = interval;
        to.keep_alive.timeout = Duration::from_millis(200);
        let mut settings = settings(&[]);
        settings.destination = Destination::Gateway(to);
        let (exporter, mut sink) = start(settings);
        let counters = exporter.counters();
        push(&mut sink, 1, 10);
        wait(|| counters.snapshot().delivered == 10);
        wire.die();
        let died = Instant::now();
        push(&mut sink, 11, 10);
        while counters.snapshot().delivered < 20 && died.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let snapshot = counters.snapshot();
        (snapshot.delivered, snapshot.retries > 0, wire.connections())
    };
    assert_eq!(with(Duration::from_millis(200)), (20, true, 2));
    assert_eq!(with(Duration::from_secs(60)), (10, true, 1));
}
