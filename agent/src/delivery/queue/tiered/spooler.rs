//! The thread between memory and disk.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::syncer::Syncer;
use super::{Fresh, Shared, State};
use crate::delivery::export::batch::Batch;
use crate::delivery::export::counters::{DropReason, ExportCounters};
use crate::delivery::export::retry::random;
use crate::delivery::queue::spool::disk::OsDisk;
use crate::delivery::queue::spool::{AppendError, Losses, Next, Spool, Stats};
use crate::model::seldom::Seldom;

/// How often a directory that could not be used is tried again.
const REOPEN: Duration = Duration::from_secs(5);
/// How long a disk that failed is left alone.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// Longest time between two looks.
const IDLE: Duration = Duration::from_millis(100);

/// Moves batches between memory and the spool.
#[derive(Debug)]
pub struct Spooler {
    shared: Arc<Shared>,
    counters: Arc<ExportCounters>,
    spool: Option<Spool>,
    open_at: Option<Instant>,
    /// The disk failed: nothing is written before.
    write_at: Option<Instant>,
    sync_at: Option<Instant>,
    syncer: Option<Syncer>,
    syncing: bool,
    budget: f64,
    budget_at: Instant,
    said: Seldom<Word>,
}

/// What the spooler takes out of the memory at once.
#[derive(Default)]
struct Work {
    settled: Vec<u64>,
    returned: Vec<(Option<u64>, Batch)>,
    spill: Vec<Fresh>,
    copies: Vec<(u64, Batch)>,
    finishing: bool,
    closed: bool,
    loaded_bytes: usize,
}

impl Spooler {
    pub(super) fn new(shared: Arc<Shared>, counters: Arc<ExportCounters>) -> Self {
        Self {
            shared,
            counters,
            spool: None,
            open_at: None,
            write_at: None,
            sync_at: None,
            syncer: None,
            syncing: false,
            budget: 0.0,
            budget_at: Instant::now(),
            said: Seldom::default(),
        }
    }

    /// Works until the queue is finished.
    pub(super) fn run(mut self) {
        self.syncer = Syncer::start()
            .inspect_err(
                |error| warn!(%error, "no thread to sync the spool, it waits for the disk"),
            )
            .ok();
        loop {
            let now = Instant::now();
            if self.step(now) {
                break;
            }
            let state = self.shared.state();
            let pressed = state.fresh_bytes > self.shared.spill_mark() && self.can_write(now);
            let hungry = self.can_load(now, state.loaded_bytes) && !state.closed;
            if !(state.finishing || pressed || hungry) {
                let nap = IDLE
                    .min(self.shared.settings.patience / 4)
                    .max(Duration::from_millis(1));
                drop(self.shared.wake.wait_timeout(state, nap));
            }
        }
        self.finish();
    }

    /// Opens the directory if that is due.
    pub(super) fn attach(&mut self, now: Instant) {
        if self.spool.is_some() || self.open_at.is_some_and(|at| now < at) {
            return;
        }
        self.open_at = Some(now + REOPEN);
        let settings = &self.shared.settings;
        let opened = OsDisk::open(&settings.dir)
            .and_then(|disk| Spool::open(Box::new(disk), settings.limits, random()));
        let mut spool = match opened {
            Ok(spool) => spool,
            Err(error) => {
                let problem = format!("{}: {error}", settings.dir.display());
                self.log(Word::Unusable, now, || {
                    warn!(
                        problem,
                        "the spool cannot be used, what waits is kept in memory only"
                    );
                });
                self.shared.state().problem = Some(problem);
                return;
            }
        };
        let (stats, losses) = (spool.stats(), spool.take_losses());
        self.counters.recovered(stats.items + lost(losses));
        self.count(losses);
        if stats.items > 0 || stats.foreign > 0 || stats.damaged > 0 {
            let Stats {
                items,
                bytes,
                foreign,
                damaged,
                ..
            } = stats;
            info!(
                dir = %settings.dir.display(),
                items, bytes, foreign, damaged, "the spool has what an earlier run left"
            );
        }
        let mut state = self.shared.state();
        (state.attached, state.problem, state.stats) = (true, None, stats);
        state.backlog |= spool.has_unread();
        drop(state);
        self.spool = Some(spool);
        self.sync_at = None;
    }

    /// Does what is due. True when the queue is being finished.
    pub(super) fn step(&mut self, now: Instant) -> bool {
        self.attach(now);
        let mut work = self.take_work(now);
        let finishing = work.finishing;
        let Some(mut spool) = self.spool.take() else {
            return finishing;
        };
        work.settled.drain(..).for_each(|seq| spool.settle(seq));
        let failed = self.write(&mut spool, &mut work);
        let loaded = self.load(&mut spool, now, &work);
        if self.shared.settings.ordered {
            // Goes over what is lent already: nothing new waits for that.
            let _ = spool.read_next(0);
        }
        let there = self.sync(&mut spool, now);
        let losses = spool.take_losses();
        self.count(losses);
        let mut state = self.shared.state();
        self.put_back(&mut state, work);
        let behind = state.backlog;
        state.backlog = spool.has_unread();
        if behind && !state.backlog {
            // Somebody may wait for it.
            self.shared.ready.notify_one();
        }
        for (seq, batch) in loaded {
            state.bytes += batch.body.len();
            state.loaded_bytes += batch.body.len();
            state.loaded.push_back((seq, batch));
            self.shared.ready.notify_one();
        }
        state.stats = spool.stats();
        state.problem = failed.as_ref().map(ToString::to_string);
        drop(state);
        self.spool = Some(spool);
        if let Some(error) = failed {
            self.write_at = Some(now + DISK_PAUSE);
            self.log(
                Word::NotWritten,
                now,
                || warn!(%error, "cannot write to the spool, what waits stays in memory"),
            );
        }
        if !there {
            self.detach(now);
        }
        finishing
    }

    fn take_work(&self, now: Instant) -> Work {
        let patience = self.shared.settings.patience;
        let can_write = self.can_write(now);
        let mut state = self.shared.state();
        let mut work = Work {
            settled: std::mem::take(&mut state.settled),
            finishing: state.finishing,
            closed: state.closed,
            loaded_bytes: state.loaded_bytes,
            ..Work::default()
        };
        if self.spool.is_none() || !(can_write || work.finishing) {
            return work;
        }
        if work.finishing {
            let State {
                loaded, returned, ..
            } = &mut *state;
            returned.extend(loaded.drain(..).map(|(seq, batch)| (Some(seq), batch)));
            state.loaded_bytes = 0;
        }
        work.returned = std::mem::take(&mut state.returned);
        let due = |since: Instant| now.saturating_duration_since(since) >= patience;
        while let Some(oldest) = state.fresh.front()
            && (work.finishing || due(oldest.since) || state.fresh_bytes > self.shared.spill_mark())
        {
            work.spill.extend(state.pop_fresh());
        }
        // From here on what waits is behind what is on disk, also while that is written.
        state.backlog |= !work.spill.is_empty();
        // Where order matters, what is older than what is written is written before.
        let older = self.shared.settings.ordered && !work.spill.is_empty();
        for (ticket, lent) in &mut state.lent {
            let alone = lent.record.is_none() && !lent.copying;
            if alone && (older || due(lent.since)) {
                lent.copying = true;
                work.copies.push((*ticket, lent.batch.clone()));
            }
        }
        // As they were lent.
        work.copies.sort_unstable_by_key(|(ticket, _)| *ticket);
        work
    }

    /// Writes what is to be written, and leaves in `work` what could not be.
    fn write(&mut self, spool: &mut Spool, work: &mut Work) -> Option<AppendError> {
        let mut failed = None;
        let records = work.returned.iter().filter_map(|(record, _)| *record);
        let held: Vec<u64> = records.filter(|seq| spool.holds(*seq)).collect();
        let mut append = |batch: &Batch, lend| {
            if failed.is_some() {
                return None;
            }
            match spool.append(batch, lend) {
                Ok(seq) => Some(Some(seq)),
                Err(AppendError::TooLarge(_)) => {
                    if !lend {
                        self.counters
                            .lost_queued(batch.items, DropReason::SpoolFull);
                    }
                    Some(None)
                }
                Err(error) => {
                    failed = Some(error);
                    None
                }
            }
        };
        let shared = &self.shared;
        work.returned.retain(|(record, batch)| {
            // Nobody delivers it in this run: as long as it is not settled, it stays.
            let held = record.is_some_and(|seq| held.contains(&seq));
            let done = held || append(batch, false).is_some();
            if done {
                shared.state().free(batch);
            }
            !done
        });
        // Under way for long: older than what waits.
        work.copies
            .retain(|(ticket, batch)| match append(batch, true) {
                None => true,
                Some(record) => {
                    let mut state = shared.state();
                    match state.lent.get_mut(ticket) {
                        Some(lent) => lent.record = record,
                        // It was settled meanwhile.
                        None => state.settled.extend(record),
                    }
                    false
                }
            });
        work.spill.retain(|fresh| {
            let done = append(&fresh.batch, false).is_some();
            if done {
                shared.state().free(&fresh.batch);
            }
            !done
        });
        failed
    }

    /// Returns what could not be written to where it was.
    fn put_back(&self, state: &mut State, work: Work) {
        for fresh in work.spill.into_iter().rev() {
            state.fresh_items += fresh.batch.items;
            state.fresh_bytes += fresh.batch.body.len();
            state.fresh.push_front(fresh);
            self.shared.ready.notify_one();
        }
        state.returned.extend(work.returned);
        for (ticket, _) in work.copies {
            if let Some(lent) = state.lent.get_mut(&ticket) {
                lent.copying = false;
            }
        }
    }

    fn can_write(&self, now: Instant) -> bool {
        self.spool.is_some() && self.write_at.is_none_or(|at| now >= at)
    }

    /// Whether more can be read at once.
    fn can_load(&self, now: Instant, loaded_bytes: usize) -> bool {
        let rate = self.shared.settings.drain_bytes as f64;
        let more = now.saturating_duration_since(self.budget_at).as_secs_f64() * rate;
        self.spool.as_ref().is_some_and(Spool::has_unread)
            && loaded_bytes < self.shared.spill_mark() / 2
            && self.budget + more > 0.0
    }

    /// Reads ahead: an eighth of the memory, and never beyond the rate.
    fn load(&mut self, spool: &mut Spool, now: Instant, work: &Work) -> Vec<(u64, Batch)> {
        let rate = self.shared.settings.drain_bytes as f64;
        let elapsed = now.saturating_duration_since(self.budget_at).as_secs_f64();
        self.budget_at = now;
        // A second's worth at most, so that a pause is not made up for at once.
        self.budget = elapsed.mul_add(rate, self.budget).min(rate);
        let mut loaded = Vec::new();
        let mut bytes = work.loaded_bytes;
        while !work.closed && self.budget > 0.0 && bytes < self.shared.spill_mark() / 2 {
            let Next::Record(record) = spool.read_next(usize::MAX) else {
                break;
            };
            bytes += record.batch.body.len();
            self.budget -= record.batch.body.len() as f64;
            loaded.push((record.seq, record.batch));
        }
        loaded
    }

    /// Begins and ends syncs. False if the directory is gone.
    fn sync(&mut self, spool: &mut Spool, now: Instant) -> bool {
        if self.syncing
            && let Some(synced) = self.syncer.as_ref().and_then(Syncer::done)
        {
            self.syncing = false;
            self.synced(spool.end_sync(synced), now);
        }
        if self.syncing || self.sync_at.is_some_and(|at| now < at) {
            return true;
        }
        self.sync_at = Some(now + self.shared.settings.sync);
        if !spool.disk().is_there() {
            return false;
        }
        if let Some(job) = spool.begin_sync() {
            match &self.syncer {
                Some(syncer) => self.syncing = syncer.begin(job),
                None => {
                    let synced = job.run();
                    self.synced(spool.end_sync(synced), now);
                }
            }
        }
        true
    }

    fn synced(&mut self, result: io::Result<()>, now: Instant) {
        if let Err(error) = result {
            self.log(Word::NotSynced, now, || {
                warn!(%error, "cannot sync the spool: what is in it survives a restart of the agent, but maybe not of the host");
            });
        }
    }

    /// The directory was removed: what was in it alone is lost, what is in memory is not.
    fn detach(&mut self, now: Instant) {
        let Some(spool) = self.spool.take() else {
            return;
        };
        let mut state = self.shared.state();
        let mut kept = 0;
        for lent in state.lent.values_mut() {
            kept += lent.record.take().map_or(0, |_| lent.batch.items);
        }
        let loaded = std::mem::take(&mut state.loaded);
        state.loaded_bytes = 0;
        for (_, batch) in loaded.into_iter().rev() {
            kept += batch.items;
            state.fresh_items += batch.items;
            state.fresh_bytes += batch.body.len();
            state.fresh.push_front(Fresh { batch, since: now });
        }
        state.settled.clear();
        (state.attached, state.backlog) = (false, false);
        state.problem = Some("its directory was removed".into());
        drop(state);
        let items = spool.stats().items.saturating_sub(kept);
        self.counters.lost_queued(items, DropReason::SpoolMissing);
        self.syncing = false;
        self.syncer = self.syncer.take().and_then(|_| Syncer::start().ok());
        warn!(
            items,
            "the spool's directory was removed, with what was in it"
        );
        self.open_at = None;
        drop(spool);
        self.attach(now);
    }

    fn count(&self, losses: Losses) {
        for (items, reason) in [
            (losses.full, DropReason::SpoolFull),
            (losses.corrupt, DropReason::SpoolCorrupt),
            (losses.missing, DropReason::SpoolMissing),
        ] {
            self.counters.lost_queued(items, reason);
        }
    }

    /// Writes everything, and syncs.
    pub(super) fn finish(&mut self) {
        let now = Instant::now();
        self.write_at = None;
        if self.syncing
            && let Some(synced) = self.syncer.as_ref().and_then(Syncer::wait)
            && let Some(spool) = &mut self.spool
        {
            let result = spool.end_sync(synced);
            self.synced(result, now);
        }
        self.syncing = false;
        // From here on syncs are done here: a job elsewhere would hold the directory's lock
        // longer than this queue lives, and keep the next one out.
        self.syncer = None;
        self.step(now);
        let mut state = self.shared.state();
        let left = std::mem::take(&mut state.returned);
        let fresh = std::mem::take(&mut state.fresh);
        let settled = std::mem::take(&mut state.settled);
        state.attached = false;
        drop(state);
        let left = left.into_iter().map(|(_, batch)| batch);
        let left = left.chain(fresh.into_iter().map(|fresh| fresh.batch));
        let lost: u64 = left.map(|batch| batch.items).sum();
        self.counters.lost_queued(lost, DropReason::Shutdown);
        if let Some(spool) = &mut self.spool {
            settled.into_iter().for_each(|seq| spool.settle(seq));
            // Goes over what is settled, so that the cursor does as well.
            let _ = spool.read_next(0);
            let result = spool.sync();
            let stats = spool.stats();
            self.shared.state().stats = stats;
            self.synced(result, now);
        }
        self.spool = None;
    }

    fn log(&mut self, word: Word, now: Instant, say: impl FnOnce()) {
        if self.said.is_due(word, now) {
            say();
        }
    }
}

/// What the log tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Unusable,
    NotWritten,
    NotSynced,
}

fn lost(losses: Losses) -> u64 {
    losses.full + losses.corrupt + losses.missing
}
