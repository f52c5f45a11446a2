//! Memory first, disk behind it.
//!
//! While the gateway takes what comes, nothing touches the disk. A batch that waits, or is
//! under way, for longer than [`Settings::patience`] is written to the [spool](super::spool):
//! moved if it waits, copied if it is under way. So is the oldest when more than a quarter
//! of the memory waits. What is on disk comes back in order, at a bounded rate, in turn
//! with what is new; so neither waits for the other.
//!
//! Where order matters ([`Settings::ordered`]), what is new waits for what is on disk, and goes
//! there itself if that takes long.
//!
//! A queue is for one signal: what its spool loses is counted in that signal's unit, and no
//! other signal can push it out.
//!
//! Producers and consumers take a lock once a batch and never touch the disk: one thread
//! ([`spooler`]) does that, and another one waits for the disk to sync.

mod spooler;
mod syncer;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::memory::Bounds;
use super::spool::{Limits, Stats};
use super::{Depth, Queue, Refused, Room, SpoolDepth, Taken};
use crate::delivery::export::batch::Batch;
use crate::delivery::export::counters::ExportCounters;
pub use spooler::Spooler;

/// How memory and disk share the work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What may be in memory.
    pub bounds: Bounds,
    /// The spool's directory.
    pub dir: PathBuf,
    /// What may be on disk.
    pub limits: Limits,
    /// How long a batch may be in memory alone; zero sends nothing that is not on disk.
    pub patience: Duration,
    /// How long what was written may be without a sync.
    pub sync: Duration,
    /// Bytes read back from disk a second, at most.
    pub drain_bytes: u64,
    /// Whether batches are lent in the order in which they came: for values that follow each
    /// other.
    pub ordered: bool,
}

/// The queue.
#[derive(Debug)]
pub struct TieredQueue {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// For consumers.
    ready: Notify,
    /// For the spooler.
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In memory alone, oldest first.
    fresh: VecDeque<Fresh>,
    fresh_items: u64,
    fresh_bytes: usize,
    /// Read from the spool, in order, with their record numbers.
    loaded: VecDeque<(u64, Batch)>,
    loaded_bytes: usize,
    /// Under way, by ticket.
    lent: HashMap<u64, Lent>,
    next_ticket: u64,
    /// Records that are settled.
    settled: Vec<u64>,
    /// Batches that were given back, with their records: to be written if those are gone.
    returned: Vec<(Option<u64>, Batch)>,
    /// Bytes of everything above.
    bytes: usize,
    /// Whether a loaded batch is due next.
    turn: bool,
    /// Whether the disk has, or is about to have, what was not read yet.
    backlog: bool,
    closed: bool,
    finishing: bool,
    /// Whether the spool can be used.
    attached: bool,
    problem: Option<String>,
    stats: Stats,
}

#[derive(Debug)]
struct Fresh {
    batch: Batch,
    since: Instant,
}

#[derive(Debug)]
struct Lent {
    batch: Batch,
    since: Instant,
    /// Its record, if it has one.
    record: Option<u64>,
    /// Whether the spooler is about to write it.
    copying: bool,
}

impl TieredQueue {
    /// A queue whose spooler runs on a thread of its own. Whatever is wrong with the
    /// directory, the queue works: in memory alone, until the directory can be used.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(settings: Settings, counters: Arc<ExportCounters>) -> std::io::Result<Self> {
        let (queue, spooler) = Self::new(settings, counters);
        let thread = std::thread::Builder::new()
            .name("remora-spool".into())
            .spawn(move || spooler.run())?;
        *queue.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(queue)
    }

    /// A queue, and the spooler that somebody else has to run.
    fn new(settings: Settings, counters: Arc<ExportCounters>) -> (Self, Spooler) {
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::default(),
            ready: Notify::new(),
            wake: Condvar::new(),
        });
        let mut spooler = Spooler::new(Arc::clone(&shared), counters);
        // Before anything is pushed: what was left comes first.
        spooler.attach(Instant::now());
        let queue = Self {
            shared,
            thread: Mutex::default(),
        };
        (queue, spooler)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; if it did, the sums would still hold.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk_first(&self) -> bool {
        self.settings.patience.is_zero()
    }

    /// Waiting bytes from which on the oldest are written.
    fn spill_mark(&self) -> usize {
        self.settings.bounds.bytes / 4
    }
}

impl State {
    fn push_fresh(&mut self, fresh: Fresh) {
        self.fresh_items += fresh.batch.items;
        self.fresh_bytes += fresh.batch.body.len();
        self.fresh.push_back(fresh);
    }

    fn pop_fresh(&mut self) -> Option<Fresh> {
        let fresh = self.fresh.pop_front()?;
        self.fresh_items = self.fresh_items.saturating_sub(fresh.batch.items);
        self.fresh_bytes = self.fresh_bytes.saturating_sub(fresh.batch.body.len());
        Some(fresh)
    }

    fn free(&mut self, batch: &Batch) {
        self.bytes = self.bytes.saturating_sub(batch.body.len());
    }

    fn lend(&mut self, batch: Batch, since: Instant, record: Option<u64>) -> Taken {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let lent = Lent {
            batch: batch.clone(),
            since,
            record,
            copying: false,
        };
        self.lent.insert(ticket, lent);
        Taken { batch, ticket }
    }
}

impl Queue for TieredQueue {
    fn try_push(&self, batch: Batch) -> Result<(), Refused> {
        let bounds = self.shared.settings.bounds;
        let mut state = self.shared.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        let bytes = state.bytes.saturating_add(batch.body.len());
        // With a disk behind it, what counts is what memory holds.
        let items = state.fresh_items.saturating_add(batch.items);
        if bytes > bounds.bytes || (!state.attached && items > bounds.items) {
            return Err(Refused::Full);
        }
        state.bytes = bytes;
        let since = Instant::now();
        state.push_fresh(Fresh { batch, since });
        let pressed = state.fresh_bytes > self.shared.spill_mark() || self.shared.disk_first();
        drop(state);
        self.shared.ready.notify_one();
        if pressed {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    fn try_pop_within(&self, room: Room) -> Option<Taken> {
        let mut state = self.shared.state();
        let ordered = self.shared.settings.ordered;
        // Where everything goes to disk first, it comes from there; unless the disk fails.
        let all = self.shared.disk_first() && state.attached && !state.closed;
        let stays = (all && state.problem.is_none()) || (ordered && state.backlog);
        // What must not be lent is nothing to take turns with: it may be gone, to disk, before
        // anybody is woken for what was read.
        let alone = stays || state.fresh.is_empty();
        if !state.loaded.is_empty() && (ordered || state.turn || alone) {
            let (_, batch) = state.loaded.front()?;
            if !room.holds(batch) {
                return None;
            }
            state.turn = false;
            let (record, batch) = state.loaded.pop_front()?;
            state.loaded_bytes = state.loaded_bytes.saturating_sub(batch.body.len());
            let taken = state.lend(batch, Instant::now(), Some(record));
            drop(state);
            self.shared.wake.notify_one();
            return Some(taken);
        }
        if stays || !room.holds(&state.fresh.front()?.batch) {
            return None;
        }
        state.turn = true;
        let fresh = state.pop_fresh()?;
        Some(state.lend(fresh.batch, fresh.since, None))
    }

    fn settle(&self, taken: &Taken) {
        let mut state = self.shared.state();
        if let Some(lent) = state.lent.remove(&taken.ticket) {
            state.free(&lent.batch);
            state.settled.extend(lent.record);
        }
    }

    fn give_back(&self, taken: Taken) -> bool {
        let mut state = self.shared.state();
        let Some(lent) = state.lent.remove(&taken.ticket) else {
            return false;
        };
        let kept = state.attached;
        if kept {
            state.returned.push((lent.record, lent.batch));
        } else {
            state.free(&lent.batch);
        }
        kept
    }

    fn is_durable(&self) -> bool {
        self.shared.state().attached
    }

    fn ready(&self) -> &Notify {
        &self.shared.ready
    }

    fn close(&self) {
        self.shared.state().closed = true;
        self.shared.ready.notify_waiters();
        self.shared.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    fn finish(&self) {
        {
            let mut state = self.shared.state();
            state.closed = true;
            state.finishing = true;
        }
        self.shared.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the spool's thread panicked");
        }
    }

    fn depth(&self) -> Depth {
        let state = self.shared.state();
        let loaded: u64 = state.loaded.iter().map(|(_, batch)| batch.items).sum();
        Depth {
            batches: state.fresh.len() + state.loaded.len(),
            items: state.fresh_items + loaded,
            bytes: state.bytes,
            capacity: self.shared.settings.bounds.bytes,
            spool: Some(SpoolDepth {
                problem: state.problem.clone(),
                stats: state.stats.clone(),
                capacity: self.shared.settings.limits.bytes,
            }),
        }
    }
}

impl Drop for TieredQueue {
    fn drop(&mut self) {
        self.finish();
    }
}
