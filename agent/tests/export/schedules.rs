//! Random gateways: over many schedules of answers, broken wires, endpoints that do not work
//! and restarts, every span that was accepted arrives or is counted as refused, and nothing is
//! sent again that must not be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use remora::config::spool::SpoolSettings;
use remora::delivery::export::counters::{DropReason, Snapshot};
use remora::delivery::export::exporter::{Destination, ExportSettings};
use remora::delivery::export::response::{Any, ProtoDuration, RetryInfo, RpcStatus};
use tonic::{Code, Status};

use crate::receiver::{Answer, Receiver, Seen, free_address, ids, push, settings, start, wait};
use crate::wire::Wire;

/// Schedules of each protocol in one test run; more on demand.
fn schedules() -> u64 {
    let given = std::env::var("REMORA_TEST_SCHEDULES").ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(1000)
}

/// Threads, because a schedule mostly waits.
const THREADS: u64 = 12;

/// Time for one request: far above what a busy machine takes for one, so that it is known which
/// requests had no answer in time.
const TIMEOUT: Duration = Duration::from_millis(400);

/// A request that comes again so much later, or more, had no answer in time: the agent's clock
/// for it begins before the gateway sees it, with connecting.
const LATE: Duration = TIMEOUT.checked_div(2).unwrap();

/// Of a batch that was sent in parts, one part may have been taken so long before the end, at
/// which all of it was kept for the next life.
const END: Duration = TIMEOUT.checked_mul(2).unwrap();

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Http,
    Grpc,
}

struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.below(2);
        }
        random
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// What both protocols have.
fn common(random: &mut Random) -> Answer {
    match random.below(8) {
        0 => Answer::Limit(2000),
        1 | 2 => Answer::Partial(random.below(3) as i64, "some"),
        3 => Answer::Late(Duration::from_millis(random.below(30))),
        4 => match random.below(12) {
            0 => Answer::Hang,
            1 => Answer::Late(TIMEOUT + Duration::from_millis(random.below(20))),
            _ => Answer::Ok,
        },
        _ => Answer::Ok,
    }
}

fn http(random: &mut Random) -> Answer {
    match random.below(12) {
        0 => Answer::Status(429, vec![("retry-after", "0")]),
        1 => Answer::Status(429, vec![]),
        2 | 3 => Answer::Status(503, vec![]),
        4 => Answer::Status(502, vec![("retry-after", "nonsense")]),
        5 => Answer::Close,
        6 => Answer::Status(400, vec![]),
        7 => Answer::Garbage,
        _ => common(random),
    }
}

fn grpc(random: &mut Random) -> Answer {
    let retried = [
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Aborted,
        Code::OutOfRange,
        Code::Unavailable,
        Code::DataLoss,
    ];
    // RESOURCE_EXHAUSTED alone is not final: it may mean too large (`grpc::*` tests what follows).
    let refused = [
        Code::InvalidArgument,
        Code::Internal,
        Code::Unimplemented,
        Code::PermissionDenied,
        Code::Unauthenticated,
    ];
    Answer::Grpc(match random.below(12) {
        0..=3 => Status::new(retried[random.below(6) as usize], "busy"),
        4 => throttled(Duration::from_millis(random.below(3))),
        // Garbage where details are expected.
        5 => Status::with_details(Code::Unavailable, "busy", vec![0xff; 9].into()),
        6 => Status::new(refused[random.below(5) as usize], "no"),
        _ => return common(random),
    })
}

/// `RESOURCE_EXHAUSTED` with `RetryInfo`.
fn throttled(delay: Duration) -> Status {
    let nanos = delay.subsec_nanos() as i32;
    let retry_delay = Some(ProtoDuration { seconds: 0, nanos });
    let details = vec![Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
        value: RetryInfo { retry_delay }.encode_to_vec(),
    }];
    let (code, message) = (8, "slow down".to_owned());
    let status = RpcStatus {
        code,
        message,
        details,
    }
    .encode_to_vec();
    Status::with_details(Code::ResourceExhausted, "slow down", status.into())
}

/// A gateway, the wire to it, and endpoints that lead nowhere.
struct World {
    protocol: Protocol,
    receiver: Receiver,
    wire: Wire,
    broken: Vec<String>,
}

impl World {
    fn new(protocol: Protocol) -> Self {
        let receiver = match protocol {
            Protocol::Http => Receiver::http(vec![]),
            Protocol::Grpc => Receiver::grpc(vec![]),
        };
        let garbage = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let speaks_garbage = garbage.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in garbage.incoming() {
                use std::io::Write;
                let _ = stream
                    .unwrap()
                    .write_all(b"\x00\x00\x04\xff\xffgarbage\r\n\r\n");
            }
        });
        let broken = vec![
            // A label of 64 letters is no name: resolving fails without asking anybody.
            format!("http://{}.test:4317", "x".repeat(64)),
            // TLS where there is none.
            format!("https://{}", receiver.address),
            format!("http://{speaks_garbage}"),
            format!("http://{}", free_address()),
        ];
        Self {
            protocol,
            wire: Wire::to(receiver.address),
            receiver,
            broken,
        }
    }

    fn settings(
        &self,
        random: &mut Random,
        dir: &Path,
        memory: usize,
        life: u64,
    ) -> ExportSettings {
        let protocol = match self.protocol {
            Protocol::Http => "http/protobuf",
            Protocol::Grpc => "grpc",
        };
        let works = format!("http://{}", self.wire.address);
        let to = |endpoint: &str| {
            settings(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "400"),
                ("OTEL_EXPORTER_OTLP_HEADERS", &format!("x-life={life}")),
            ])
        };
        // The preferred endpoint never works in one of six lives.
        let mut settings = match random.below(6) {
            0 => {
                let broken = &self.broken[random.below(self.broken.len() as u64) as usize];
                let mut settings = to(broken);
                let Destination::Gateway(works) = to(&works).destination else {
                    panic!("a gateway");
                };
                settings.failover = vec![works];
                settings
            }
            _ => to(&works),
        };
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
}

/// One life of the agent.
struct Life {
    end: Snapshot,
    ended: Instant,
}

/// One schedule: a few lives of the agent against one gateway. Returns how many of them were
/// known to the unit from the gateway alone, of how many.
fn run(seed: u64, world: &World) -> (u64, u64) {
    let mut random = Random::of(seed);
    let script = (0..random.below(30)).map(|_| match world.protocol {
        Protocol::Http => http(&mut random),
        Protocol::Grpc => grpc(&mut random),
    });
    world.receiver.reset(script.collect());
    let dir = tempfile::tempdir().unwrap();
    let memory = 20_000 + random.below(200_000) as usize;
    // Ids of its own: what an earlier one left may still come.
    let base = seed << 20;
    let (mut next, mut kept, mut accepted) = (1u64, 0, 0);
    let mut lives = Vec::new();
    for life in (0..=random.below(3)).rev() {
        let settings = world.settings(&mut random, dir.path(), memory, lives.len() as u64);
        let (exporter, mut sink) = start(settings);
        for _ in 0..random.below(8) {
            let count = 1 + random.below(20);
            push(&mut sink, base + next, count);
            next += count;
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_millis(random.below(8)));
            }
            if random.below(30) == 0 {
                world.wire.cut();
            }
        }
        drop(sink);
        let counters = exporter.counters();
        // Other tests begin processes, and until those are another program they hold what was
        // locked here: then it takes the queue a second try.
        let begin = Instant::now();
        while counters.snapshot().recovered < kept && begin.elapsed() < Duration::from_secs(12) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let recovered = counters.snapshot().recovered;
        assert_eq!(recovered, kept, "seed {seed}: not all of it came back");
        if life == 0 {
            // The gateway is well in the end.
            world.receiver.calm();
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
        assert!(end.balances(), "seed {seed}: {end:?}");
        assert!(life > 0 || end.queued == 0, "seed {seed}: {end:?}");
        kept = end.queued;
        accepted += end.accepted - end.recovered;
        // Each life by itself: there is no other reason to drop than these two.
        let known = [DropReason::Rejected, DropReason::QueueFull];
        let counted: u64 = known.iter().map(|reason| end.dropped_for(*reason)).sum();
        assert_eq!(end.dropped_total(), counted, "seed {seed}: {end:?}");
        let ended = Instant::now();
        lives.push(Life { end, ended });
    }
    assert_eq!(accepted, next - 1);
    check(seed, world, next, &lives)
}

/// Holds what came against what was sent, and what the gateway refused against what each life
/// counted.
fn check(seed: u64, world: &World, next: u64, lives: &[Life]) -> (u64, u64) {
    let base = seed << 20;
    let ours = base + 1..base + next;
    let cuts = world.wire.cuts();
    let ends: Vec<Instant> = lives.iter().map(|life| life.ended).collect();
    let mut attempts: BTreeMap<u64, &Seen> = BTreeMap::new();
    let mut history = world.receiver.history();
    // The gateway may read what a life sent last after what the next one sent first.
    history.sort_by_key(|seen| seen.life);
    let (mut again, mut requests) = (Vec::new(), Vec::new());
    for seen in &history {
        let mut ids = seen.ids();
        ids.retain(|id| ours.contains(id));
        if ids.is_empty() {
            continue;
        }
        for id in &ids {
            let Some(before) = attempts.insert(*id, seen) else {
                continue;
            };
            if matches!(before.status, 200 | 400) {
                // What was answered for good is never sent again, unless the answer did not
                // arrive: too late, on a wire that was cut (what was on it the gateway may see
                // later), or after the agent had ended.
                let late = before.life == seen.life && seen.at - before.at >= LATE;
                let cut = (cuts.iter()).any(|cut| before.at <= *cut + LATE && *cut <= seen.at);
                let over = before.life != seen.life && ends[before.life] <= before.at + END;
                assert!(
                    late || cut || over,
                    "seed {seed}: {id} came again after {} in life {} of {} after {:?}: in life {}; \
                     {:?} since the last cut",
                    before.status,
                    before.life,
                    lives.len(),
                    seen.at - before.at,
                    seen.life,
                    cuts.iter()
                        .rfind(|cut| **cut <= seen.at)
                        .map(|cut| seen.at - *cut)
                );
                again.push(before.number);
                // Of two wires the gateway may have read the later one first: either of the
                // two answers may be the one that arrived.
                if cut && before.life == seen.life {
                    again.push(seen.number);
                }
            }
        }
        requests.push((seen, ids));
    }
    let full: u64 = lives
        .iter()
        .map(|it| it.end.dropped_for(DropReason::QueueFull))
        .sum();
    let missing = ours.clone().filter(|id| {
        // Taken once, or else refused the last time.
        !requests
            .iter()
            .any(|(seen, ids)| seen.taken && ids.contains(id))
            && attempts.get(id).is_none_or(|last| last.status != 400)
    });
    let missing: Vec<u64> = missing.collect();
    assert!(
        missing.len() as u64 <= full,
        "seed {seed}: {missing:?} missing, {full} had no room; the first of them came in {:?}",
        requests
            .iter()
            .filter(|(_, ids)| ids.contains(&missing[0]))
            .map(|(seen, _)| (seen.life, seen.number, seen.at, seen.status, seen.taken))
            .collect::<Vec<_>>()
    );
    let mut exact = 0;
    for (number, life) in lives.iter().enumerate() {
        // What the gateway said for good in this life; at least, that the agent heard of which
        // nothing came again.
        let (mut delivered, mut rejected) = ((0, 0), (0, 0));
        for (seen, ids) in requests.iter().filter(|(seen, _)| seen.life == number) {
            let items = ids.len() as u64;
            let refused = match seen.status {
                200 => seen.rejected.min(items),
                400 => items,
                _ => continue,
            };
            let heard = !again.contains(&seen.number);
            delivered.1 += items - refused;
            rejected.1 += refused;
            if heard {
                delivered.0 += items - refused;
                rejected.0 += refused;
            }
        }
        let counted = (
            life.end.delivered,
            life.end.dropped_for(DropReason::Rejected),
        );
        assert!(
            (delivered.0..=delivered.1).contains(&counted.0)
                && (rejected.0..=rejected.1).contains(&counted.1),
            "seed {seed}, life {number}: {counted:?}, the gateway says {delivered:?} {rejected:?}"
        );
        exact += u64::from(delivered.0 == delivered.1 && rejected.0 == rejected.1);
    }
    (exact, lives.len() as u64)
}

fn every_schedule(protocol: Protocol) {
    let sums = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let world = World::new(protocol);
                    let seeds = (thread..schedules()).step_by(THREADS as usize);
                    seeds.fold((0, 0), |(exact, lives), seed| {
                        let (more_exact, more_lives) = run(seed, &world);
                        (exact + more_exact, lives + more_lives)
                    })
                })
            })
            .collect();
        let threads = threads.into_iter().map(|it| it.join().unwrap());
        threads.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    });
    println!(
        "{protocol:?}: {} of {} lives known to the unit",
        sums.0, sums.1
    );
    assert!(sums.0 * 10 > sums.1 * 7, "{sums:?}");
}

#[test]
fn every_accepted_span_arrives_or_is_counted() {
    every_schedule(Protocol::Http);
}

#[test]
fn every_accepted_span_arrives_or_is_counted_over_grpc() {
    every_schedule(Protocol::Grpc);
}

#[test]
fn a_dead_gateway_at_the_end_loses_nothing() {
    let world = World::new(Protocol::Http);
    let mut random = Random::of(1);
    world.receiver.otherwise(Answer::Hang);
    let dir = tempfile::tempdir().unwrap();
    let (exporter, mut sink) = start(world.settings(&mut random, dir.path(), 1 << 20, 0));
    push(&mut sink, 1, 500);
    drop(sink);
    let end = exporter.shutdown(Duration::from_millis(100));
    assert_eq!((end.queued, end.dropped_total()), (500, 0), "{end:?}");
    world.receiver.calm();
    let (exporter, sink) = start(world.settings(&mut random, dir.path(), 1 << 20, 1));
    drop(sink);
    let counters = exporter.counters();
    wait(|| counters.snapshot().delivered == 500);
    assert_eq!(ids(&world.receiver.spans()), (1..=500).collect::<Vec<_>>());
}
