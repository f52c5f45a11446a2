//! Random histories on a disk that loses what was not synced, against a model that knows
//! what may and what must come out.

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Items and bytes; whether it is under way already.
    Append(u64, usize, bool),
    Read,
    /// Settles one of those lent.
    Settle(usize),
    Sync,
    /// A sync that is begun, with these steps before it ends.
    SlowSync,
    EndSync,
    /// The process ends without a word; the machine goes on.
    Kill,
    /// The power goes.
    Crash(u64),
    /// Bytes until the disk is full; `None` ends it.
    Room(Option<usize>),
    FailSync(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0u64..20, 8usize..3000, prop::bool::weighted(0.2))
            .prop_map(|(items, len, lend)| Step::Append(items, len, lend)),
        10 => Just(Step::Read),
        10 => (0usize..8).prop_map(Step::Settle),
        4 => Just(Step::Sync),
        2 => Just(Step::SlowSync),
        2 => Just(Step::EndSync),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::Crash),
        1 => prop::option::of(0usize..5000).prop_map(Step::Room),
        1 => any::<bool>().prop_map(Step::FailSync),
    ]
}

/// What is known of a record that was put in.
#[derive(Clone, Copy, Debug)]
struct Known {
    items: u64,
    /// A sync that began after it succeeded.
    durable: bool,
    /// It was settled: it may come back after a crash, and need not.
    settled: bool,
    /// … in this life.
    settled_now: bool,
    /// … and a sync that began after that succeeded.
    settled_durably: bool,
    /// It may have been dropped by the cap.
    droppable: bool,
}

struct World {
    disk: SimDisk,
    limits: Limits,
    spool: Spool,
    known: BTreeMap<u64, Known>,
    lent: Vec<(u64, u64)>,
    job: Option<(SyncJob, Vec<u64>, Vec<u64>)>,
    next: u64,
    /// Items in this process's life: held at its start, put in, settled, lost.
    ledger: (u64, u64, u64, u64),
    /// The last id read in this life.
    last: Option<u64>,
}

impl World {
    fn new(limits: Limits) -> Self {
        let disk = SimDisk::default();
        let spool = open(&disk, limits);
        Self {
            disk,
            limits,
            spool,
            known: BTreeMap::new(),
            lent: Vec::new(),
            job: None,
            next: 0,
            ledger: (0, 0, 0, 0),
            last: None,
        }
    }

    fn append(&mut self, items: u64, len: usize, lend: bool) {
        let id = self.next;
        self.next += 1;
        let appended = self.spool.append(&batch(id, items, len), lend);
        if self.spool.losses.full > 0 || self.spool.stats().bytes * 2 > self.limits.bytes {
            // From here on the model does not know which of the older ones are left.
            self.known
                .values_mut()
                .for_each(|known| known.droppable = true);
        }
        let Ok(seq) = appended else { return };
        let known = Known {
            items,
            durable: false,
            settled: false,
            settled_now: false,
            settled_durably: false,
            droppable: false,
        };
        self.known.insert(id, known);
        self.ledger.1 += items;
        if lend {
            self.lent.push((seq, id));
        }
    }

    fn read(&mut self) -> bool {
        let Next::Record(record) = self.spool.read_next(usize::MAX) else {
            return false;
        };
        let id = id(&record);
        let known = self.known.get(&id).expect("only what was put in comes out");
        assert_eq!(record.batch.items, known.items);
        assert_eq!(
            record.batch.body,
            batch(id, known.items, record.batch.body.len()).body
        );
        assert!(!known.settled_durably, "{id} came back");
        assert!(self.last.is_none_or(|last| last < id), "{id} out of order");
        self.last = Some(id);
        self.lent.push((record.seq, id));
        true
    }

    fn settle(&mut self, at: usize) {
        if self.lent.is_empty() {
            return;
        }
        let (seq, id) = self.lent.swap_remove(at % self.lent.len());
        let held = self.spool.lent.contains_key(&seq);
        self.spool.settle(seq);
        let known = self.known.get_mut(&id).unwrap();
        (known.settled, known.settled_now) = (true, true);
        if held {
            self.ledger.2 += known.items;
        }
    }

    fn begin_sync(&mut self) {
        self.end_sync();
        let job = self.spool.begin_sync();
        let ids = |test: fn(&Known) -> bool| {
            let all = self.known.iter().filter(|(_, known)| test(known));
            all.map(|(id, _)| *id).collect()
        };
        if let Some(job) = job {
            self.job = Some((job, ids(|_| true), ids(|known| known.settled_now)));
        }
    }

    fn end_sync(&mut self) {
        let Some((job, written, settled)) = self.job.take() else {
            return;
        };
        let synced = job.run();
        let synced = self.spool.end_sync(synced);
        if synced.is_ok() {
            written
                .iter()
                .for_each(|id| self.known.get_mut(id).unwrap().durable = true);
            settled
                .iter()
                .for_each(|id| self.known.get_mut(id).unwrap().settled_durably = true);
        }
    }

    fn restart(&mut self, power: Option<u64>) {
        self.job = None;
        let all = self.known.values_mut();
        all.for_each(|known| known.settled_now = false);
        if let Some(seed) = power {
            let mut x = seed | 1;
            self.disk.crash(&mut || {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x >> 11
            });
            // What was not durable may be gone: it may come out, and need not.
            let all = self.known.values_mut();
            all.for_each(|known| known.droppable |= !known.durable);
        } else {
            self.disk.set_faults(Faults::default());
        }
        self.spool = open(&self.disk, self.limits);
        self.lent.clear();
        self.last = None;
        let recovered = self.spool.stats().items;
        self.ledger = (recovered, 0, 0, total(self.spool.losses));
        self.ledger.0 += self.ledger.3;
    }

    fn check(&self) {
        let (held, put, settled, _) = self.ledger;
        let lost = total(self.spool.losses);
        let lent_beyond: u64 = self
            .lent
            .iter()
            .filter(|(seq, _)| !self.spool.lent.contains_key(seq))
            .map(|(_, id)| self.known[id].items)
            .sum();
        // What was lent when the cap dropped it is neither in the spool nor lost.
        let gone = held + put - settled - lost - self.spool.stats().items;
        assert!(gone >= lent_beyond, "{gone} {lent_beyond}");
        assert!(self.disk.bytes() <= self.limits.bytes);
    }

    /// Whatever must come out comes out.
    fn finish(&mut self) {
        self.disk.set_faults(Faults::default());
        self.spool.sync().unwrap();
        let undropped = |world: &Self| -> Vec<u64> {
            let must = world.known.iter();
            must.filter(|(_, known)| !known.droppable && !known.settled)
                .map(|(id, _)| *id)
                .collect()
        };
        let must = undropped(self);
        let mut out: Vec<u64> = self.lent.iter().map(|(_, id)| *id).collect();
        while self.read() {
            out.push(self.lent.last().unwrap().1);
        }
        for id in must {
            assert!(out.contains(&id), "{id} is lost: {:?}", self.known[&id]);
        }
        while !self.lent.is_empty() {
            self.settle(0);
        }
        self.spool.sync().unwrap();
        self.check();
        assert_eq!(self.spool.stats().items, 0);
        for name in self.disk.names() {
            let mut bytes = Vec::new();
            self.disk.edit(&name, |now| bytes.clone_from(now));
            let header = format::SegmentHeader::decode(&bytes);
            assert_eq!(name, CURSOR, "{header:?}, {} bytes", bytes.len());
        }
    }
}

fn run(steps: Vec<Step>, limits: Limits) {
    let mut world = World::new(limits);
    for step in steps {
        match step {
            Step::Append(items, len, lend) => world.append(items, len, lend),
            Step::Read => drop(world.read()),
            Step::Settle(at) => world.settle(at),
            Step::Sync => {
                world.begin_sync();
                world.end_sync();
            }
            Step::SlowSync => world.begin_sync(),
            Step::EndSync => world.end_sync(),
            Step::Kill => world.restart(None),
            Step::Crash(seed) => world.restart(Some(seed)),
            Step::Room(room) => world.disk.set_faults(Faults {
                room,
                ..Faults::default()
            }),
            Step::FailSync(sync) => world.disk.set_faults(Faults {
                sync,
                ..Faults::default()
            }),
        }
        world.check();
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Small segments, a cap that is not reached: everything durable comes out.
    #[test]
    fn loses_nothing_that_was_synced(steps in prop::collection::vec(step(), 1..80)) {
        run(steps, limits(1 << 20, 6 << 10));
    }

    /// A cap that is reached all the time.
    #[test]
    fn stays_within_its_cap(steps in prop::collection::vec(step(), 1..80)) {
        run(steps, limits(40 << 10, 8 << 10));
    }
}
