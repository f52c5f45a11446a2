use super::*;
use crate::delivery::export::batch::Signal;
use crate::delivery::export::counters::DropReason;
use bytes::Bytes;
use std::path::Path;

fn settings(dir: &Path, memory: usize, disk: u64) -> Settings {
    Settings {
        bounds: Bounds {
            items: u64::MAX,
            bytes: memory,
        },
        dir: dir.into(),
        limits: Limits {
            bytes: disk,
            segment_bytes: 1 << 20,
            compress: false,
        },
        patience: Duration::from_millis(250),
        sync: Duration::from_millis(250),
        drain_bytes: 64 << 20,
        ordered: false,
    }
}

fn batch(id: u64, items: u64, len: usize) -> Batch {
    let mut body = id.to_le_bytes().to_vec();
    body.resize(len, 0);
    Batch {
        signal: Signal::Traces,
        items,
        body: Bytes::from(body),
    }
}

fn id(taken: &Taken) -> u64 {
    u64::from_le_bytes(taken.batch.body[..8].try_into().unwrap())
}

/// A queue and its spooler, run by the test.
struct Rig {
    queue: TieredQueue,
    spooler: Spooler,
    counters: Arc<ExportCounters>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let counters = Arc::new(ExportCounters::default());
        let (queue, spooler) = TieredQueue::new(settings, Arc::clone(&counters));
        Self {
            queue,
            spooler,
            counters,
        }
    }

    fn push(&self, batch: Batch) {
        let items = batch.items;
        (0..items).for_each(|_| self.counters.accept());
        self.counters.enqueued(items);
        if self.queue.try_push(batch).is_err() {
            self.counters.refused(items, DropReason::QueueFull);
        }
    }

    fn pop(&self) -> Option<Taken> {
        let taken = self.queue.try_pop()?;
        self.counters.taken(taken.batch.items);
        Some(taken)
    }

    fn deliver(&self, taken: &Taken) {
        self.counters.delivered(taken.batch.items, 0, 0);
        self.queue.settle(taken);
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
        self.spooler.step(Instant::now());
        assert!(self.counters.snapshot().balances());
    }

    /// Delivers all there is, in the order it comes.
    async fn drain(&mut self) -> Vec<u64> {
        let mut ids = Vec::new();
        loop {
            while let Some(taken) = self.pop() {
                ids.push(id(&taken));
                self.deliver(&taken);
            }
            self.pass(Duration::from_millis(100)).await;
            if self.counters.snapshot().queued == 0 {
                return ids;
            }
        }
    }

    fn end(mut self) -> crate::delivery::export::counters::Snapshot {
        self.queue.close();
        self.queue.shared.state().finishing = true;
        self.spooler.step(Instant::now());
        self.spooler.finish();
        self.counters.snapshot()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_at_once_never_touches_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(settings(dir.path(), 1 << 20, 16 << 20));
    for n in 0..1000 {
        rig.push(batch(n, 10, 1000));
        let taken = rig.pop().unwrap();
        rig.deliver(&taken);
        rig.pass(Duration::from_millis(100)).await;
    }
    assert!(
        !std::fs::read_dir(dir.path()).unwrap().any(|entry| entry
            .unwrap()
            .path()
            .extension()
            .is_some())
    );
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_on_disk_in_time_and_comes_back_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(settings(dir.path(), 1 << 20, 16 << 20));
    rig.push(batch(0, 10, 1000));
    let under_way = rig.pop().unwrap();
    (1..20).for_each(|n| rig.push(batch(n, 10, 1000)));
    rig.pass(Duration::from_millis(300)).await;
    // All twenty are in the spool, the one under way as a copy.
    assert_eq!(rig.queue.depth().spool.unwrap().stats.items, 200);
    rig.deliver(&under_way);
    assert_eq!(rig.drain().await, (1..20).collect::<Vec<_>>());
    assert_eq!(rig.end().delivered, 200);
}

/// Whoever takes batches is not told again of what was read from disk long ago.
#[tokio::test(start_paused = true)]
async fn what_was_read_is_lent_while_more_waits_to_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path(), 1 << 20, 16 << 20);
    (settings.patience, settings.sync) = (Duration::ZERO, Duration::ZERO);
    let mut rig = Rig::new(settings);
    (0..3).for_each(|n| rig.push(batch(n, 1, 1000)));
    assert!(rig.pop().is_none(), "it is not on disk yet");
    rig.pass(Duration::from_millis(1)).await;
    for n in 0..3 {
        let taken = rig.pop().expect("it was read");
        assert_eq!(id(&taken), n);
        rig.deliver(&taken);
        rig.push(batch(3 + n, 1, 1000));
    }
    assert!(rig.pop().is_none(), "it is not on disk yet");
    assert_eq!(rig.drain().await, [3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_resumes_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), 1 << 20, 16 << 20);
    let mut rig = Rig::new(settings.clone());
    (0..50).for_each(|n| rig.push(batch(n, 10, 1000)));
    rig.pass(Duration::from_millis(300)).await;
    (50..60).for_each(|n| rig.push(batch(n, 10, 1000)));
    // One from memory, one from disk; one delivered, two given back.
    let loans: Vec<Taken> = (0..3).map(|_| rig.pop().unwrap()).collect();
    let delivered = id(&loans[0]);
    rig.deliver(&loans[0]);
    for taken in loans.into_iter().skip(1) {
        assert!(rig.queue.give_back(taken));
        rig.counters.returned(10);
    }
    let snapshot = rig.end();
    assert!(snapshot.balances());
    assert_eq!((snapshot.queued, snapshot.dropped_total()), (590, 0));
    let mut rig = Rig::new(settings);
    assert_eq!(rig.counters.snapshot().recovered, 590);
    let mut ids = rig.drain().await;
    ids.push(delivered);
    ids.sort_unstable();
    assert_eq!(ids, (0..60).collect::<Vec<_>>());
}

/// The gateway is away for an hour while 10,000 spans come every second.
#[tokio::test(start_paused = true)]
async fn an_hour_without_a_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), 4 << 20, 64 << 20);
    let mut rig = Rig::new(settings.clone());
    for second in 0..3600u64 {
        // Two batches of 5,000 spans, 200 KB each.
        for half in 0..2 {
            rig.push(batch(second * 2 + half, 5000, 200_000));
            rig.pass(Duration::from_millis(500)).await;
        }
        let depth = rig.queue.depth();
        assert!(depth.bytes <= settings.bounds.bytes, "{depth:?}");
        let spool = depth.spool.unwrap().stats;
        assert!(spool.bytes <= settings.limits.bytes, "{spool:?}");
        if second > 600 {
            assert!(spool.bytes > settings.limits.bytes * 9 / 10, "{spool:?}");
        }
    }
    let outage = rig.counters.snapshot();
    let lost = outage.dropped_for(DropReason::SpoolFull);
    assert_eq!(outage.accepted, 36_000_000);
    assert_eq!(outage.queued + lost, 36_000_000);
    assert_eq!(outage.dropped_total(), lost);
    // It comes back, and what is new is delivered while the old is drained in order.
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for n in 0..400 {
        rig.push(batch(10_000 + n, 5000, 200_000));
        for _ in 0..4 {
            if let Some(taken) = rig.pop() {
                let id = id(&taken);
                if id < 10_000 { &mut old } else { &mut new }.push(id);
                rig.deliver(&taken);
            }
        }
        assert!(new.len() as u64 + 1 >= n, "new spans starve");
        rig.pass(Duration::from_millis(50)).await;
    }
    let rest = rig.drain().await;
    old.extend(rest.iter().filter(|id| **id < 10_000));
    assert!(old.is_sorted());
    assert_eq!(old.last(), Some(&7199));
    assert_eq!(old.len() as u64 * 5000 + lost, 36_000_000, "to the unit");
    let end = rig.end();
    assert_eq!((end.queued, end.dropped_total()), (0, lost));
}

#[tokio::test(start_paused = true)]
async fn draining_keeps_to_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = settings(dir.path(), 8 << 20, 64 << 20);
    settings.drain_bytes = 1 << 20;
    let mut rig = Rig::new(settings);
    for n in 0..200 {
        rig.push(batch(n, 1, 100_000));
        rig.pass(Duration::from_millis(300)).await;
    }
    let begin = Instant::now();
    assert_eq!(rig.drain().await.len(), 200);
    let seconds = begin.elapsed().as_secs_f64();
    // 20 MB, of which a megabyte was read ahead and another may come at once.
    assert!((16.0..22.0).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_removed_directory_is_counted_and_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("spool");
    let mut rig = Rig::new(settings(&dir, 1 << 20, 16 << 20));
    (0..500).for_each(|n| {
        rig.push(batch(n, 10, 10_000));
        rig.spooler.step(Instant::now());
    });
    rig.pass(Duration::from_millis(300)).await;
    let under_way = rig.pop().unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    rig.pass(Duration::from_millis(300)).await;
    let lost = rig
        .counters
        .snapshot()
        .dropped_for(DropReason::SpoolMissing);
    assert!(lost > 4000 && lost < 5000, "{lost}");
    rig.deliver(&under_way);
    rig.push(batch(1000, 10, 1000));
    rig.pass(Duration::from_millis(300)).await;
    assert!(dir.join("cursor").exists());
    let ids = rig.drain().await;
    assert_eq!(ids.last(), Some(&1000));
    assert_eq!(ids.len() as u64 * 10 + lost + 10, 5010);
    assert_eq!(rig.end().queued, 0);
}

#[tokio::test(start_paused = true)]
async fn of_two_agents_one_has_the_directory_and_the_other_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), 1 << 20, 16 << 20);
    let mut first = Rig::new(settings.clone());
    first.push(batch(1, 10, 1000));
    first.pass(Duration::from_millis(300)).await;
    let mut second = Rig::new(settings);
    let problem = second.queue.depth().spool.unwrap().problem.unwrap();
    assert!(
        problem.contains(&format!("process {} uses it", std::process::id())),
        "{problem}"
    );
    assert!(!second.queue.is_durable());
    second.push(batch(2, 10, 1000));
    second.pass(Duration::from_secs(6)).await;
    assert_eq!(second.drain().await, [2]);
    // The queue holds the directory as long as its spooler lives.
    assert_eq!(first.end().queued, 10);
    second.pass(Duration::from_secs(6)).await;
    assert!(second.queue.is_durable());
    assert_eq!(second.drain().await, [1]);
}

#[test]
fn the_thread_does_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let counters = Arc::new(ExportCounters::default());
    let queue = TieredQueue::start(
        settings(dir.path(), 1 << 20, 16 << 20),
        Arc::clone(&counters),
    )
    .unwrap();
    let mut accepted = 0;
    for n in 0..2000 {
        if queue.try_push(batch(n, 1, 10_000)).is_ok() {
            accepted += 1;
            counters.enqueued(1);
        }
        // 20 MB through one megabyte of memory: only with a disk behind it.
        if n % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    assert!(accepted > 1000, "{accepted}");
    queue.close();
    queue.finish();
    let again = TieredQueue::start(
        settings(dir.path(), 1 << 20, 16 << 20),
        Arc::clone(&counters),
    )
    .unwrap();
    let mut ids = Vec::new();
    let begin = std::time::Instant::now();
    while ids.len() < accepted && begin.elapsed() < Duration::from_secs(20) {
        match again.try_pop() {
            Some(taken) => {
                ids.push(id(&taken));
                again.settle(&taken);
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let dropped = counters.snapshot().dropped_for(DropReason::SpoolFull);
    // What had been read ahead when the cap dropped its file went to the end.
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64 + dropped, accepted as u64);
}

/// Where order matters, whatever becomes of memory, disk, gateway and agent.
#[tokio::test(start_paused = true)]
async fn values_that_follow_each_other_come_in_order() {
    for seed in 1..200u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 11) % bound
        };
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(dir.path(), 1 << 20, 64 << 20);
        settings.ordered = true;
        settings.drain_bytes = 1 << 20;
        let (mut next, mut last) = (0, None);
        for life in (0..4).rev() {
            let mut rig = Rig::new(settings.clone());
            let mut lent: Option<Taken> = None;
            for _ in 0..below(60) {
                match below(4) {
                    // More than a quarter of the memory, so that it is written before its time.
                    0 => (0..1 + below(6)).for_each(|_| {
                        rig.push(batch(next, 1, 100_000));
                        next += 1;
                    }),
                    1 if lent.is_none() => {
                        lent = rig.pop();
                        if let Some(taken) = &lent {
                            assert!(last < Some(id(taken)), "seed {seed}: {last:?}, {taken:?}");
                            last = Some(id(taken));
                        }
                    }
                    2 => lent.iter().for_each(|taken| rig.deliver(taken)),
                    _ => rig.pass(Duration::from_millis(below(400))).await,
                }
                if rig.counters.snapshot().in_flight == 0 {
                    lent = None;
                }
            }
            if life == 0 {
                lent.iter().for_each(|taken| rig.deliver(taken));
            } else if let Some(taken) = lent {
                // What is under way at the end comes again, as the first.
                last = id(&taken).checked_sub(1);
                rig.counters.returned(1);
                assert!(rig.queue.give_back(taken));
            }
            if life == 0 {
                let ids = rig.drain().await;
                assert!(ids.is_sorted() && ids.first().is_none_or(|it| last < Some(*it)));
            }
            let end = rig.end();
            let refused = end.dropped_for(DropReason::QueueFull);
            assert!(end.balances(), "seed {seed}: {end:?}");
            assert_eq!(end.dropped_total(), refused, "seed {seed}: {end:?}");
            assert!(life > 0 || end.queued == 0, "seed {seed}: {end:?}");
        }
    }
}
