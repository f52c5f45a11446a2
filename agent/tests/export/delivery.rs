//! The queue, the ledger, and the end.

use std::time::{Duration, Instant};

use remora::delivery::export::counters::DropReason;
use remora::model::exchange::Sink;

use crate::receiver::{Answer, Receiver, free_address, ids, push, settings, start, to, wait};
use crate::sample::server;

#[test]
fn batches_close_by_count_and_by_age() {
    let receiver = Receiver::http(vec![]);
    let (exporter, mut sink) = start(to(
        &receiver,
        "http/protobuf",
        &[
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
        ],
    ));
    let sample = server();
    for _ in 0..25 {
        sink.exchange(&sample.exchange());
    }
    wait(|| exporter.counters().snapshot().delivered == 20);
    assert_eq!(exporter.counters().snapshot().queued, 5);
    sink.tick();
    assert_eq!(exporter.counters().snapshot().accepted, 25);
    std::thread::sleep(Duration::from_millis(210));
    sink.tick();
    wait(|| exporter.counters().snapshot().delivered == 25);
    let mut sizes: Vec<usize> = receiver
        .received()
        .iter()
        .map(|request| {
            request.request().resource_spans[0].scope_spans[0]
                .spans
                .len()
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10]);
}

#[test]
fn batches_stay_below_four_mebibytes() {
    let receiver = Receiver::http(vec![]);
    let (exporter, mut sink) = start(to(
        &receiver,
        "http/protobuf",
        &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "65536")],
    ));
    let mut sample = server();
    sample.path = Some(format!("/{}", "x".repeat(8000)));
    for _ in 0..1500 {
        sink.exchange(&sample.exchange());
    }
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_secs(10));
    assert_eq!(snapshot.delivered, 1500);
    let sizes: Vec<usize> = receiver
        .received()
        .iter()
        .map(|request| request.body.len())
        .collect();
    assert!(
        sizes.len() > 2 && sizes.iter().all(|size| *size <= 4 << 20),
        "{sizes:?}"
    );
    assert!(sizes.iter().any(|size| *size > 3 << 20), "{sizes:?}");
}

#[test]
fn a_full_queue_drops_and_counts() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Hang);
    let (exporter, mut sink) = start(to(
        &receiver,
        "http/protobuf",
        &[
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10"),
        ],
    ));
    let sample = server();
    let begin = Instant::now();
    for round in 0..1000u64 {
        sink.exchange(&sample.exchange());
        let snapshot = exporter.counters().snapshot();
        assert!(
            snapshot.balances() && snapshot.accepted == round + 1,
            "{snapshot:?}"
        );
    }
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "the hot path waited"
    );
    let snapshot = exporter.counters().snapshot();
    // Up to 100 wait, up to 4 batches are in flight.
    let dropped = snapshot.dropped_for(DropReason::QueueFull);
    assert!((860..=900).contains(&dropped), "{snapshot:?}");
    drop(sink);
    let begin = Instant::now();
    let snapshot = exporter.shutdown(Duration::from_millis(300));
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "the end took {:?}",
        begin.elapsed()
    );
    assert!(snapshot.balances() && snapshot.queued == 0, "{snapshot:?}");
    assert_eq!(snapshot.dropped_for(DropReason::Shutdown), 1000 - dropped);
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let mut settings = settings(&[(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &format!("http://{}", free_address()),
    )]);
    settings.queue_bytes = 50_000;
    let (exporter, mut sink) = start(settings);
    for round in 0..20 {
        push(&mut sink, round * 10, 10);
    }
    assert!(exporter.queue().depth().bytes <= 50_000);
    assert!(
        exporter
            .counters()
            .snapshot()
            .dropped_for(DropReason::QueueFull)
            > 0
    );
}

#[test]
fn everything_queued_is_flushed_at_the_end() {
    let receiver = Receiver::http(vec![]);
    let (exporter, mut sink) = start(to(&receiver, "http/protobuf", &[]));
    let sample = server();
    for _ in 0..10_000 {
        sink.exchange(&sample.exchange());
    }
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_secs(10));
    assert_eq!((snapshot.delivered, snapshot.queued), (10_000, 0));
    assert_eq!(receiver.spans().len(), 10_000);
}

#[test]
fn a_batch_in_backoff_is_tried_again_at_the_end() {
    let receiver = Receiver::http(vec![Answer::Status(503, vec![])]);
    let mut settings = to(&receiver, "http/protobuf", &[]);
    settings.retry.initial = Duration::from_secs(3600);
    settings.retry.max = Duration::from_secs(3600);
    settings.batch.export_timeout = None;
    let (exporter, mut sink) = start(settings);
    push(&mut sink, 1, 10);
    wait(|| receiver.received().len() == 1);
    drop(sink);
    let begin = Instant::now();
    let snapshot = exporter.shutdown(Duration::from_secs(5));
    assert_eq!(snapshot.delivered, 10, "{snapshot:?}");
    assert!(begin.elapsed() < Duration::from_secs(2));
}

#[test]
fn spans_after_the_end_are_counted() {
    let receiver = Receiver::http(vec![]);
    let (exporter, mut sink) = start(to(&receiver, "http/protobuf", &[]));
    let counters = exporter.counters();
    push(&mut sink, 1, 5);
    exporter.shutdown(Duration::from_secs(5));
    push(&mut sink, 6, 5);
    let snapshot = counters.snapshot();
    assert_eq!(
        (
            snapshot.delivered,
            snapshot.dropped_for(DropReason::Shutdown)
        ),
        (5, 5)
    );
    assert!(snapshot.balances());
}

#[test]
fn a_gateway_that_asks_for_a_pause_gets_it_from_all_requests() {
    let receiver = Receiver::http(vec![Answer::Status(503, vec![("retry-after", "1")])]);
    let (exporter, mut sink) = start(to(&receiver, "http/protobuf", &[]));
    push(&mut sink, 1, 1);
    wait(|| receiver.received().len() == 1);
    std::thread::sleep(Duration::from_millis(100));
    for id in 2..6 {
        push(&mut sink, id, 1);
    }
    wait(|| exporter.counters().snapshot().delivered == 5);
    let received = receiver.received();
    let pause = received[1].at - received[0].at;
    assert!(pause >= Duration::from_millis(995), "{pause:?}");
    assert_eq!(ids(&receiver.spans()), [1, 2, 3, 4, 5]);
}

#[test]
fn a_storm_of_failures_loses_nothing_uncounted() {
    let script = (0..200)
        .map(|i| match i % 7 {
            0 => Answer::Status(503, vec![]),
            1 => Answer::Close,
            2 => Answer::Status(400, vec![]),
            3 => Answer::Partial(1, "x"),
            4 => Answer::Limit(3000),
            5 => Answer::Status(429, vec![("retry-after", "0")]),
            _ => Answer::Ok,
        })
        .collect();
    let receiver = Receiver::http(script);
    let (exporter, mut sink) = start(to(&receiver, "http/protobuf", &[]));
    let counters = exporter.counters();
    for round in 0..200u64 {
        push(&mut sink, round * 10, 10);
        assert!(counters.snapshot().balances());
    }
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_secs(10));
    assert!(
        snapshot.balances() && snapshot.accepted == 2000 && snapshot.queued == 0,
        "{snapshot:?}"
    );
    let partial = 2000 - snapshot.delivered - snapshot.dropped_total();
    assert_eq!(partial, 0);
    // What the gateway took, it got once; spans in partial successes were taken too.
    let taken = receiver.spans();
    let mut unique = ids(&taken);
    unique.dedup();
    assert_eq!(unique.len(), taken.len(), "nothing was delivered twice");
    assert!(taken.len() as u64 >= snapshot.delivered);
}
