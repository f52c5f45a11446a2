//! Random gateways: over many schedules of answers and restarts, every span that was
//! accepted arrives or is counted as refused, and nothing is sent again that must not be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use remora::config::spool::SpoolSettings;
use remora::export::counters::DropReason;
use remora::export::exporter::ExportSettings;

use crate::receiver::{Answer, Receiver, ids, push, start, to, wait};

/// Schedules in one test run; more on demand.
fn schedules() -> u64 {
    let given = std::env::var("REMORA_TEST_SCHEDULES").ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(1000)
}

/// Threads, because a schedule mostly waits.
const THREADS: u64 = 8;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn answer(random: &mut Random) -> Answer {
    match random.below(12) {
        0 => Answer::Status(429, vec![("retry-after", "0")]),
        1 => Answer::Status(429, vec![]),
        2 | 3 => Answer::Status(503, vec![]),
        4 => Answer::Status(502, vec![("retry-after", "nonsense")]),
        5 => Answer::Close,
        6 => Answer::Limit(2000),
        7 => Answer::Status(400, vec![]),
        8 => Answer::Partial(random.below(3) as i64, "some"),
        9 => Answer::Garbage,
        10 => Answer::Late(Duration::from_millis(random.below(120))),
        _ => Answer::Ok,
    }
}

fn settings(receiver: &Receiver, dir: &Path, memory: usize) -> ExportSettings {
    let mut settings = to(
        receiver,
        "http/protobuf",
        &[("OTEL_EXPORTER_OTLP_TIMEOUT", "60")],
    );
    settings.retry.initial = Duration::from_millis(1);
    settings.retry.max = Duration::from_millis(4);
    settings.queue_bytes = memory;
    settings.spool = Some(SpoolSettings {
        bytes: 8 << 20,
        sync: Duration::from_millis(4),
        ..SpoolSettings::new(dir.into())
    });
    settings
}

/// One schedule: a few lives of the agent against one gateway.
fn run(seed: u64, receiver: &Receiver) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 {
        random.below(2);
    }
    receiver.reset((0..random.below(30)).map(|_| answer(&mut random)).collect());
    let dir = tempfile::tempdir().unwrap();
    let memory = 20_000 + random.below(200_000) as usize;
    // Ids of its own: what an earlier one left may still come.
    let base = seed << 20;
    let (mut next, mut rejected, mut full) = (1u64, 0, 0);
    let mut kept = 0;
    let (mut accepted, mut ends) = (0, Vec::new());
    for life in (0..=random.below(3)).rev() {
        let (exporter, mut sink) = start(settings(receiver, dir.path(), memory));
        for _ in 0..random.below(8) {
            let count = 1 + random.below(20);
            push(&mut sink, base + next, count);
            next += count;
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(random.below(8)));
            }
        }
        drop(sink);
        let counters = exporter.counters();
        let recovered = counters.snapshot().recovered;
        assert_eq!(recovered, kept, "seed {seed}: not all of it came back");
        if life == 0 {
            // The gateway is well in the end.
            receiver.calm();
            let begin = Instant::now();
            while counters.snapshot().queued > 0 {
                let state = (counters.snapshot(), exporter.queue().depth());
                assert!(
                    begin.elapsed() < Duration::from_secs(30),
                    "seed {seed}: {state:?}"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let limit = Duration::from_millis(if life == 0 { 5000 } else { random.below(30) });
        let end = exporter.shutdown(limit);
        ends.push(Instant::now());
        assert!(end.balances(), "seed {seed}: {end:?}");
        assert!(life > 0 || end.queued == 0, "seed {seed}: {end:?}");
        kept = end.queued;
        accepted += end.accepted - end.recovered;
        rejected += end.dropped_for(DropReason::Rejected);
        full += end.dropped_for(DropReason::QueueFull);
        let counted = rejected + full;
        assert!(end.dropped_total() <= counted, "seed {seed}: {end:?}");
    }
    assert_eq!(accepted, next - 1);
    check(seed, receiver, next, &ends, full);
}

/// Time for one request.
const TIMEOUT: Duration = Duration::from_millis(60);

/// Holds what came against what was sent.
fn check(seed: u64, receiver: &Receiver, next: u64, ends: &[Instant], full: u64) {
    let base = seed << 20;
    let ours = base + 1..base + next;
    let arrived: BTreeSet<u64> = ids(&receiver.spans()).into_iter().collect();
    let (mut attempts, mut refused) = (BTreeMap::new(), BTreeSet::new());
    for (request, status) in receiver.history() {
        let spans = request.request().resource_spans.into_iter();
        let spans = spans
            .flat_map(|group| group.scope_spans)
            .flat_map(|scope| scope.spans);
        let mut ids = ids(&spans.collect::<Vec<_>>());
        ids.retain(|id| ours.contains(id));
        for id in &ids {
            // What was answered for good is never sent again, unless nobody waited for the
            // answer: it came too late, or the agent ended before.
            if let Some((at, last @ (200 | 400))) = attempts.insert(*id, (request.at, status)) {
                let late = request.at - at >= TIMEOUT;
                let cut = ends.iter().any(|end| at < *end && *end - at < TIMEOUT * 2);
                assert!(late || cut, "seed {seed}: {id} came again after {last}");
            }
        }
        if status == 400 {
            refused.extend(ids);
        }
    }
    let missing = ours.clone().filter(|id| !arrived.contains(id));
    let unexplained: Vec<u64> = missing.filter(|id| !refused.contains(id)).collect();
    assert!(
        unexplained.len() as u64 <= full,
        "seed {seed}: {unexplained:?} missing, {full} had no room"
    );
}

#[test]
fn every_accepted_span_arrives_or_is_counted() {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let receiver = Receiver::http(vec![]);
                for seed in (thread..schedules()).step_by(THREADS as usize) {
                    run(seed, &receiver);
                }
            });
        }
    });
}

#[test]
fn a_dead_gateway_at_the_end_loses_nothing() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Hang);
    let dir = tempfile::tempdir().unwrap();
    let (exporter, mut sink) = start(settings(&receiver, dir.path(), 1 << 20));
    push(&mut sink, 1, 500);
    drop(sink);
    let end = exporter.shutdown(Duration::from_millis(100));
    assert_eq!((end.queued, end.dropped_total()), (500, 0), "{end:?}");
    receiver.calm();
    let (exporter, sink) = start(settings(&receiver, dir.path(), 1 << 20));
    drop(sink);
    let counters = exporter.counters();
    wait(|| counters.snapshot().delivered == 500);
    assert_eq!(ids(&receiver.spans()), (1..=500).collect::<Vec<_>>());
}
